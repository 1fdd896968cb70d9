"""Who asks, looked up again where the change happens: what a worker knows may lag by some seconds.

Source: attacks.md ID-3 and ID-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from partywall.decision.action import PLATFORM
from partywall.errors import Denied
from partywall.wire.permit import SignedPermit

_KEY: Final = """
    select scopes, on_behalf_of, null as session, null as resource, expires_at_s, '{}'::text[] as ancestors
    from control.api_key
    where id = $1 and subject = $2 and tenant is not distinct from $3 and expires_at_s > $4"""
_ISSUED: Final = """
    select scopes, on_behalf_of, session, resource, expires_at_s, ancestors from control.access_token
    where id = $1 and subject = $2 and tenant is not distinct from $3 and expires_at_s > $4"""
_OPERATOR: Final = """
    select true from control.subject where id = $1 and $2::text is null and tenant is null
    and kind = $3 and state = 'active'"""
_MEMBER: Final = """
    select true from control.subject s join control.tenant t on t.id = s.tenant
    where s.id = $1 and s.tenant = $2 and s.kind = $3 and s.state = 'active' and t.state = 'active'"""
_REVOKED: Final = "select exists (select from control.revocation where credential = any($1::text[]))"
_LOCKS: Final = (
    # A queue, first come first served: row locks alone let those who share overtake for ever whoever would revoke.
    "select pg_advisory_xact_lock_shared(hashtextextended(id, 0)) from unnest($1::text[]) as given (id)",
    """select pg_advisory_xact_lock_shared(hashtextextended(tenant || '/' || session, 0)) from control.access_token
       where id = any($1::text[]) and session is not null""",
    "select from control.api_key where id = any($1::text[]) order by id for share",
    "select from control.access_token where id = any($1::text[]) order by id for share",
)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller came with. scopes None: all that its subject is granted.

    lineage: its own id and those of the credentials it descends from, the first of which is an API key.
    """

    id: str
    scopes: list[str] | None
    on_behalf_of: str | None
    session: str | None
    resource: str | None = None
    expires_at_s: float
    lineage: tuple[str, ...]


def scope_of(permit: SignedPermit) -> str | None:
    """Return the caller's tenant as the tables have it: None for the platform."""
    return None if permit.tenant == PLATFORM else permit.tenant


async def require_caller(
    connection: asyncpg.Connection, permit: SignedPermit, now_s: float, *, lock: bool
) -> Credential:
    """Return the live credential of an active principal of the permit's kind and tenant.

    lock: keep it, and what it descends from, from being revoked until this transaction ends.
    Raises: Denied, whatever it is that has ended.
    """
    scope = scope_of(permit)
    active = await connection.fetchval(
        _OPERATOR if scope is None else _MEMBER, permit.principal, scope, permit.principal_kind
    )
    credential = await find_credential(connection, permit.credential, permit.principal, scope, now_s)
    if not active or credential is None:
        raise _ended()
    if lock:
        await lock_lineage(connection, credential, permit.principal)
    else:
        await _refuse_revoked(connection, credential, (permit.principal,))
    return credential


async def find_credential(
    connection: asyncpg.Connection, credential: str, subject: str, scope: str | None, now_s: float
) -> Credential | None:
    """Return a key or token of a subject that has not expired, or None. Whether it was revoked is not asked here."""
    query = _KEY if credential.startswith("key_") else _ISSUED
    row = await connection.fetchrow(query, credential, subject, scope, now_s)
    if row is None:
        return None
    return Credential(
        id=credential,
        scopes=row["scopes"],
        on_behalf_of=row["on_behalf_of"],
        session=row["session"],
        resource=row["resource"],
        expires_at_s=row["expires_at_s"],
        lineage=(*row["ancestors"], credential),
    )


async def lock_lineage(connection: asyncpg.Connection, credential: Credential, *others: str | None) -> None:
    """Keep a credential, and all that it descends from, from being revoked until this transaction ends.

    others: subjects that must not be revoked either. Raises: Denied when one of them was.
    """
    for statement in _LOCKS:
        await connection.execute(statement, list(credential.lineage))
    await _refuse_revoked(connection, credential, others)


async def _refuse_revoked(connection: asyncpg.Connection, credential: Credential, others: Sequence[str | None]) -> None:
    names = [*credential.lineage, credential.on_behalf_of, *others]
    if await connection.fetchval(_REVOKED, [name for name in names if name is not None]):
        raise _ended()


def _ended() -> Denied:
    return Denied("your access has ended", code="denied")
