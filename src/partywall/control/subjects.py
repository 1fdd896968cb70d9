"""Agents, users and admins of a tenant, their state and their grants."""

from __future__ import annotations

from typing import Final

import asyncpg

from partywall.control.grants import delete_grant, insert_grant, replace_grants
from partywall.control.paging import paged, position_of
from partywall.control.work import SUBJECTS_LIMIT, Reply, Work, new_id, not_found, require_room
from partywall.decision.facts import State
from partywall.decision.principal import Kind
from partywall.errors import Conflict
from partywall.wire.operations import (
    GrantAdd,
    GrantList,
    GrantRemove,
    GrantSpec,
    GrantsSet,
    SubjectChange,
    SubjectCreate,
    SubjectList,
    SubjectShow,
    SubjectState,
)

_COUNT: Final = "select count(*) from control.subject where tenant = $1 and state <> 'deleted'"
_SUBJECTS: Final = """
    select id, slug, kind, state, clearance from control.subject where tenant = $1 and state <> 'deleted'"""
_GRANTS: Final = """
    select subject, action, resource, expires_at_s from control.subject_grant
    where tenant = $1 and subject = any($2::text[]) order by subject, action, resource"""


async def create_subject(work: Work, operation: SubjectCreate) -> Reply:
    """Return a new agent or user. Raises: Conflict, LimitExceeded, NotFound for what a grant names."""
    tenant = work.tenant
    subject = await insert_subject(work, tenant, operation.slug, Kind(operation.kind), operation.clearance)
    await replace_grants(work, subject, operation.grants)
    await work.touch(tenant)
    return await subject_object(work, tenant, subject)


async def list_subjects(work: Work, operation: SubjectList) -> Reply:
    """Return a page of the tenant's subjects, by slug; of one kind, when it is named."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        _SUBJECTS + " and ($2::text is null or kind = $2) and ($3::text is null or slug > $3) order by slug limit $4",
        work.tenant,
        operation.kind,
        after and after[0],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["slug"],))
    return {"subjects": await _objects(work, work.tenant, page), "next_cursor": following}


async def show_subject(work: Work, operation: SubjectShow) -> Reply:
    """Return a subject. Raises: NotFound."""
    return await subject_object(work, work.tenant, operation.subject)


async def change_subject(work: Work, operation: SubjectChange) -> Reply:
    """Set a subject's clearance. Raises: NotFound."""
    await require_subject(work, operation.subject)
    await work.connection.execute(
        "update control.subject set clearance = $2 where id = $1", operation.subject, operation.clearance
    )
    await work.touch(work.tenant)
    return await subject_object(work, work.tenant, operation.subject)


async def set_subject_state(work: Work, operation: SubjectState) -> Reply:
    """Suspend or resume. Raises: NotFound."""
    await require_subject(work, operation.subject)
    await work.connection.execute(
        "update control.subject set state = $2 where id = $1", operation.subject, operation.state
    )
    await work.touch(work.tenant)
    return await subject_object(work, work.tenant, operation.subject)


async def set_grants(work: Work, operation: GrantsSet) -> Reply:
    """Replace all grants of a subject. Raises: NotFound, Malformed."""
    await require_subject(work, operation.subject)
    await replace_grants(work, operation.subject, operation.grants)
    await work.touch(work.tenant)
    return await subject_object(work, work.tenant, operation.subject)


async def list_grants(work: Work, operation: GrantList) -> Reply:
    """Return all grants of a subject. Raises: NotFound."""
    return await grants_object(work, operation)


async def add_grant(work: Work, operation: GrantAdd) -> Reply:
    """Grant one action on one resource, or set the end of that grant anew. Raises: NotFound, Malformed."""
    await require_subject(work, operation.subject)
    await insert_grant(
        work,
        operation.subject,
        GrantSpec(action=operation.action, resource=operation.resource, expires_at_s=operation.expires_at_s),
    )
    await work.touch(work.tenant)
    return await subject_object(work, work.tenant, operation.subject)


async def remove_grant(work: Work, operation: GrantRemove) -> Reply:
    """Take one grant. Raises: NotFound, also for a grant that the subject does not have."""
    await require_subject(work, operation.subject)
    await delete_grant(work, operation.subject, GrantSpec(action=operation.action, resource=operation.resource))
    await work.touch(work.tenant)
    return await subject_object(work, work.tenant, operation.subject)


async def grants_object(work: Work, operation: GrantList | GrantsSet | GrantAdd | GrantRemove) -> Reply:
    """Return a subject's grants as `GET …/grants` shows them. Raises: NotFound."""
    subject = await subject_object(work, work.tenant, operation.subject)
    return {"grants": subject["grants"]}


async def insert_subject(work: Work, tenant: str, slug: str, kind: Kind, clearance: int) -> str:
    """Return the id of a new active subject. Raises: Conflict, LimitExceeded."""
    await require_room(work, _COUNT, tenant, SUBJECTS_LIMIT, "subjects a tenant")
    subject = new_id("agt" if kind is Kind.AGENT else "usr")
    await work.connection.execute(
        """insert into control.subject (id, tenant, slug, kind, clearance, created_at_s)
           values ($1, $2, $3, $4, $5, $6)""",
        subject,
        tenant,
        slug,
        kind,
        clearance,
        work.now_s,
    )
    return subject


async def require_subject(work: Work, subject: str) -> asyncpg.Record:
    """Return the row of a subject of the caller's tenant. Raises: NotFound."""
    row = await work.connection.fetchrow(_SUBJECTS + " and id = $2", work.tenant, subject)
    if row is None:
        raise not_found("subject")
    return row


async def lock_active_subject(work: Work, subject: str) -> asyncpg.Record:
    """Return the row of an active subject, which stays so until this transaction ends.

    Raises: NotFound; Conflict when it is suspended.
    """
    row = await work.connection.fetchrow(_SUBJECTS + " and id = $2 for share", work.tenant, subject)
    if row is None:
        raise not_found("subject")
    if row["state"] != State.ACTIVE:
        raise Conflict("the subject is suspended", code="suspended")
    return row


async def subject_object(work: Work, tenant: str, subject: str) -> Reply:
    """Return a subject as replies show it. Raises: NotFound."""
    rows = await _rows(work, tenant, subject)
    if not rows:
        raise not_found("subject")
    return (await _objects(work, tenant, rows))[0]


async def _rows(work: Work, tenant: str, subject: str | None = None) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await work.connection.fetch(
        _SUBJECTS + " and ($2::text is null or id = $2) order by slug", tenant, subject
    )
    return rows


async def _objects(work: Work, tenant: str, rows: list[asyncpg.Record]) -> list[Reply]:
    grants: dict[str, list[Reply]] = {row["id"]: [] for row in rows}
    for grant in await work.connection.fetch(_GRANTS, tenant, list(grants)):
        fields = {name: grant[name] for name in ("action", "resource", "expires_at_s")}
        grants[grant["subject"]].append({name: value for name, value in fields.items() if value is not None})
    return [dict(row) | {"grants": grants[row["id"]]} for row in rows]
