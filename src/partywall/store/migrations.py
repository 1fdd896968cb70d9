"""Forward-only migrations: numbered SQL files, each in one transaction, never changed once applied.

Additive rule: the previous version's workers go on working while and after a migration runs, so a migration adds
(tables, nullable or defaulted columns, indexes, grants) and takes nothing away that the previous version still uses;
what is to go goes one version later. Hence a database may be *newer* than the code: unknown later migrations are left
alone. An applied file that changed, or one slipped in before an applied one, is refused.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import Any, Final, Literal

import msgspec

from partywall.errors import Unavailable

Database = Literal["control", "data"]
LOCK_KEY: Final = 0x7077_6D69_6772  # "pwmigr"
WAIT_MS: Final = 60_000
_FILE: Final = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql", re.ASCII)

_BOOK: Final = """
create schema if not exists migration;
revoke all on schema migration from public;
create table if not exists migration.schema_migration (
    number integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default clock_timestamp()
);
"""


class Migration(msgspec.Struct, frozen=True):
    """One file. sha256: hex, over its bytes."""

    number: int
    name: str
    sha256: str
    sql: str


def known(database: Database) -> list[Migration]:
    """Return the migrations that this version brings, in order."""
    found = []
    for file in resources.files("partywall.store").joinpath("sql", database).iterdir():
        match = _FILE.fullmatch(file.name)
        if match is not None:
            data = file.read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            found.append(Migration(int(match["number"]), file.name, digest, data.decode()))
    return sorted(found, key=lambda migration: migration.number)


def pending(migrations: list[Migration], applied: dict[int, str]) -> list[Migration]:
    """Return what is to be applied. applied: number -> sha256 of what the database has.

    Raises: Unavailable when an applied file changed, or a new one comes before an applied one.
    """
    mine = {migration.number for migration in migrations}
    newest = max((number for number in applied if number in mine), default=0)
    for migration in migrations:
        recorded = applied.get(migration.number)
        if recorded is None and migration.number < newest:
            raise Unavailable(f"migration {migration.name} comes before applied ones", code="migration-order")
        if recorded is not None and recorded != migration.sha256:
            raise Unavailable(f"migration {migration.name} was changed after it was applied", code="migration-changed")
    return [migration for migration in migrations if migration.number not in applied]


async def migrate(connection: Any, database: Database) -> list[str]:
    """Apply what is missing as the database's owner and return the names of what was applied.

    connection: asyncpg, outside a transaction. One migrator at a time: others wait on an advisory lock.
    Raises: Unavailable (see `pending`); asyncpg's errors when a migration fails: it left nothing behind.
    """
    return await apply(connection, known(database))


async def apply(connection: Any, migrations: list[Migration]) -> list[str]:
    """Apply these migrations where they are missing; see `migrate`."""
    await connection.execute(f"set statement_timeout = {WAIT_MS}")
    await connection.fetchval("select pg_catalog.pg_advisory_lock($1)", LOCK_KEY)
    try:
        await connection.execute(_BOOK)
        rows = await connection.fetch("select number, sha256 from migration.schema_migration")
        todo = pending(migrations, {row["number"]: row["sha256"] for row in rows})
        for migration in todo:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "insert into migration.schema_migration (number, name, sha256) values ($1, $2, $3)",
                    migration.number, migration.name, migration.sha256,
                )  # fmt: skip
        return [migration.name for migration in todo]
    finally:
        if not connection.is_closed():
            await connection.fetchval("select pg_catalog.pg_advisory_unlock($1)", LOCK_KEY)
            await connection.execute("reset statement_timeout")
