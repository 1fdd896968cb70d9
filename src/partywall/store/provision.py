"""Makes both databases ready to be started: files, roles, databases, and the DSN files of those who connect.

Runs before any server (embedded instances are set up in single-user mode), as the starter, at every start; what is
there already is left alone. Killed anywhere, the next run mends it: secrets are written before the roles that use
them, and a mark that holds the digest of what was done is written last.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from partywall.errors import Unavailable
from partywall.settings import Home, Settings
from partywall.store import cluster, external
from partywall.store.cluster import Own, Spawn, process_name
from partywall.store.configuration import ROLES
from partywall.store.dsn import format_dsn, password_of
from partywall.store.hardening import database_statements, role_statements
from partywall.store.scram import verifier
from partywall.telemetry.log import Log

MARK: Final = "partywall-provisioned"
HOLDERS: Final = {"owner": "issuer", "reader": "gateway"}
"""Which process holds the DSN of which role."""


def _keep(_path: Path, _process: str) -> None:
    """Leave a path to the starter, whose uid all processes share."""


async def provision(
    home: Home,
    settings: Settings,
    log: Log,
    *,
    own: Own = _keep,
    spawn_prefix: Callable[[str], list[str]] | None = None,
    uid_of: Callable[[str], tuple[int, int] | None] | None = None,
) -> None:
    """Set up both databases, or check that they are. Idempotent.

    own: gives a path to the uid of a process (`postgres-control`, `postgres-data`, `issuer`, `gateway`).
    spawn_prefix, uid_of: how programs of a process are run as its user (see `cluster.Spawn`; uid_of needs
    the standard event loop, uvloop cannot change a child's user).
    Raises: Unavailable with what to do.
    """
    spawn = Spawn(
        prefix=spawn_prefix if spawn_prefix is not None else lambda _process: [],
        uid_of=uid_of if uid_of is not None else lambda _process: None,
    )
    cluster.link_short_name(home)
    for holder in HOLDERS.values():
        _folder(home.secrets(holder), holder, own)
    files = {"control": settings.store.control_dsn_file, "data": settings.store.data_dsn_file}

    async def one(instance: str, dsn_file: str | None) -> None:
        try:
            if dsn_file is None:
                await _embedded(home, instance, own, spawn, log)
            else:
                await _external(home, instance, Path(dsn_file), own, log)
        except Unavailable as error:
            reason = error.private or error.public
            log.error("database.setup-failed", instance=instance, code=error.code, reason=reason)  # noqa: TRY400  # ours
            raise

    works = [asyncio.ensure_future(one(instance, dsn_file)) for instance, dsn_file in files.items()]
    try:
        await asyncio.gather(*works)
    finally:  # the other one ends too before this one's failure is told
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


async def _embedded(home: Home, instance: str, own: Own, spawn: Spawn, log: Log) -> None:
    data = home.postgres_data(instance)
    for folder in (data, home.postgres_socket_dir(instance)):
        _folder(folder, process_name(instance), own)
    await cluster.initialise(home, instance, own, spawn)
    roles = ROLES[instance]
    passwords: dict[str, str] = {}
    for part, holder in HOLDERS.items():
        role: str = getattr(roles, part)
        path = home.secrets(holder) / f"{instance}.dsn"
        passwords[role] = password_of(path) or secrets.token_urlsafe(32)
        dsn = format_dsn(role, passwords[role], instance, cluster.socket_dir(home, instance))
        write_secret(path, dsn, holder, own)
    if _is_done(data, instance, passwords):
        return
    verifiers = {role: verifier(password, secrets.token_bytes(16)) for role, password in passwords.items()}
    await cluster.run_sql(home, instance, "postgres", role_statements(roles, verifiers), spawn)
    await _create_database(home, instance, spawn)
    await cluster.run_sql(home, instance, instance, database_statements(instance, roles), spawn)
    _mark_done(data, instance, passwords, own)
    log.info("database.provisioned", instance=instance)


async def _create_database(home: Home, instance: str, spawn: Spawn) -> None:
    if not await cluster.has_database(home, instance, spawn):
        owner = ROLES[instance].owner
        # wal_log copies the template through WAL: no checkpoint is needed for it.
        create = f"create database {instance} owner {owner} strategy wal_log"
        await cluster.run_sql(home, instance, "postgres", [create], spawn)


async def _external(home: Home, instance: str, dsn_file: Path, own: Own, log: Log) -> None:
    holder = HOLDERS["reader"]
    path = home.secrets(holder) / f"{instance}.dsn"
    password = password_of(path) or secrets.token_urlsafe(32)
    owner_dsn, reader_dsn = await external.prepare(dsn_file, instance, password)
    write_secret(path, reader_dsn, holder, own)
    write_secret(home.secrets(HOLDERS["owner"]) / f"{instance}.dsn", owner_dsn, HOLDERS["owner"], own)
    log.info("database.provisioned", instance=instance, reason="external")


def write_secret(path: Path, text: str, holder: str, own: Own) -> None:
    """Write a file that only its holder reads (0600), whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    own(new, holder)
    new.replace(path)


def _digest(instance: str, passwords: dict[str, str]) -> str:
    roles = ROLES[instance]
    statements = role_statements(roles, passwords) + database_statements(instance, roles)
    return hashlib.sha256("\0".join(statements).encode()).hexdigest()


def _is_done(data: Path, instance: str, passwords: dict[str, str]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return (data / MARK).read_text() == _digest(instance, passwords)
    return False


def _mark_done(data: Path, instance: str, passwords: dict[str, str], own: Own) -> None:
    new = data / f"{MARK}.new"
    new.write_text(_digest(instance, passwords))
    own(new, process_name(instance))
    new.replace(data / MARK)


def _folder(path: Path, process: str, own: Own) -> None:
    """Make a closed folder of one process. Those above it are the deployment's: they may be passed, not listed."""
    if path.is_dir():
        return
    for above in reversed(path.parents):
        if not above.exists():
            above.mkdir(mode=0o711)
    path.mkdir(mode=0o700)
    own(path, process)
