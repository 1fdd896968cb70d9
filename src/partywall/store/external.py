"""An external Postgres, given by its owner's DSN: checked, and the gateway's role made in it.

The owner must not be a superuser; it needs CREATEROLE, or the reader role must exist already with the password that
the gateway's DSN file holds. What only a superuser can close (`hardening.py`) is the operator's to close there.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Any, Final

import asyncpg

from partywall.errors import Unavailable
from partywall.store.configuration import ROLES
from partywall.store.dsn import read_dsn, with_role
from partywall.store.guard import check_logs, check_version
from partywall.store.hardening import VECTORS
from partywall.store.scram import verifier

TIMEOUT_S: Final = 10.0
VECTOR_VERSION: Final = (0, 8)
"""The first that goes on searching an index where a filter left too few."""


async def prepare(dsn_file: Path, instance: str, password: str) -> tuple[str, str]:
    """Return the DSNs of the owner and of the reader, who can connect with this password afterwards.

    instance: `control` or `data`. Raises: Unavailable with what to do.
    """
    owner_dsn = read_dsn(dsn_file)
    role = ROLES[instance].reader
    reader_dsn = with_role(owner_dsn, role, password)
    try:
        connection = await asyncpg.connect(owner_dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = f"the external {instance} database is out of reach"
        raise Unavailable(reason, private=type(error).__name__, retry_after_s=5.0) from error
    try:
        await check_version(connection)
        await check_logs(connection)
        await _check_owner(connection, instance)
        if instance == "data":
            await _ensure_vectors(connection)
        await _ensure_reader(connection, role, password, reader_dsn)
        if instance == "data":
            await connection.execute(f"grant usage on schema {VECTORS} to {role}")
    finally:
        await connection.close(timeout=TIMEOUT_S)
    return owner_dsn, reader_dsn


async def _check_owner(connection: Any, instance: str) -> None:
    row = await connection.fetchrow(
        "select r.rolsuper as super, d.datdba = r.oid as owns from pg_catalog.pg_roles r, pg_catalog.pg_database d"
        " where r.rolname = current_user and d.datname = current_database()"
    )
    if row["super"] or not row["owns"]:
        raise Unavailable(
            f"the external {instance} database needs an owner that is no superuser: create role … login createrole;"
            " create database … owner …",
            code="unsafe-role",
        )


async def _ensure_reader(connection: Any, role: str, password: str, reader_dsn: str) -> None:
    if not await _can_connect(reader_dsn):
        await _set_password(connection, role, password)
    database = await connection.fetchval("select quote_ident(current_database())")
    await connection.execute(f"revoke all on database {database} from public")
    await connection.execute(f"grant connect on database {database} to {role}")
    await connection.execute("revoke all on schema public from public")
    if not await _can_connect(reader_dsn):
        raise Unavailable(f"the role {role} cannot connect: pg_hba.conf must let it in", code="unsafe-role")


async def _ensure_vectors(connection: Any) -> None:
    """Have pgvector where collections look for it, as far as the owner may. Raises: Unavailable with what to do."""
    await connection.execute(f"create schema if not exists {VECTORS}")
    with contextlib.suppress(
        asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError, asyncpg.UndefinedFileError
    ):
        await connection.execute(f"create extension if not exists vector schema {VECTORS}")
    version = await connection.fetchval(
        "select e.extversion from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace"
        " where e.extname = 'vector' and n.nspname = $1",
        VECTORS,
    )
    if version is None or tuple(int(part) for part in version.split(".")[:2]) < VECTOR_VERSION:
        raise Unavailable(
            f"the external data database needs pgvector {'.'.join(map(str, VECTOR_VERSION))} or later, where its owner"
            f" may not make it: as a superuser, create extension vector schema {VECTORS}",
            code="no-pgvector",
        )
    await connection.execute(f"revoke all on schema {VECTORS} from public")


async def _set_password(connection: Any, role: str, password: str) -> None:
    known = await connection.fetchval("select true from pg_catalog.pg_roles where rolname = $1", role)
    verb = "alter" if known else "create"
    try:
        await connection.execute(
            f"{verb} role {role} login nocreatedb nocreaterole noinherit"
            f" password '{verifier(password, secrets.token_bytes(16))}'"
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise Unavailable(
            f"the owner may not {verb} the role {role}: give it CREATEROLE (and, for a role that exists, ADMIN on it)",
            code="unsafe-role",
        ) from error


async def _can_connect(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close(timeout=TIMEOUT_S)
    return True
