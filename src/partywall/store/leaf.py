"""Leaves: tables of one tenant's collection each, made by the data owner, closed from their first moment.

A parent's policy does not protect a leaf that is named directly (measured), so every leaf is a table of its own with
forced row security, its own policy and its own grants, all in the transaction that creates it. The policy compares the
token's tenant with the leaf's, which stands in the policy itself: no row can be mislabelled, and without the token the
whole leaf is skipped, unread. Source: attacks.md RLS-5, architecture.md "Data at rest".
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from partywall.errors import Bug, LimitExceeded
from partywall.wire.ids import TenantId, is_id

LEAVES_LIMIT: Final = 1_000
"""In one database: the catalogues that each session keeps in memory grow with it (measured); then open a second one."""

_NAME: Final = re.compile(r"[a-z]{3}_[a-z2-7]{26}", re.ASCII)
_RIGHTS: Final = "select, insert, update, delete"


class LeafShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a leaf of one kind looks like. columns: SQL of the column list, a constant of the code.

    unlogged: for confidential derivatives, which must reach no WAL, replica or backup.
    """

    columns: str
    unlogged: bool = False


async def create_leaf(connection: Any, tenant: TenantId, leaf: str, shape: LeafShape, *, reader: str = "pw_app") -> str:
    """Create a tenant's leaf and return its name, `leaf.<id>`.

    connection: asyncpg, as the data owner. leaf: the collection's id, or `vec_` and its random part.
    Raises: Bug for ids of another shape; LimitExceeded (`leaves-full`) beyond LEAVES_LIMIT; asyncpg's errors, having
    created nothing.
    """
    if not is_id(tenant, "ten") or not _NAME.fullmatch(leaf):
        raise Bug("a leaf for something that is no collection of a tenant")
    name = f"leaf.{leaf}"
    kind = "unlogged table" if shape.unlogged else "table"
    async with connection.transaction():
        made = await connection.fetchval(
            "select count(*) from pg_catalog.pg_class where relnamespace = 'leaf'::regnamespace and relkind = 'r'"
        )
        if made >= LEAVES_LIMIT:
            raise LimitExceeded("this deployment has as many collections as it may have", code="leaves-full")
        guard = f"'{tenant}'::text = (select id from pw.tenant)"  # noqa: S608  # an id of a checked shape
        for statement in (
            f"create {kind} {name} ({shape.columns})",
            f"revoke all on {name} from public",
            f"alter table {name} enable row level security",
            f"alter table {name} force row level security",
            f"create policy tenant on {name} to {reader} using ({guard}) with check ({guard})",
            f"grant {_RIGHTS} on {name} to {reader}",
        ):
            await connection.execute(statement)
    return name


async def drop_leaf(connection: Any, leaf: str) -> None:
    """Drop a leaf and all that it holds. connection: asyncpg, as the data owner. Raises: Bug, asyncpg's errors."""
    if not _NAME.fullmatch(leaf):
        raise Bug("a leaf for something that is no collection")
    await connection.execute(f"drop table if exists leaf.{leaf}")
