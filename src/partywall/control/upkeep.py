"""What the issuer does without being asked: prepare its databases and keys, turn the keys, sweep what has expired."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import asyncpg

from partywall.control.bootstrap import offer_bootstrap, withdraw_expired
from partywall.control.database import ACQUIRE_TIMEOUT_S, Database, translated
from partywall.control.keyring import Keyring
from partywall.errors import Unavailable
from partywall.settings import Home, Settings
from partywall.store.migrations import Database as DatabaseName
from partywall.store.migrations import migrate
from partywall.telemetry.log import Log

TURN_S: Final = 1.0
SWEEP_S: Final = 60.0
PUBLIC_KEY_FILE: Final = "issuer.pub"
_SWEEPS: Final = (
    ("delete from control.authorization_code where expires_at_s < $1", 3_600.0),
    ("delete from control.refresh_family where expires_at_s < $1", 0.0),
    ("delete from control.access_token where expires_at_s < $1", 60.0),
    ("delete from control.revocation where forget_at_s < $1", 60.0),
    ("delete from control.used_assertion where forget_at_s < $1", 0.0),
    ("delete from control.api_key where expires_at_s < $1", 30 * 86_400.0),
    ("delete from control.session where revoked_at_s is null and used_at_s < $1", 86_400.0),
    ("delete from control.idempotency where expires_at_s < $1", 0.0),
)
"""Statement, and for how many seconds after its end a row is kept."""


async def prepare(
    home: Home, settings: Settings, control: Database, keyring: Keyring, clock: Callable[[], float]
) -> None:
    """Bring both databases to this release's schema, the keys and the bootstrap token to where they belong.

    Raises: Unavailable while a database is away.
    """
    await _migrate(home, "control")
    await _migrate(home, "data")
    await keyring.turn(control, clock())
    await offer_bootstrap(control, home.issuer, life_s=settings.issuer.bootstrap_s, now_s=clock())
    publish_permit_key(home, keyring)


async def _migrate(home: Home, name: DatabaseName) -> None:
    with translated():
        connection = await asyncpg.connect(read_dsn(home, name), timeout=ACQUIRE_TIMEOUT_S)
        try:
            await migrate(connection, name)
        finally:
            connection.terminate()


def read_dsn(home: Home, name: str) -> str:
    """Return the owner's DSN of the `control` or `data` database."""
    return (home.secrets("issuer") / f"{name}.dsn").read_text().strip()


def publish_permit_key(home: Home, keyring: Keyring) -> None:
    """Write the public permit key (raw, 32 bytes, 0644) for every consumer of permits."""
    home.public_keys.mkdir(parents=True, exist_ok=True)
    path = home.public_keys / PUBLIC_KEY_FILE
    content = keyring.permit_key.public_key().public_bytes_raw()
    if path.exists() and path.read_bytes() == content:
        return
    _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o644)
    temporary.rename(path)


async def until_prepared(attempt: Callable[[], Awaitable[None]], log: Log, stop: asyncio.Event) -> bool:
    """Attempt again and again while a database is away. Returns False when stop came first."""
    while not stop.is_set():
        try:
            await attempt()
            return True
        except Unavailable as error:
            log.warning("issuer.waiting", code=error.code, reason=error.private, retry_after_s=TURN_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TURN_S)
    return False


async def tend(home: Home, control: Database, keyring: Keyring, clock: Callable[[], float], log: Log) -> None:
    """Turn the keys each second and sweep each minute, for ever; a database that is away is tried again."""
    swept_at_s = time.monotonic()
    while True:
        await asyncio.sleep(TURN_S)
        try:
            await keyring.turn(control, clock())
            if time.monotonic() >= swept_at_s + SWEEP_S:
                await sweep(home, control, clock())
                swept_at_s = time.monotonic()
        except Unavailable as error:
            log.warning("issuer.database", code=error.code, reason=error.private)
        except Exception as error:  # the next turn begins anew
            log.error("issuer.tend", error)  # noqa: TRY400 - our own sink, not the standard logging


async def sweep(home: Home, control: Database, now_s: float) -> None:
    """Delete rows that can no longer matter to anybody, and a bootstrap token that has ended."""
    await withdraw_expired(control, home.issuer, now_s)
    async with control.transaction() as connection:
        for statement, kept_s in _SWEEPS:
            await connection.execute(statement, now_s - kept_s)
