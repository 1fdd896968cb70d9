"""What a gateway checks of its database before it serves, and refuses to serve without.

Row security is void for a superuser, an owner, or BYPASSRLS; so the role is looked at, not trusted. So are the view
that verifies the tenant token (its definition is pinned by hash), every relation the role reaches, the server's
version and what it writes into its log. Source: attacks.md RLS-1, RLS-5, RLS-6; ADR-0005.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

from partywall.errors import Unavailable
from partywall.store.configuration import QUIET

FIXED_MINORS: Final = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""Major version -> first minor with the fixes of CVE-2024-10976 and CVE-2025-8713; 18 has had them from the start."""

TENANT_VIEW_SHA256: Final = "cb955037f8388ec79fe8dee09c05ff5ed2c603a92e04a2f358e0202e1d0dc792"
"""SHA-256 of the definition of pw.tenant as `sql/data/0001_tenant_token.sql` makes it; see `view_sha256`."""

_POLICY: Final = re.compile(
    r"\((tenant|'ten_[a-z2-7]{26}'::text) = \( SELECT (tenant|tenant_\d+)\.id FROM pw\.tenant( tenant_\d+)?\)\)"
)
"""What a policy must say, as Postgres writes it back: the row's tenant, or the leaf's, is the token's."""


async def check_gateway_role(connection: Any) -> None:
    """Check all of it. connection: asyncpg, as the gateway's role on the data database.

    Raises: Unavailable (code `unsafe-role`, `unsafe-database`, `old-database`, `loud-database`) naming the reason.
    """
    await check_version(connection)
    await check_logs(connection)
    await check_role(connection)
    await check_token(connection)
    await check_relations(connection)


async def check_version(connection: Any) -> None:
    """Refuse a server older than the fixes that row security needs."""
    number = int(await connection.fetchval("select current_setting('server_version_num')"))
    major, minor = divmod(number, 10_000)
    if major >= max(FIXED_MINORS) + 1:
        return
    if major not in FIXED_MINORS or minor < FIXED_MINORS[major]:
        wanted = FIXED_MINORS.get(major)
        advice = f"update it to {major}.{wanted} or later" if wanted else "update it to a supported version"
        raise Unavailable(f"Postgres {major}.{minor} has known holes in row security: {advice}", code="old-database")


async def check_logs(connection: Any) -> None:
    """Refuse a server that writes statements, parameters or error texts into its log."""
    names = [*QUIET, "log_min_messages"]
    rows = await connection.fetch("select name, setting from pg_catalog.pg_settings where name = any($1)", names)
    found = {row["name"]: row["setting"] for row in rows}
    loud = [name for name, wanted in QUIET.items() if name in found and found[name] != wanted]
    if found["log_min_messages"] not in {"log", "fatal", "panic"}:
        loud.append("log_min_messages")
    if loud:
        wanted = ", ".join(f"{name} = {QUIET.get(name, 'fatal')}" for name in loud)
        raise Unavailable(f"the database logs what its clients say: set {wanted}", code="loud-database")


async def check_role(connection: Any) -> None:
    """Refuse a role that row security does not bind, or that could get one."""
    row = await connection.fetchrow(_ROLE)
    reasons = {
        "it is a superuser": row["super"],
        "it has BYPASSRLS": row["bypass"],
        "it may create roles": row["createrole"],
        "it may create databases": row["createdb"],
        "it may replicate": row["replication"],
        "it is a member of another role": row["member"],
        "it owns something": row["owner"],
        "it may create objects": row["creates"],
        "it acts for another session user": row["other"],
    }
    wrong = [reason for reason, holds in reasons.items() if holds]
    if wrong:
        raise Unavailable(f"the gateway's database role is not safe: {wrong[0]}", code="unsafe-role")


