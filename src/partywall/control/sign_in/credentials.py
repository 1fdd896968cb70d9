"""What a sign-in gives: a credential with which its person asks for a token of their own, and the end of it all.

A credential is an id that no token carries. The person's token descends from it, and it from the binding, the identity
provider and, of a sign-in that lasts, the family of refresh tokens: whichever of those ends, ends the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from partywall.control.database import next_revision
from partywall.control.keyring import SKEW_S
from partywall.control.work import Reply, new_id

_BOUND: Final = "select true from control.identity_binding where id = any($1::text[]) for share"
_INSERT: Final = """
    insert into control.access_token (id, tenant, subject, expires_at_s, scopes, resource, ancestors)
    values ($1, $2, $3, $4, $5, $6, $7)"""
_LOCK: Final = "select from control.access_token where id = $1 or ancestors @> array[$1] order by id for update"
_REVOKE: Final = """
    insert into control.revocation (credential, revoked_at_s, forget_at_s, revision)
    select id, $2, expires_at_s + $3, $4 from control.access_token where id = $1 or ancestors @> array[$1]
    on conflict (credential) do nothing"""


async def still_bound(connection: asyncpg.Connection, ancestors: Sequence[str]) -> bool:
    """Whether the binding is still there, and stays until this transaction ends.

    A binding that goes meanwhile waits, and then ends what is given here.
    """
    return await connection.fetchval(_BOUND, list(ancestors)) is not None


async def give_credential(
    connection: asyncpg.Connection,
    row: asyncpg.Record,
    *,
    ancestors: Sequence[str],
    scopes: Sequence[str] | None,
    ends_at_s: float,
) -> Reply:
    """Return {"tenant", "subject", "kind", "credential", "expires_at_s", "scopes", "resource"}.

    row: of a code or a family, with the `kind` of its subject.
    """
    credential = new_id("tok")
    await connection.execute(
        _INSERT, credential, row["tenant"], row["subject"], ends_at_s, scopes, row["resource"], list(ancestors)
    )
    named: dict[str, Any] = {name: row[name] for name in ("tenant", "subject", "kind", "resource")}
    return {**named, "scopes": scopes, "credential": credential, "expires_at_s": ends_at_s}


async def end_given(connection: asyncpg.Connection, given: str, now_s: float) -> None:
    """End every token that descends from a credential or a family, and the family itself."""
    revision = await next_revision(connection)
    await connection.execute(
        "update control.refresh_family set ended_at_s = coalesce(ended_at_s, $2) where id = $1", given, now_s
    )
    await connection.execute(_LOCK, given)  # whoever issues a token holds its parents
    await connection.execute(_REVOKE, given, now_s, SKEW_S, revision)


def refusal() -> Reply:
    """The one answer for whatever is wrong with a code or a refresh token."""
    return {"error": "invalid_grant"}
