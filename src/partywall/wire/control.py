"""Messages between a gateway worker and the issuer, over `run/issuer.sock` (see `wire/frame.py`, `ipc.py`)."""

from __future__ import annotations

import msgspec


class Enrol(msgspec.Struct, frozen=True, tag="enrol", forbid_unknown_fields=True):
    """A worker asks for its short-lived signing right and its tenant-token key.

    public_key: raw Ed25519, 32 bytes, made by the worker for itself. worker: `gateway-<n>`.
    """

    worker: str
    public_key: bytes


class Enrolled(msgspec.Struct, frozen=True, tag="enrolled", forbid_unknown_fields=True):
    """The answer. certificate: see `wire/permit.py`. token_key: 32 bytes, HMAC-SHA-256, for the data database.

    Both end at expires_at_s (Unix); a worker enrols again at half of its life.
    boot: the issuer's boot id, the audience suffix of permits made for it.
    """

    certificate: bytes
    token_key_id: str
    token_key: bytes
    expires_at_s: float
    boot: str


class Perform(msgspec.Struct, frozen=True, tag="perform", forbid_unknown_fields=True):
    """An operator action: a signed permit and exactly the payload that it digests (canonical JSON)."""

    permit: bytes
    payload: bytes


class Performed(msgspec.Struct, frozen=True, tag="performed", forbid_unknown_fields=True):
    """The answer's canonical JSON."""

    body: bytes


class Bootstrap(msgspec.Struct, frozen=True, tag="bootstrap", forbid_unknown_fields=True):
    """Exchange the one-time bootstrap token for the first platform operator's API key."""

    token: str


IssuerRequest = Enrol | Perform | Bootstrap
IssuerReply = Enrolled | Performed
