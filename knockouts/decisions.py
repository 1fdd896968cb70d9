"""A decision point that looks its subjects up in one directory for everybody, as many do. Source: attacks.md, AZ-1."""

from __future__ import annotations

from typing import Any

import msgspec

from knockouts.knocked import Knocked
from partywall.decision.facts import TenantFacts
from partywall.decision.permit import PermitClaims
from partywall.decision.ports import Provider
from partywall.providers.decisions.provider import DecisionProvider


class DecisionsOfAnybody(Knocked):
    """Answers about every tenant's subjects and resources."""

    name = "decisions-of-anybody"

    def make_decisions(self) -> Provider:
        directory: Any = self.directory

        class Shared(DecisionProvider):
            def _facts(self, claims: PermitClaims) -> TenantFacts:
                facts = super()._facts(claims)
                everyone = list(directory._tenants.values())  # noqa: SLF001
                merged = {
                    name: {key: value for one in everyone for key, value in getattr(one, name).items()}
                    for name in ("subjects", "models", "servers")
                }
                return msgspec.structs.replace(facts, **merged)

        return Shared(self.directory, self.make_decider(), lambda: self.providers, clock=self.clock)
