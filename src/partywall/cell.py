"""A cell: all that a tenant may touch, as ports. What is not in it cannot be named."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from partywall.decision.facts import TenantFacts
from partywall.decision.ports import Provider


class Cell(msgspec.Struct, frozen=True):
    """facts: this tenant's and nobody else's. providers: by resource kind (`model`, `tool`, `audit`, …)."""

    facts: TenantFacts
    providers: Mapping[str, Provider]
