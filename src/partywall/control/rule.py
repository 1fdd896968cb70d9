"""What the issuer holds against each operation: what its permit must say, who may ask, and the code that does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from partywall.control.work import Reply, Work
from partywall.decision.action import ActionType
from partywall.decision.principal import Kind

OPERATOR: Final = frozenset({Kind.PLATFORM_OPERATOR})
ADMIN: Final = frozenset({Kind.TENANT_ADMIN})
EITHER: Final = OPERATOR | ADMIN
ANYONE: Final = frozenset({Kind.TENANT_ADMIN, Kind.USER, Kind.AGENT})

Run = Callable[[Work, Any], Awaitable[Reply]]


class Mode(StrEnum):
    """What an operation does to what workers know."""

    CHANGES = "changes"  # takes the revision: one at a time
    ISSUES = "issues"  # writes what workers do not read
    READS = "reads"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """The permit must be for `action` on `<kind>/<the operation's field target, or *>` of the principal's own realm.

    current: what the route's resource now is, which If-Match is about; None where a change takes no such condition.
    secret: whether the reply holds one.
    """

    action: ActionType
    kind: str
    run: Run
    principals: frozenset[Kind]
    target: str | None = None
    mode: Mode = Mode.CHANGES
    current: Run | None = None
    secret: bool = False


def reads(kind: str, run: Run, principals: frozenset[Kind], target: str | None = None) -> Rule:
    """Return the rule of a read."""
    action = ActionType.OPERATOR_READ
    return Rule(action=action, kind=kind, run=run, principals=principals, target=target, mode=Mode.READS)
