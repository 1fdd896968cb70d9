"""Break-glass: an operator asks, a tenant-admin decides, and what is given is a user of the tenant like any other.

No operator ever crosses into a tenant: the approval makes a user there, for this one request, whose grants are what was
approved and end when the approval does; its one token goes to whoever asked. So each of its reads is the tenant's own
action, under the tenant's policies and in the tenant's log, and ends as any credential does. Source: ADR-0010.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import msgspec

from partywall.control.paging import paged, position_of
from partywall.control.revocation import revoke
from partywall.control.rule import ADMIN, EITHER, OPERATOR, Mode, Rule, reads
from partywall.control.subjects import insert_subject, lock_active_subject
from partywall.control.tenants import require_tenant
from partywall.control.tokens import LIFE_LIMIT_S, issue_token
from partywall.control.work import Reply, Work, new_id, not_found, require_room
from partywall.decision.action import ActionType
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.errors import Conflict, Denied
from partywall.wire import operations as ops
from partywall.wire.ids import TenantId

PENDING_S: Final = 86_400.0
"""How long a request waits for an answer."""
PENDING_LIMIT: Final = 20
RESOURCES: Final = {"audit.read": "audit/*"}
"""What an approved action is granted on."""

_SELECT: Final = """
    select id, tenant, requester, justification, actions, life_s, state, requested_at_s, expires_at_s, approver,
           decided_at_s, ends_at_s, subject, token from control.break_glass"""
_PENDING: Final = """
    select count(*) from control.break_glass
    where tenant = $1 and state = 'requested' and expires_at_s > extract(epoch from now())"""
_ENDED: Final = """
    select s.id from control.break_glass b join control.subject s on s.id = b.subject
    where b.tenant = $1 and b.ends_at_s <= $2 and s.state <> 'deleted'"""


async def create_request(work: Work, operation: ops.BreakGlassCreate) -> Reply:
    """Return the request, which its tenant must answer within a day. Raises: NotFound, LimitExceeded."""
    await require_tenant(work, operation.tenant)
    await require_room(work, _PENDING, operation.tenant, PENDING_LIMIT, "requests that wait for an answer")
    request = new_id("brk")
    await work.connection.execute(
        """insert into control.break_glass
               (id, tenant, requester, justification, actions, life_s, requested_at_s, expires_at_s)
           values ($1, $2, $3, $4, $5, $6, $7, $8)""",
        request,
        operation.tenant,
        work.principal,
        operation.justification,
        sorted(set(operation.actions)),
        operation.life_s,
        work.now_s,
        work.now_s + PENDING_S,
    )
    return _shown(work, await _find(work, request))


async def list_requests(work: Work, operation: ops.BreakGlassList) -> Reply:
    """Return a page of requests, newest first: a tenant's own, or for an operator all."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        _SELECT
        + """ where ($1::text is null or tenant = $1)
              and ($2::double precision is null or (requested_at_s, id) < ($2, $3))
              order by requested_at_s desc, id desc limit $4""",
        work.scope,
        None if after is None else after[0],
        "" if after is None else after[1],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["requested_at_s"], row["id"]))
    return {"requests": [_shown(work, row) for row in page], "next_cursor": following}


async def show_request(work: Work, operation: ops.BreakGlassShow) -> Reply:
    """Return a request: of the caller's tenant, or for an operator any. Raises: NotFound."""
    return _shown(work, await _find(work, operation.request))


async def approve(work: Work, operation: ops.BreakGlassApprove) -> Reply:
    """Make a user of the tenant that holds what was asked for, until the approval ends.

    Raises: NotFound; Conflict when it was decided or has expired; Denied for an admin who was made after the request.
    """
    row = await _undecided(work, operation.request)
    await _require_earlier(work, row)
    await _retire(work)
    slug = f"break-glass-{operation.request.removeprefix('brk_')}"
    subject = await insert_subject(work, work.tenant, slug, Kind.USER, Classification.PUBLIC)
    ends_at_s = work.now_s + row["life_s"]
    await work.connection.executemany(
        """insert into control.subject_grant (tenant, subject, action, resource, expires_at_s)
           values ($1, $2, $3, $4, $5)""",
        [(work.tenant, subject, action, RESOURCES[action], ends_at_s) for action in row["actions"]],
    )
    await _decide(work, operation.request, "approved", ends_at_s=ends_at_s, subject=subject)
    await work.touch(work.tenant)
    return _shown(work, await _find(work, operation.request))


async def refuse(work: Work, operation: ops.BreakGlassRefuse) -> Reply:
    """Say no; or, of an approval, end it with its user and token at once. Raises: NotFound, Conflict."""
    row = await _find(work, operation.request, lock=True)
    if row["state"] == "approved":
        await revoke(work, ops.Revoke(credential=row["subject"]))
        await work.connection.execute(
            "update control.break_glass set state = 'withdrawn', ends_at_s = least(ends_at_s, $2) where id = $1",
            operation.request,
            work.now_s,
        )
    else:
        await _undecided(work, operation.request)
        await _decide(work, operation.request, "refused", ends_at_s=None, subject=None)
    return _shown(work, await _find(work, operation.request))


