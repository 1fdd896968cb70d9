"""The tenant token: what tells the data database for whom a statement runs, and which it verifies by itself.

A token is text of a fixed layout: 64 hex digits of HMAC-SHA-256, 10 decimal digits of expiry (Unix seconds), the
tenant's id (30 characters), the key id. The digest covers the shard's id, the backend's process id (4 bytes), neither
of which is carried since both sides know them, and everything after itself; so a token is worth something on one
connection, for some seconds.
Anything wrong is no tenant, and no rows. Source: ADR-0005, `sql/data/0001_tenant_token.sql`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, Final

import msgspec

from partywall.errors import Bug, Unavailable

KEY_BYTES: Final = 32
LIFE_LIMIT_S: Final = 30
_BLOCK_BYTES: Final = 64
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}", re.ASCII)
_TENANT: Final = re.compile(r"ten_[a-z2-7]{26}", re.ASCII)


class TokenKey(msgspec.Struct, frozen=True):
    """A worker's key, as the issuer enrolled it. key: 32 bytes. expires_at_s: Unix seconds."""

    id: str
    key: bytes
    expires_at_s: float

    def __repr__(self) -> str:
        return f"TokenKey({self.id!r})"


def mint(  # noqa: PLR0917  # what is signed
    key_id: str, key: bytes, tenant: str, shard: str, backend_pid: int, expires_at_s: int
) -> str:
    """Return a token. expires_at_s: at most 30 s ahead, or the database answers as if there were none.

    Invariant: the text needs no quoting anywhere: [A-Za-z0-9_-] only. Raises: Bug for ids of another shape.
    """
    if not _TENANT.fullmatch(tenant) or not _KEY_ID.fullmatch(key_id):
        raise Bug("a tenant token for something that is no tenant")
    body = f"{expires_at_s:010d}{tenant}{key_id}"
    message = shard.encode() + backend_pid.to_bytes(4, "big") + body.encode()
    digest = hmac.digest(key, message, "sha256")
    return digest.hex() + body


def pads(key: bytes) -> tuple[bytes, bytes]:
    """Return the inner and outer pad of HMAC (RFC 2104): what the database keeps instead of the key."""
    block = (key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


async def register_key(connection: Any, key_id: str, key: bytes, not_after_s: float) -> None:
    """Let the data database accept tokens of this key until then, and forget keys that have ended.

    connection: asyncpg, as the data owner (the issuer's). key: 32 random bytes. not_after_s: Unix seconds.
    Raises: Bug for a key of another shape; asyncpg's errors.
    """
    if len(key) != KEY_BYTES or not _KEY_ID.fullmatch(key_id):
        raise Bug("a tenant-token key of another shape")
    inner, outer = pads(key)
    async with connection.transaction():
        await connection.execute("delete from pw.token_key where not_after < clock_timestamp()")
        await connection.execute(
            "insert into pw.token_key (kid, inner_start, outer_pad, not_after)"
            " select $1, $2::bytea || convert_to(id, 'UTF8'), $3, to_timestamp($4) from pw.shard",
            key_id, inner, outer, not_after_s,
        )  # fmt: skip
        # A table of one page is read as it lies once the planner knows that it is so small.
        await connection.execute("analyze pw.token_key")


async def forget_key(connection: Any, key_id: str) -> None:
    """Refuse every token of this key from now on. connection: as for `register_key`."""
    await connection.execute("delete from pw.token_key where kid = $1", key_id)


class TokenMint:
    """Mints for one connection and reuses a token while enough of its life is left.

    A cached token is at most `life_s - REST_S` old. One entry per tenant, bounded.
    """

    REST_S: Final = 10.0
    LIMIT: Final = 256

    def __init__(self, shard: str, backend_pid: int, life_s: float) -> None:
        self._shard = shard
        self._pid = backend_pid
        # The database's clock may run some behind ours, and it refuses what lies more than 30 s ahead of its own.
        self._life_s = int(min(life_s, LIFE_LIMIT_S)) - 2
        self._cached: dict[str, tuple[str, str, float]] = {}

    def token(self, tenant: str, key: TokenKey, now_s: float) -> str:
        """Return a token of this key. Raises: Unavailable when the key has ended."""
        cached = self._cached.get(tenant)
        if cached is not None and cached[1] == key.id and now_s < cached[2]:
            return cached[0]
        if now_s >= key.expires_at_s:
            raise Unavailable("the issuer is out of reach", retry_after_s=1.0)
        expires_at_s = int(now_s) + self._life_s
        text = mint(key.id, key.key, tenant, self._shard, self._pid, expires_at_s)
        if len(self._cached) >= self.LIMIT:
            self._cached.clear()
        self._cached[tenant] = (text, key.id, min(expires_at_s - self.REST_S, key.expires_at_s))
        return text
