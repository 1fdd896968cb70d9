"""Grants: what a tenant-admin lets a subject do, resolved to ids inside the tenant on entry.

Only what decides about content can be granted; administration belongs to a kind of principal, never to a grant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from partywall.control.work import Work, not_found, require_room
from partywall.decision.action import ActionType
from partywall.errors import Malformed
from partywall.wire.operations import GrantSpec

GRANTABLE: Final[dict[ActionType, str]] = {
    ActionType.MODEL_REQUEST: "model",
    ActionType.EMBED: "model",
    ActionType.TOOL_CALL: "tool",
    ActionType.MEMORY: "memory",
    ActionType.INGEST: "collection",
    ActionType.RETRIEVAL_SEARCH: "collection",
    ActionType.DECISION_EVALUATE: "decision",
    ActionType.DECISION_SEARCH: "decision",
}
"""Action -> kind of resource. Nouns of later releases are not here, so nobody can be granted them."""

GRANTS_LIMIT: Final = 1_000


async def replace_grants(work: Work, subject: str, specs: Sequence[GrantSpec]) -> None:
    """Make specs all that the subject is granted. Raises: Malformed; NotFound for what a grant names."""
    if len(specs) > GRANTS_LIMIT:
        raise Malformed(f"at most {GRANTS_LIMIT} grants a subject")
    rows: dict[tuple[str, str], float | None] = {}
    for spec in specs:
        resource = await _resolve(work, subject, spec)
        if (spec.action, resource) in rows:
            raise Malformed(f"the same grant twice: {spec.action} {resource}")
        rows[spec.action, resource] = spec.expires_at_s
    await work.connection.execute("delete from control.subject_grant where subject = $1", subject)
    await work.connection.executemany(
        """insert into control.subject_grant (tenant, subject, action, resource, expires_at_s)
           values ($1, $2, $3, $4, $5)""",
        [(work.tenant, subject, action, resource, end_s) for (action, resource), end_s in rows.items()],
    )


async def insert_grant(work: Work, subject: str, spec: GrantSpec) -> None:
    """Add one grant, or set the end of the one that it has. Raises: Malformed, LimitExceeded, NotFound."""
    resource = await _resolve(work, subject, spec)
    count = "select count(*) from control.subject_grant where subject = $1"
    await require_room(work, count, subject, GRANTS_LIMIT, "grants a subject")
    await work.connection.execute(
        """insert into control.subject_grant (tenant, subject, action, resource, expires_at_s)
           values ($1, $2, $3, $4, $5)
           on conflict (subject, action, resource) do update set expires_at_s = excluded.expires_at_s""",
        work.tenant,
        subject,
        spec.action,
        resource,
        spec.expires_at_s,
    )


async def delete_grant(work: Work, subject: str, spec: GrantSpec) -> None:
    """Take one grant, by the ids or slugs of what it names. Raises: Malformed; NotFound when there is none."""
    resource = await _resolve(work, subject, spec)
    taken = await work.connection.fetchval(
        """delete from control.subject_grant where tenant = $1 and subject = $2 and action = $3 and resource = $4
           returning true""",
        work.tenant,
        subject,
        spec.action,
        resource,
    )
    if not taken:
        raise not_found("grant")


async def end_grants(work: Work, tenant: str, resource: str) -> None:
    """Take every grant of a tenant on a resource that ends, or below it. resource: `model/<id>` or `tool/<id>`."""
    await work.connection.execute(
        """delete from control.subject_grant
           where tenant = $1 and (resource = $2 or starts_with(resource, $2 || '/'))""",
        tenant,
        resource,
    )


async def _resolve(work: Work, subject: str, spec: GrantSpec) -> str:
    kind, _, name = spec.resource.partition("/")
    if (wanted := GRANTABLE.get(_action(spec.action))) is None:
        raise Malformed(f"{spec.action} cannot be granted", code="not-grantable")
    if kind != wanted:
        raise Malformed(f"{spec.action} is granted on a {wanted}", code="not-grantable")
    if spec.expires_at_s is not None and spec.expires_at_s <= work.now_s:
        raise Malformed("a grant that has ended already")
    return f"{kind}/{await _RESOLVERS[kind](work, subject, name)}"


def _action(name: str) -> ActionType:
    try:
        return ActionType(name)
    except ValueError:
        raise Malformed(f"there is no action {name}", code="no-such-action") from None


async def _model(work: Work, _subject: str, name: str) -> str:
    return await _by_slug_or_id(
        work, "select id from control.model where tenant = $1 and $2 in (id, slug)", name, "model"
    )


async def _tool(work: Work, _subject: str, name: str) -> str:
    server_name, _, tool = name.partition("/")
    query = "select id from control.server where tenant = $1 and $2 in (id, slug)"
    server = await _by_slug_or_id(work, query, server_name, "tool")
    if tool != "*":
        await _by_slug_or_id(
            work, "select name from control.tool where tenant = $1 and name = $2 and server = $3", tool, "tool", server
        )
    return f"{server}/{tool}"


async def _memory(work: Work, subject: str, name: str) -> str:
    if name == "self":
        return subject
    query = "select id from control.subject where tenant = $1 and $2 in (id, slug) and state <> 'deleted'"
    return await _by_slug_or_id(work, query, name, "memory")


async def _decision(_work: Work, _subject: str, name: str) -> str:
    if name != "*":
        raise Malformed("a decision is granted on decision/*: about itself anybody may ask", code="not-grantable")
    return name


async def _collection(work: Work, _subject: str, name: str) -> str:
    query = "select id from control.collection where tenant = $1 and $2 in (id, slug)"
    return await _by_slug_or_id(work, query, name, "collection")


async def _by_slug_or_id(work: Work, query: str, name: str, noun: str, *more: str) -> str:
    found = await work.connection.fetchval(query, work.tenant, name, *more)
    if found is None:
        raise not_found(noun)
    return str(found)


_RESOLVERS: Final[dict[str, Callable[[Work, str, str], Awaitable[str]]]] = {
    "model": _model,
    "tool": _tool,
    "memory": _memory,
    "decision": _decision,
    "collection": _collection,
}
