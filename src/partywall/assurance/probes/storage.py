"""Attacks on the database with the gateway's own role: what hostile SQL could do. Source: attacks.md, RLS-*.

They need the deployment's own files (run them on its machine, as its starter); elsewhere they are skipped. Their
knock-outs are databases without one control, in tests/scenarios.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from partywall.assurance.probe import NotHere, expect, probe
from partywall.assurance.target import Target

_TABLES = """
    select format('%I.%I', n.nspname, c.relname) as name, c.relrowsecurity and c.relforcerowsecurity as forced
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema')
      and has_table_privilege(current_user, c.oid, 'select, insert, update, delete')
"""
_REFUSED = (asyncpg.PostgresError, asyncpg.InternalClientError)  # of column types it may not look up


def _as_gateway(target: Target, attack: Callable[[Any], Awaitable[str]]) -> str:
    """Run an attack on a connection of the gateway's role. Raises: NotHere without the deployment's files."""
    path = target.home.secrets("gateway") / "data.dsn"
    try:
        dsn = path.read_text().strip()
    except OSError as error:
        raise NotHere("needs the deployment's own machine and its starter's rights (PARTYWALL_HOME)") from error

    async def connected() -> str:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await attack(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


@probe("RLS-1", "the gateway's database role cannot step around row security", control="gateway role")
def role(target: Target) -> str:
    async def attack(connection: Any) -> str:
        row = await connection.fetchrow(
            "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_catalog.pg_roles"
            " where rolname = current_user"
        )
        expect(not any(row.values()), "the role is superuser, BYPASSRLS or may make roles")
        owned = await connection.fetchval(
            "select count(*) from pg_catalog.pg_class where relowner = (select oid from pg_catalog.pg_roles"
            " where rolname = current_user)"
        )
        expect(owned == 0, f"the role owns {owned} relations")
        members = await connection.fetchval(
            "select count(*) from pg_catalog.pg_auth_members where member = (select oid from pg_catalog.pg_roles"
            " where rolname = current_user)"
        )
        expect(members == 0, "the role is a member of other roles")
        return "no superuser, no BYPASSRLS, owns nothing, member of nothing"

    return _as_gateway(target, attack)


@probe(
    "RLS-5",
    "no table that the role reaches answers without a tenant token, named directly or not",
    control="leaf policy",
)
def leaves(target: Target) -> str:
    _keep_secret(target)

    async def attack(connection: Any) -> str:
        tables = await connection.fetch(_TABLES)
        expect(tables, "the role reaches no table at all, so nothing was proved")
        for table in tables:
            expect(table["forced"], f"{table['name']} has no forced row security of its own")
            rows = await _rows(connection, f"select * from {table['name']} limit 5")  # noqa: S608  # from the catalogue
            expect(not rows, f"{table['name']} gave rows without a token")
        return f"{len(tables)} reachable tables, each with forced row security, 0 rows"

    return _as_gateway(target, attack)


@probe("RLS-7", "no setting that hostile SQL can make opens another tenant's rows", control="tenant token")
def forged_settings(target: Target) -> str:
    b = target.b
    _keep_secret(target)
    expiry = str(int(time.time()) + 20)
    tokens = ("", b.tenant, "0" * 64 + expiry + b.tenant + "ttk_" + "a" * 26, "x" * 200)

    async def attack(connection: Any) -> str:
        kid = await _rows(connection, "select kid from pw.token_key")
        expect(not kid, "the role can read the token keys")
        statements = []
        for token in tokens:
            statements += [
                f"select set_config('pw.token', '{token}', false)",
                f"select query_to_xml('select set_config(''pw.token'', ''{token}'', false)', true, true, '')",
                f"do $$ begin execute 'set pw.token = ''{token}'''; end $$",
                f"set pw.tenant = '{b.tenant}'",
                "reset role",
                "set role pw_data_owner",
                "set session authorization pw_data_owner",
                "set row_security = off",
                "alter table pw.memory disable row level security",
                "grant pw_data_owner to current_user",
                "copy pw.memory to stdout",
            ]
        tried = 0
        for statement in statements:
            await _rows(connection, statement)
            for query in (
                "select * from pw.memory",
                "select query_to_xml('select * from pw.memory', true, true, '')",
                "select json_agg(m)::text from pw.memory m",
            ):
                rows = await _rows(connection, query)
                expect(b.canary not in str(rows), f"after {statement[:60]}: B's memory")
                tried += 1
        return f"{tried} queries after {len(statements)} hostile statements, no row of B"

    return _as_gateway(target, attack)


@probe("RLS-6", "other sessions' statements and statistics cannot be read", control="quiet catalogue")
def quiet(target: Target) -> str:
    _keep_secret(target)

    async def attack(connection: Any) -> str:
        for query in (
            "select query from pg_stat_activity where pid <> pg_backend_pid()",
            "select * from pg_stats",
            "select * from pg_statistic",
            "select * from pg_stat_statements",
            "select rolpassword from pg_authid",
            "select pg_read_file('postgresql.conf')",
            "select pg_ls_dir('.')",
            "select lo_create(0)",
            "create temp table t (x int)",
            "listen x",
        ):
            rows = await _rows(connection, query)
            expect(target.b.canary not in str(rows), f"{query}: B's canary")
            shown = [row for row in rows if any(value is not None and value != "" for value in row.values())]
            expect(not shown or query.startswith("listen"), f"{query} answered {len(shown)} rows")
        return "refused or empty"

    return _as_gateway(target, attack)


def _keep_secret(target: Target) -> None:
    """Let B have something to lose. Raises: Leak when it cannot: then nothing would be proved."""
    kept = target.b.remember(target.b.key, "secret", target.b.canary)
    expect(kept.status == 200, f"B's memory answered {kept.brief()}, so nothing was proved")


async def _rows(connection: Any, statement: str) -> list[Any]:
    """Return a statement's rows; refused is none."""
    try:
        return list(await connection.fetch(statement))
    except _REFUSED:
        return []
