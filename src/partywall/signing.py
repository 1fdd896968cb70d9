"""Signs permits in a worker and verifies them in a daemon (`wire/permit.py` has the format).

A worker holds a key that it made itself and the issuer's certificate for it; a daemon holds the issuer's public
key, its own audience and the nonces it has seen.
"""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from partywall.decision.permit import PermitClaims
from partywall.errors import Unauthenticated, Unavailable
from partywall.wire.permit import (
    CERTIFICATE_CONTEXT,
    PERMIT_CONTEXT,
    SignedPermit,
    WorkerCertificate,
    check_times,
    split_certificate,
    split_permit,
)

CERTIFICATE_LIFE_S = 900.0
PERMIT_LIFE_S = 300.0
_encode = msgspec.msgpack.Encoder().encode


def certify(issuer_key: Ed25519PrivateKey, certificate: WorkerCertificate) -> bytes:
    """Return the certificate, signed by the issuer's permit key."""
    body = _encode(certificate)
    return _encode((body, issuer_key.sign(CERTIFICATE_CONTEXT + body)))


class PermitSigner:
    """A worker's signing right; `renew` replaces the certificate before it ends."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._certificate: bytes | None = None
        self._expires_at_s = 0.0

    @property
    def public_key(self) -> bytes:
        """Raw Ed25519 public key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def renew(self, certificate: bytes, expires_at_s: float) -> None:
        """Use this certificate from now on."""
        self._certificate, self._expires_at_s = certificate, expires_at_s

    def sign(self, claims: PermitClaims, audience: str, now_s: float) -> bytes:
        """Return the permit for one daemon. Raises: Unavailable without a live certificate."""
        if self._certificate is None or now_s >= self._expires_at_s:
            raise Unavailable("the issuer is out of reach", retry_after_s=1.0)
        body = _encode(
            SignedPermit(
                audience=audience,
                nonce=claims.id,
                act=claims.act,
                tenant=claims.tenant,
                principal_kind=claims.principal.kind,
                principal=claims.principal.id,
                action=claims.action.type,
                resource=str(claims.action.resource),
                payload_sha256=claims.payload_sha256,
                issued_at_s=claims.issued_at_s,
                expires_at_s=min(claims.expires_at_s, claims.issued_at_s + PERMIT_LIFE_S),
                credential=claims.principal.credential,
            )
        )
        return _encode((body, self._key.sign(PERMIT_CONTEXT + body), self._certificate))


class PermitVerifier:
    """A daemon's gate: each permit once, for this audience, within its life."""

    def __init__(self, issuer_public_key: bytes, audience: str) -> None:
        self._issuer = Ed25519PublicKey.from_public_bytes(issuer_public_key)
        self._audience = audience
        self._seen: dict[str, float] = {}

    def verify(self, data: bytes, payload_sha256: bytes, now_s: float) -> SignedPermit:
        """Return the permit. Raises: Malformed; Unauthenticated when any of it does not hold."""
        signed, signature, certificate, permit = split_permit(data)
        certified, issuer_signature, worker = split_certificate(certificate)
        try:
            self._issuer.verify(issuer_signature, certified)
            Ed25519PublicKey.from_public_bytes(worker.public_key).verify(signature, signed)
        except (InvalidSignature, ValueError) as error:
            raise Unauthenticated("a permit with a bad signature", code="bad-permit") from error
        check_times(worker.issued_at_s, worker.expires_at_s, now_s, CERTIFICATE_LIFE_S)
        check_times(permit.issued_at_s, permit.expires_at_s, now_s, PERMIT_LIFE_S)
        if permit.audience != self._audience:
            raise Unauthenticated("a permit for another daemon", code="bad-permit")
        if permit.payload_sha256 != payload_sha256:
            raise Unauthenticated("a permit for another payload", code="bad-permit")
        self._remember(permit, now_s)
        return permit

    def _remember(self, permit: SignedPermit, now_s: float) -> None:
        if permit.nonce in self._seen:
            raise Unauthenticated("a permit used twice", code="replayed-permit")
        if len(self._seen) > 10_000:
            self._seen = {nonce: end for nonce, end in self._seen.items() if end > now_s}
        self._seen[permit.nonce] = permit.expires_at_s
