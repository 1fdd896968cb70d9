"""The issuer's private keys: one signs workers' certificates, one at a time signs access tokens.

A token key is published in the control database before it signs, for long enough that every worker knows it; when
the next one takes over, its private half is destroyed and its public half stays until its last token has died.
Source: ADR-0007.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

import asyncpg
import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from partywall.control.database import Database, next_revision
from partywall.errors import Unavailable
from partywall.wire.ids import ID_BYTES, format_id

OVERLAP_S: Final = 10.0
SKEW_S: Final = 60.0
"""How long a retired key stays published after its last token ended."""

_PREFIX: Final = "token-"
_SUFFIX: Final = ".key"


class SigningKey(msgspec.Struct, frozen=True):
    """A key that signs access tokens from signs_from_s (Unix seconds) on."""

    kid: str
    private: Ed25519PrivateKey
    signs_from_s: float


class Keyring:
    """folder: closed to everybody else. access_token_s: the longest life of a token. rotation_s: of a key's turn."""

    def __init__(self, folder: Path, *, access_token_s: float, rotation_s: float, overlap_s: float = OVERLAP_S) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder
        self._access_token_s = access_token_s
        self._rotation_s = rotation_s
        self._overlap_s = overlap_s
        self._held: list[SigningKey] = []
        self.permit_key = _permit_key(folder / "permit.key")
        self.cursor_key = _derived(self.permit_key, b"partywall cursor v1")

    def signing_key(self, now_s: float) -> SigningKey:
        """Return the key whose turn it is. Raises: Unavailable while no published key may sign yet."""
        ready = [key for key in self._held if key.signs_from_s <= now_s]
        if not ready:
            raise Unavailable("no signing key is ready yet", retry_after_s=1.0)
        return max(ready, key=lambda key: key.signs_from_s)

    async def turn(self, database: Database, now_s: float) -> None:
        """Bring files, database and memory together: publish, take over, retire. Safe to repeat after any failure."""
        async with database.transaction() as connection:
            rows = await connection.fetch("select * from control.verification_key")
            held = self._matching(rows)
            steps = _Steps(connection, rows, now_s)
            live = [row for row in rows if row["not_after_s"] is None and row["id"] in held]
            newest = max(live, key=lambda row: row["signs_from_s"], default=None)
            for row in rows:
                if row["not_after_s"] is None and _is_over(row, newest, held, now_s):
                    await steps.retire(row["id"], now_s + self._access_token_s + SKEW_S)
                    held.pop(row["id"], None)
            if newest is None or newest["signs_from_s"] + self._rotation_s - self._overlap_s <= now_s:
                key = self._make(now_s if not rows else now_s + self._overlap_s)
                await steps.publish(key)
                held[key.kid] = key
            await steps.forget_dead()
        self._held = list(held.values())
        self._destroy_others()

    def _matching(self, rows: list[asyncpg.Record]) -> dict[str, SigningKey]:
        """Private keys on disk whose public half is published and not retired."""
        held: dict[str, SigningKey] = {}
        for row in rows:
            path = self._path(row["id"])
            if row["not_after_s"] is not None or not path.is_file():
                continue
            private = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
            if private.public_key().public_bytes_raw() == row["public_key"]:
                held[row["id"]] = SigningKey(row["id"], private, row["signs_from_s"])
        return held

    def _make(self, signs_from_s: float) -> SigningKey:
        kid = format_id("sig", secrets.token_bytes(ID_BYTES))
        private = Ed25519PrivateKey.generate()
        write_secret(self._path(kid), private.private_bytes_raw())
        return SigningKey(kid, private, signs_from_s)

    def _destroy_others(self) -> None:
        """Delete private keys that are retired, or that a crash left unpublished."""
        kept = {self._path(key.kid) for key in self._held}
        for path in self._folder.glob(f"{_PREFIX}*{_SUFFIX}"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def _path(self, kid: str) -> Path:
        return self._folder / f"{_PREFIX}{kid}{_SUFFIX}"


class _Steps:
    """Changes to the published keys within one transaction; the revision is taken with the first."""

    def __init__(self, connection: asyncpg.Connection, rows: list[asyncpg.Record], now_s: float) -> None:
        self._connection = connection
        self._rows = rows
        self._now_s = now_s
        self._revised = False

    async def publish(self, key: SigningKey) -> None:
        await self._revise()
        await self._connection.execute(
            """insert into control.verification_key (id, public_key, published_at_s, signs_from_s)
               values ($1, $2, $3, $4)""",
            key.kid,
            key.private.public_key().public_bytes_raw(),
            self._now_s,
            key.signs_from_s,
        )

    async def retire(self, kid: str, not_after_s: float) -> None:
        await self._revise()
        await self._connection.execute(
            "update control.verification_key set not_after_s = $2 where id = $1", kid, not_after_s
        )

    async def forget_dead(self) -> None:
        if any(row["not_after_s"] is not None and row["not_after_s"] < self._now_s for row in self._rows):
            await self._connection.execute("delete from control.verification_key where not_after_s < $1", self._now_s)

    async def _revise(self) -> None:
        if not self._revised:
            self._revised = True
            await next_revision(self._connection)


def _is_over(row: asyncpg.Record, newest: asyncpg.Record | None, held: dict[str, SigningKey], now_s: float) -> bool:
    """Whether a key's turn is over: its private half is lost, or a newer key signs."""
    if row["id"] not in held:
        return True
    return newest is not None and newest["id"] != row["id"] and newest["signs_from_s"] <= now_s


def _permit_key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        write_secret(path, Ed25519PrivateKey.generate().private_bytes_raw())
    return Ed25519PrivateKey.from_private_bytes(path.read_bytes())


def _derived(key: Ed25519PrivateKey, purpose: bytes) -> bytes:
    """Return 32 bytes that are as secret as the key, for one purpose, and the same after a restart."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=purpose).derive(key.private_bytes_raw())


def write_secret(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 that is whole and on disk, or absent."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
