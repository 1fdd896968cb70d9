"""A permit that leaves the process is used once, by one daemon, within its life, for exactly its payload."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from partywall.decision.action import Action, ActionType, Resource
from partywall.decision.permit import PermitClaims
from partywall.decision.principal import Kind, Principal
from partywall.errors import Malformed, PartywallError, Unauthenticated, Unavailable
from partywall.signing import PermitSigner, PermitVerifier, certify
from partywall.wire.ids import TenantId, format_id
from partywall.wire.permit import WorkerCertificate

NOW = 1_000_000.0
TENANT = TenantId(format_id("ten", bytes(16)))
PAYLOAD = b'{"operation":"tenant.list"}'
DIGEST = hashlib.sha256(PAYLOAD).digest()


def claims(nonce=1):
    principal = Principal(
        kind=Kind.TENANT_ADMIN,
        id=format_id("usr", bytes(16)),
        region="local",
        tenant=TENANT,
        credential="key_x",
        expires_at_s=NOW + 900,
    )
    return PermitClaims(
        id=format_id("prm", bytes([nonce]) * 16),
        act=format_id("act", bytes(16)),
        tenant=TENANT,
        principal=principal,
        action=Action(ActionType.AUDIT_READ, Resource("local", TENANT, "audit", "*")),
        payload_sha256=DIGEST,
        policy_revision="base",
        trace_id="0" * 32,
        issued_at_s=NOW,
        expires_at_s=NOW + 60,
    )


@pytest.fixture
def issuer():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def signer(issuer):
    signer = PermitSigner()
    certificate = WorkerCertificate(
        worker="gateway-0", public_key=signer.public_key, issued_at_s=NOW, expires_at_s=NOW + 900
    )
    signer.renew(certify(issuer, certificate), NOW + 900)
    return signer


@pytest.fixture
def verifier(issuer):
    return PermitVerifier(issuer.public_key().public_bytes_raw(), "ledger/boot1")


def test_a_good_permit_is_accepted_once(signer, verifier):
    permit = signer.sign(claims(), "ledger/boot1", NOW)
    assert verifier.verify(permit, DIGEST, NOW + 1).tenant == TENANT
    with pytest.raises(Unauthenticated, match="twice"):
        verifier.verify(permit, DIGEST, NOW + 2)


@pytest.mark.parametrize(
    ("audience", "digest", "now"),
    [
        ("ledger/boot2", DIGEST, NOW),
        ("issuer/boot1", DIGEST, NOW),
        ("ledger/boot1", bytes(32), NOW),
        ("ledger/boot1", DIGEST, NOW + 61),
        ("ledger/boot1", DIGEST, NOW - 60),
    ],
)
def test_another_audience_payload_or_time_is_refused(signer, verifier, audience, digest, now):
    with pytest.raises(Unauthenticated):
        verifier.verify(signer.sign(claims(), audience, NOW), digest, now)


def test_a_worker_that_the_issuer_did_not_certify_is_refused(verifier):
    rogue = PermitSigner()
    certificate = WorkerCertificate(
        worker="gateway-0", public_key=rogue.public_key, issued_at_s=NOW, expires_at_s=NOW + 900
    )
    rogue.renew(certify(Ed25519PrivateKey.generate(), certificate), NOW + 900)
    with pytest.raises(Unauthenticated, match="signature"):
        verifier.verify(rogue.sign(claims(), "ledger/boot1", NOW), DIGEST, NOW)


def test_a_certificate_for_a_long_life_is_refused(issuer, verifier):
    signer = PermitSigner()
    certificate = WorkerCertificate(
        worker="g", public_key=signer.public_key, issued_at_s=NOW, expires_at_s=NOW + 90_000
    )
    signer.renew(certify(issuer, certificate), NOW + 90_000)
    with pytest.raises(Unauthenticated):
        verifier.verify(signer.sign(claims(), "ledger/boot1", NOW), DIGEST, NOW)


def test_no_certificate_no_permit():
    with pytest.raises(Unavailable):
        PermitSigner().sign(claims(), "ledger/boot1", NOW)


def test_every_flipped_byte_is_refused(signer, verifier):
    permit = signer.sign(claims(), "ledger/boot1", NOW)
    for index in range(len(permit)):
        mangled = permit[:index] + bytes([permit[index] ^ 1]) + permit[index + 1 :]
        with pytest.raises((Unauthenticated, Malformed)):
            verifier.verify(mangled, DIGEST, NOW)
    assert issubclass(Malformed, PartywallError)