async def check_token(connection: Any) -> None:
    """Refuse a database whose token view is not the pinned one, or whose keys the role could reach."""
    if await view_sha256(connection) != TENANT_VIEW_SHA256:
        raise Unavailable("the view that verifies tenant tokens is not the pinned one", code="unsafe-database")
    if await connection.fetchval(_KEYS_REACHABLE):
        raise Unavailable("the gateway's role can reach the keys of tenant tokens", code="unsafe-database")


async def check_relations(connection: Any) -> None:
    """Refuse a database in which the role reaches a relation that the tenant token does not guard."""
    names = await unguarded_relations(connection)
    if names:
        raise Unavailable(f"{len(names)} relations are not guarded: {names[0]}", code="unsafe-database")


async def unguarded_relations(connection: Any) -> list[str]:
    """Return the relations that the session's role reaches and that lack forced row security by the tenant token.

    Catalogues and pw.tenant itself (see `check_token`) are not counted; no other view is ever guarded, nor is a
    materialised view or foreign table.
    """
    rows = await connection.fetch(_RELATIONS)
    return [row["name"] for row in rows if not (row["forced"] and _guards(row["policies"]))]


def _guards(policies: list[str]) -> bool:
    return bool(policies) and all(_POLICY.fullmatch(" ".join(text.split())) for text in policies)


async def view_sha256(connection: Any) -> str:
    """Return the SHA-256 (hex) over all that decides what pw.tenant answers, or '' when there is none."""
    row = await connection.fetchrow(_VIEW)
    if row is None:
        return ""
    # Postgres writes a single relation's columns with its alias before 16, and without since.
    definition = {name: " ".join(str(value).replace("(k.", "(").split()) for name, value in row.items()}
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()


_ROLE: Final = """
select r.rolsuper as super, r.rolbypassrls as bypass, r.rolcreaterole as createrole, r.rolcreatedb as createdb,
    r.rolreplication as replication,
    exists (select from pg_catalog.pg_auth_members m where m.member = r.oid) as member,
    exists (select from pg_catalog.pg_class c where c.relowner = r.oid)
        or exists (select from pg_catalog.pg_proc p where p.proowner = r.oid)
        or exists (select from pg_catalog.pg_namespace n where n.nspowner = r.oid)
        or exists (select from pg_catalog.pg_database d where d.datdba = r.oid) as owner,
    has_database_privilege(current_database(), 'create') or has_database_privilege(current_database(), 'temp')
        or exists (select from pg_catalog.pg_namespace n where has_schema_privilege(n.oid, 'create')) as creates,
    session_user <> current_user as other
from pg_catalog.pg_roles r where r.rolname = current_user
"""

_KEYS_REACHABLE: Final = """
select coalesce(bool_or(has_any_column_privilege(c.oid, 'select') or has_table_privilege(c.oid,
    'insert, update, delete, truncate, references, trigger')), true)
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pw' and c.relname in ('token_key', 'shard')
"""

_RELATIONS: Final = """
select c.oid::regclass::text as name, c.relkind in ('r', 'p') and c.relrowsecurity and c.relforcerowsecurity as forced,
    array(
        select expression from pg_catalog.pg_policy p, unnest(array[
            coalesce(pg_get_expr(p.polqual, p.polrelid), case when p.polcmd <> 'a' then 'none' end),
            pg_get_expr(p.polwithcheck, p.polrelid)]) as expression
        where p.polrelid = c.oid and p.polpermissive and expression is not null
    ) as policies
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_toast%'
  and c.relkind in ('r', 'p', 'v', 'm', 'f') and not (n.nspname = 'pw' and c.relname = 'tenant')
  and (has_any_column_privilege(c.oid, 'select, insert, update, references')
       or has_table_privilege(c.oid, 'delete, truncate, trigger'))
order by 1
"""

_VIEW: Final = """
select pg_get_viewdef(c.oid) as definition, c.relkind::text as kind, c.reloptions::text as options
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'pw' and c.relname = 'tenant'
"""
