"""What the pipeline tells the ledger about one action: an intent and its outcome, or a denial.

`ledger/activity.py` turns a record into an OCSF API Activity (class 6003).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from partywall.decision.action import ActionClass, ActionType
from partywall.wire.ids import ActId, TenantId


class Phase(StrEnum):
    """Which leaf it becomes."""

    INTENT = "intent"
    OUTCOME = "outcome"
    DENIAL = "denial"


class Result(StrEnum):
    """How an intent ended."""

    COMPLETE = "complete"
    FAILED = "failed"  # the provider answered with an error; see `reason`
    CANCELLED = "cancelled"  # the caller went away
    CUT = "cut"  # time, size or drain limit
    DENIED_MIDWAY = "denied-midway"  # revoked, suspended or re-decided while streaming
    UNKNOWN = "unknown"  # written by the sweeper: nobody knows


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """One entry for one tenant's log. `log` is the tenant's id, or `platform`.

    parameters: sanitized (names, sizes, enumerated values; never content). payload_sha256: the ledger process
    keys it (HMAC under the tenant's ledger key) before it becomes the prompt hash. time_s: Unix seconds,
    the worker's clock; the ledger's own, monotone time goes to the leaf's header.
    """

    phase: Phase
    log: TenantId
    act: ActId
    time_s: float
    action: ActionType
    action_class: ActionClass
    resource: str
    principal_kind: str
    principal_id: str
    trace_id: str
    region: str
    agent_instance: str | None = None
    user: str | None = None
    credential: str | None = None
    parent: ActId | None = None
    parameters: dict[str, Any] = {}
    classification: int = 1
    payload_sha256: bytes | None = None
    verdict: str = "allow"  # allow | deny | needs-approval
    reason: str = ""
    policy_revision: str = ""
    result: Result | None = None
    emitted_bytes: int = 0
    emitted_sha256: bytes | None = None
    usage: dict[str, int] = {}
