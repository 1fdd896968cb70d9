"""Permits that leave a process: Ed25519-signed, for one audience, by a worker whose key the issuer certified.

Signed bytes are the exact encoded bytes, so nothing is re-encoded to verify. Source: ADR-0003.
A certificate is `[certificate body, issuer signature]`, a permit `[permit body, worker signature, certificate]`.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from partywall.errors import Malformed, Unauthenticated

CERTIFICATE_CONTEXT = b"partywall/worker-certificate/v1\x00"
PERMIT_CONTEXT = b"partywall/permit/v1\x00"


class WorkerCertificate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the issuer vouches for. Times: Unix seconds; life at most 15 minutes."""

    worker: str
    public_key: bytes
    issued_at_s: float
    expires_at_s: float


class SignedPermit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """audience: `<daemon>/<boot id>`. nonce: the permit id; the consumer keeps it until expiry.

    principal_kind, principal, tenant, action, resource, act: as decided. payload_sha256: 32 bytes.
    credential: the key or token id that the principal came with.
    """

    audience: str
    nonce: str
    act: str
    tenant: str
    principal_kind: str
    principal: str
    action: str
    resource: str
    payload_sha256: bytes
    issued_at_s: float
    expires_at_s: float
    credential: str = ""


class Verifier(Protocol):
    """Raises unless signature is right (an Ed25519 public key's `verify` does)."""

    def verify(self, signature: bytes, data: bytes) -> None: ...


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Everything that msgspec raises on hostile bytes: bad UTF-8 in a field name is a bare UnicodeDecodeError."""

_certificate = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_permit = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes])
_certificate_body = msgspec.msgpack.Decoder(WorkerCertificate)
_permit_body = msgspec.msgpack.Decoder(SignedPermit)


def split_certificate(data: bytes) -> tuple[bytes, bytes, WorkerCertificate]:
    """Return (signed bytes, signature, certificate), not verified yet. Raises: Malformed."""
    try:
        body, signature = _certificate.decode(data)
        return CERTIFICATE_CONTEXT + body, signature, _certificate_body.decode(body)
    except UNREADABLE as error:
        raise Malformed("not a worker certificate") from error


def split_permit(data: bytes) -> tuple[bytes, bytes, bytes, SignedPermit]:
    """Return (signed bytes, signature, certificate bytes, permit), not verified yet. Raises: Malformed."""
    try:
        body, signature, certificate = _permit.decode(data)
        return PERMIT_CONTEXT + body, signature, certificate, _permit_body.decode(body)
    except UNREADABLE as error:
        raise Malformed("not a permit") from error


def check_times(issued_at_s: float, expires_at_s: float, now_s: float, limit_s: float) -> None:
    """Raises: Unauthenticated unless issued <= now < expires, and the life is at most limit_s."""
    if not (issued_at_s - 1.0 <= now_s < expires_at_s <= issued_at_s + limit_s):
        raise Unauthenticated("expired or not valid yet", code="expired")
