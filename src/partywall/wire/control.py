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


class Performed(msgspec.Struct, frozen=True, tag="performed", forbid_unknown_fields=True, omit_defaults=True):
    """The answer's canonical JSON. replayed: an earlier request of the same idempotency key did it."""

    body: bytes
    replayed: bool = False


class Bootstrap(msgspec.Struct, frozen=True, tag="bootstrap", forbid_unknown_fields=True):
    """Exchange the one-time bootstrap token for the first platform operator's API key."""

    token: str


class Identify(msgspec.Struct, frozen=True, tag="identify", forbid_unknown_fields=True):
    """Ask whom a foreign token stands for; nothing is issued and nothing remembered.

    tenant: in which tenant; None: the one that the token's own audience names.
    """

    token: str
    tenant: str | None


class Identified(msgspec.Struct, frozen=True, tag="identified", forbid_unknown_fields=True):
    """The answer. credential: `asr_…`, the token's name in records. expires_at_s: the token's end (Unix seconds)."""

    tenant: str
    provider: str
    subject: str
    kind: str
    credential: str
    expires_at_s: float
    scopes: list[str] | None


class Unidentified(msgspec.Struct, frozen=True, tag="unidentified", forbid_unknown_fields=True):
    """The answer for a token that is good for nothing here. reason: `assertion-…`, for the record alone.

    tenant, provider, subject: only when a provider that this tenant trusts did sign the token.
    """

    reason: str
    tenant: str | None = None
    provider: str | None = None
    subject: str | None = None


class SignInStep(msgspec.Struct, frozen=True, tag="sign-in", forbid_unknown_fields=True):
    """One step of a person's sign-in (`wire/sign_in.py`): a signed permit of `system:sign-in`, and its payload."""

    permit: bytes
    payload: bytes


IssuerRequest = Enrol | Perform | Bootstrap | Identify | SignInStep
IssuerReply = Enrolled | Performed | Identified | Unidentified
