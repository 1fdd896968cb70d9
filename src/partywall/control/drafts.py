"""Drafts of a tenant's policy: texts that wait, each with the report of its validation, until one is made active."""

from __future__ import annotations

import hashlib
from typing import Final

import asyncpg
import msgspec

from partywall.control.paging import paged, position_of
from partywall.control.policies import activate_module, find_findings, refuse_findings
from partywall.control.work import Reply, Work, new_id, not_found, require_room
from partywall.decision.scan import Finding
from partywall.version import __version__
from partywall.wire.operations import DraftActivate, DraftCreate, DraftDelete, DraftList, DraftReplace, DraftShow

DRAFTS_LIMIT: Final = 100
_findings = msgspec.json.Decoder(list[Finding])
_COUNT: Final = "select count(*) from control.policy_draft where tenant = $1"
_DRAFTS: Final = """
    select id, slug, sha256, module, findings, checked_by, created_at_s, changed_at_s
    from control.policy_draft where tenant = $1"""


async def create_draft(work: Work, operation: DraftCreate) -> Reply:
    """Keep a text, whether it holds or not. Raises: Conflict, LimitExceeded."""
    await require_room(work, _COUNT, work.tenant, DRAFTS_LIMIT, "drafts a tenant")
    draft = new_id("pol")
    await work.connection.execute(
        """insert into control.policy_draft
               (id, tenant, slug, sha256, module, findings, checked_by, created_at_s, changed_at_s)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $8)""",
        draft,
        work.tenant,
        operation.slug,
        *_checked(operation.module, work.checked),
        work.now_s,
    )
    return _object(await _row(work, draft))


async def replace_draft(work: Work, operation: DraftReplace) -> Reply:
    """Keep another text in its place. Raises: NotFound."""
    await _row(work, operation.policy)
    await work.connection.execute(
        """update control.policy_draft
           set sha256 = $3, module = $4, findings = $5, checked_by = $6, changed_at_s = $7
           where tenant = $1 and id = $2""",
        work.tenant,
        operation.policy,
        *_checked(operation.module, work.checked),
        work.now_s,
    )
    return _object(await _row(work, operation.policy))


async def list_drafts(work: Work, operation: DraftList) -> Reply:
    """Return a page of the tenant's drafts, by slug, without their texts."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        _DRAFTS + " and ($2::text is null or slug > $2) order by slug limit $3",
        work.tenant,
        after and after[0],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["slug"],))
    drafts = [{name: value for name, value in _object(row).items() if name != "module"} for row in page]
    return {"drafts": drafts, "next_cursor": following}


async def show_draft(work: Work, operation: DraftShow | DraftReplace | DraftDelete | DraftActivate) -> Reply:
    """Return a draft with its text and its report. Raises: NotFound."""
    return _object(await _row(work, operation.policy))


async def delete_draft(work: Work, operation: DraftDelete) -> Reply:
    """Delete a draft; what was activated of it stays. Raises: NotFound."""
    await _row(work, operation.policy)
    await work.connection.execute(
        "delete from control.policy_draft where tenant = $1 and id = $2", work.tenant, operation.policy
    )
    return {"deleted": operation.policy}


async def activate_draft(work: Work, operation: DraftActivate) -> Reply:
    """Make the draft's text the active policy. Raises: NotFound; Malformed when it does not hold."""
    row = await _row(work, operation.policy)
    refuse_findings(_findings.decode(row["findings"]))
    if row["checked_by"] != __version__:  # another release's validation may have known less
        refuse_findings(await find_findings(row["module"]))
    return await activate_module(work, row["module"])


async def _row(work: Work, draft: str) -> asyncpg.Record:
    row = await work.connection.fetchrow(_DRAFTS + " and id = $2", work.tenant, draft)
    if row is None:
        raise not_found("draft")
    return row


def _checked(module: str, findings: list[Finding]) -> tuple[str, str, str, str]:
    return (
        hashlib.sha256(module.encode()).hexdigest(),
        module,
        msgspec.json.encode(findings).decode(),
        __version__,
    )


def _object(row: asyncpg.Record) -> Reply:
    findings = msgspec.to_builtins(_findings.decode(row["findings"]))
    return {
        "id": row["id"],
        "slug": row["slug"],
        "sha256": row["sha256"],
        "valid": not findings,
        "findings": findings,
        "created_at_s": row["created_at_s"],
        "changed_at_s": row["changed_at_s"],
        "module": row["module"],
    }
