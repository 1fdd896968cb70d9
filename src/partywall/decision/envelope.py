"""The authorization envelope: one action with everything that the wall knows about it."""

from __future__ import annotations

import msgspec

from partywall.decision.action import Action
from partywall.decision.labels import Label
from partywall.decision.principal import Principal
from partywall.wire.ids import ActId, TenantId

MAX_DEPTH = 8


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One action on its way. `tenant` owns the resource; it is never taken from a payload.

    trace_id: 32 lower-case hex digits (W3C). deadline_s, received_at_s: Unix seconds.
    parent: the action that asked for this one; depth 0 has none. Source: ADR-0003.
    """

    act: ActId
    principal: Principal
    action: Action
    tenant: TenantId
    trace_id: str
    received_at_s: float
    deadline_s: float
    label: Label | None = None
    parent: ActId | None = None
    depth: int = 0
