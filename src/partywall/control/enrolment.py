"""A worker's enrolment: a certificate for the key that it made, and a tenant-token key that the data database knows.

Whoever may open the issuer's socket may enrol: the supervisor gives its folder to the gateway workers alone.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from partywall import signing
from partywall.control.database import Database
from partywall.control.work import new_id
from partywall.errors import Malformed
from partywall.store.tenant_token import register_key
from partywall.wire.control import Enrol, Enrolled
from partywall.wire.permit import WorkerCertificate

TOKEN_KEY_BYTES: Final = 32
_WORKER: Final = re.compile(r"[a-z][a-z0-9-]{0,62}", re.ASCII)


async def enrol(request: Enrol, permit_key: Ed25519PrivateKey, data: Database, *, boot: str, now_s: float) -> Enrolled:
    """Return the worker's signing right and tenant-token key; both end together. Raises: Malformed, Unavailable."""
    _check(request)
    expires_at_s = now_s + signing.CERTIFICATE_LIFE_S
    certificate = signing.certify(
        permit_key,
        WorkerCertificate(
            worker=request.worker, public_key=request.public_key, issued_at_s=now_s, expires_at_s=expires_at_s
        ),
    )
    key_id, key = new_id("ttk"), secrets.token_bytes(TOKEN_KEY_BYTES)
    async with data.transaction() as connection:
        await register_key(connection, key_id, key, expires_at_s)
    return Enrolled(certificate, key_id, key, expires_at_s, boot)


def _check(request: Enrol) -> None:
    if not _WORKER.fullmatch(request.worker):
        raise Malformed("not a worker's name")
    try:
        Ed25519PublicKey.from_public_bytes(request.public_key)
    except ValueError as error:
        raise Malformed("not an Ed25519 public key") from error