async def create_token(work: Work, operation: ops.BreakGlassToken) -> Reply:
    """Return the one token of an approval, to whoever asked for it; it ends with that or in 15 minutes.

    Raises: NotFound for somebody else's request; Conflict unless it is approved, in time and unused.
    """
    row = await _find(work, operation.request, lock=True)
    credential = work.credential
    if row["requester"] != work.principal or credential is None:
        raise not_found("request")
    require_usable(row, work.now_s)
    there = msgspec.structs.replace(work, tenant=TenantId(row["tenant"]))
    subject = await lock_active_subject(there, row["subject"])
    wanted = ops.TokenCreate(subject=row["subject"], scopes=list(row["actions"]))
    life_s = min(work.settings.access_token_s, LIFE_LIMIT_S)
    token, claims = await issue_token(
        there,
        wanted,
        kind=subject["kind"],
        clearance=int(subject["clearance"]),
        ends_at_s=min(work.now_s + life_s, row["ends_at_s"], credential.expires_at_s),
        lineage=credential.lineage,
    )
    await work.connection.execute(
        "update control.break_glass set token = $2 where id = $1", operation.request, claims["jti"]
    )
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": claims["exp"] - claims["iat"],
        "id": claims["jti"],
    }


def require_usable(row: asyncpg.Record | dict[str, Any], now_s: float) -> None:
    """Raises: Conflict unless a request was approved, has not ended, and gave no token yet."""
    state = row["state"]
    if state == "requested":
        ended = now_s >= row["expires_at_s"]
        raise _expired() if ended else Conflict("the tenant has not answered yet", code="break-glass-pending")
    if state != "approved":
        raise Conflict("the tenant said no", code="break-glass-refused")
    if now_s >= row["ends_at_s"]:
        raise _expired()
    if row["token"] is not None:
        raise Conflict("this approval gave its token already: ask again", code="break-glass-used")


async def _find(work: Work, request: str, *, lock: bool = False) -> asyncpg.Record:
    """Return the row of a request that the caller may know of. Raises: NotFound."""
    query = _SELECT + " where id = $1 and ($2::text is null or tenant = $2)" + (" for update" if lock else "")
    row = await work.connection.fetchrow(query, request, work.scope)
    if row is None:
        raise not_found("request")
    return row


async def _undecided(work: Work, request: str) -> asyncpg.Record:
    row = await _find(work, request, lock=True)
    if row["state"] != "requested":
        raise Conflict("this was decided already", code="already-decided")
    if work.now_s >= row["expires_at_s"]:
        raise _expired()
    return row


async def _require_earlier(work: Work, row: asyncpg.Record) -> None:
    """An operator can make admins: one that came after the request would be its requester's own. Raises: Denied."""
    made_at_s = await work.connection.fetchval(
        "select created_at_s from control.subject where id = $1 and tenant = $2", work.principal, work.tenant
    )
    if made_at_s is None or made_at_s >= row["requested_at_s"]:
        raise Denied("an admin who was there before the request must decide this", code="approver-too-new")


async def _decide(work: Work, request: str, state: str, *, ends_at_s: float | None, subject: str | None) -> None:
    await work.connection.execute(
        """update control.break_glass
           set state = $2, approver = $3, decided_at_s = $4, ends_at_s = $5, subject = $6 where id = $1""",
        request,
        state,
        work.principal,
        work.now_s,
        ends_at_s,
        subject,
    )


async def _retire(work: Work) -> None:
    """Remove the users of this tenant's approvals that have ended: their grants and tokens have ended by themselves."""
    for row in await work.connection.fetch(_ENDED, work.tenant, work.now_s):
        await revoke(work, ops.Revoke(credential=row["id"]))


def _shown(work: Work, row: asyncpg.Record) -> Reply:
    """Return a request as replies show it; what has ended by itself says so."""
    state, end_s = row["state"], row["ends_at_s"] if row["state"] == "approved" else row["expires_at_s"]
    if state in {"requested", "approved"} and work.now_s >= end_s:
        state = "expired"
    return {name: value for name, value in dict(row).items() if value is not None} | {"state": state}


def _expired() -> Conflict:
    return Conflict("its time is over: ask again", code="break-glass-expired")


BREAK_GLASS: Final[dict[type[ops.Operation], Rule]] = {
    ops.BreakGlassCreate: Rule(
        action=ActionType.OPERATOR_TENANT,
        kind="break-glass",
        run=create_request,
        principals=OPERATOR,
        target="tenant",
        mode=Mode.ISSUES,
    ),
    ops.BreakGlassList: reads("break-glass", list_requests, EITHER),
    ops.BreakGlassShow: reads("break-glass", show_request, EITHER, "request"),
    ops.BreakGlassApprove: Rule(
        action=ActionType.APPROVE, kind="break-glass", run=approve, principals=ADMIN, target="request"
    ),
    ops.BreakGlassRefuse: Rule(
        action=ActionType.APPROVE, kind="break-glass", run=refuse, principals=ADMIN, target="request"
    ),
    ops.BreakGlassToken: Rule(
        action=ActionType.OPERATOR_TOKEN,
        kind="break-glass",
        run=create_token,
        principals=OPERATOR,
        target="request",
        mode=Mode.ISSUES,
        secret=True,
    ),
}
