"""A tenant's policy: every text that was ever active, validated before it becomes so; the newest one is active."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

import asyncpg

from partywall.control.paging import paged, position_of
from partywall.control.work import Reply, Work, not_found
from partywall.decision.scan import Finding
from partywall.errors import Malformed
from partywall.wire.operations import PolicyActivate, PolicyRollback, PolicyShow, RevisionList, RevisionShow

BASE: Final = "base"
HISTORY_LIMIT: Final = 100
KEPT_LIMIT: Final = 1_000
FINDINGS_LIMIT: Final = 5
_NEWEST: Final = """
    select number, sha256, module, activated_at_s from control.policy_revision
    where tenant = $1 order by number desc limit $2"""


async def validate_policy(module: str) -> None:
    """Raises: Malformed with the first findings."""
    refuse_findings(await find_findings(module))


async def find_findings(module: str) -> list[Finding]:
    """Return everything that keeps a text from becoming active. Runs aside: compiling may take a while."""
    from partywall.decision.policy import validate_module

    return await asyncio.to_thread(validate_module, module)


def refuse_findings(findings: list[Finding]) -> None:
    """Raises: Malformed with the first findings, if there are any."""
    if findings:
        messages = "; ".join(finding.message for finding in findings[:FINDINGS_LIMIT])
        raise Malformed(f"the policy does not hold: {messages}", code="bad-policy")


async def activate_policy(work: Work, operation: PolicyActivate) -> Reply:
    """Make a validated text the active policy; the active one again changes nothing."""
    return await activate_module(work, operation.module)


async def show_policy(work: Work, _operation: PolicyShow | PolicyActivate | PolicyRollback) -> Reply:
    """Return the active text, and the revisions before it, newest first."""
    rows = await work.connection.fetch(_NEWEST, work.tenant, HISTORY_LIMIT)
    history = [{"revision": _revision(row), "activated_at_s": row["activated_at_s"]} for row in rows]
    if not rows:
        return {"revision": BASE, "module": None, "history": history}
    return {"revision": _revision(rows[0]), "module": rows[0]["module"], "history": history}


async def roll_back_policy(work: Work, operation: PolicyRollback) -> Reply:
    """Activate the text of an earlier revision again. Raises: NotFound; Malformed when it no longer holds."""
    row = await _past(work, operation.revision)
    await validate_policy(row["module"])
    reply = await activate_module(work, row["module"])
    return {"revision": reply["revision"]}


async def activate_module(work: Work, module: str) -> Reply:
    """Make a text that holds the active policy, as a new revision unless it is active already."""
    active = await work.connection.fetchrow(_NEWEST, work.tenant, 1)
    digest = hashlib.sha256(module.encode()).hexdigest()
    if active is not None and active["sha256"] == digest:
        return {"revision": _revision(active), "number": active["number"]}
    number = 1 if active is None else active["number"] + 1
    await work.connection.execute(
        """insert into control.policy_revision (tenant, number, sha256, module, activated_at_s)
           values ($1, $2, $3, $4, $5)""",
        work.tenant,
        number,
        digest,
        module,
        work.now_s,
    )
    await work.connection.execute(
        "delete from control.policy_revision where tenant = $1 and number <= $2", work.tenant, number - KEPT_LIMIT
    )
    await work.touch(work.tenant)
    return {"revision": f"{number}-{digest[:12]}", "number": number}


async def list_revisions(work: Work, operation: RevisionList) -> Reply:
    """Return a page of the revisions that are kept, newest first."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        """select number, sha256, activated_at_s from control.policy_revision
           where tenant = $1 and ($2::integer is null or number < $2) order by number desc limit $3""",
        work.tenant,
        None if after is None else int(after[0]),
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["number"],))
    revisions = [{"revision": _revision(row), "activated_at_s": row["activated_at_s"]} for row in page]
    return {"revisions": revisions, "next_cursor": following}


async def show_revision(work: Work, operation: RevisionShow) -> Reply:
    """Return the text of one revision. Raises: NotFound."""
    row = await _past(work, operation.revision)
    return {"revision": _revision(row), "module": row["module"], "activated_at_s": row["activated_at_s"]}


async def _past(work: Work, revision: str) -> asyncpg.Record:
    number, _, digest = revision.partition("-")
    row = None
    if number.isascii() and number.isdigit() and len(number) < 10:
        row = await work.connection.fetchrow(
            """select number, module, sha256, activated_at_s from control.policy_revision
               where tenant = $1 and number = $2""",
            work.tenant,
            int(number),
        )
    if row is None or row["sha256"][:12] != digest:
        raise not_found("policy revision")
    return row


def _revision(row: asyncpg.Record) -> str:
    return f"{row['number']}-{row['sha256'][:12]}"
