"""Gateways without one rule of the decision each. Source: ADR-0004."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from knockouts.knocked import Knocked
from partywall.decision.action import ActionType
from partywall.decision.decide import Decider
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Verdict
from partywall.errors import Denied, PartywallError
from partywall.gateway.pipeline import Pipeline


class _Permissive(Decider):
    """Allows what is known and of these actions, whoever asks."""

    actions: ClassVar[frozenset[ActionType]] = frozenset()

    def decide(self, envelope: Any, facts: Any, **what: Any) -> Verdict:
        if envelope.action.type in self.actions and what["known"]:
            return Allow(policy_revision="knocked-out")
        return super().decide(envelope, facts, **what)


class GrantsOff(Knocked):
    """Needs no grant for models and tools."""

    name = "grants-off"

    def make_decider(self) -> Decider:
        class Grantless(_Permissive):
            actions = frozenset({ActionType.MODEL_REQUEST, ActionType.TOOL_CALL})

        return Grantless()


class RolesOff(Knocked):
    """Does not ask which kind of principal it is."""

    name = "roles-off"

    def make_decider(self) -> Decider:
        class Flat(_Permissive):
            actions = frozenset(ActionType)

        return Flat()


class AgentScopeOff(Knocked):
    """Opens every memory of a tenant to all of its agents."""

    name = "agent-scope-off"

    def make_decider(self) -> Decider:
        class Shared(_Permissive):
            actions = frozenset({ActionType.MEMORY})

        return Shared()


class ConcealOff(Knocked):
    """Says `forbidden` of what exists elsewhere."""

    name = "conceal-off"

    def make_pipeline(self) -> Pipeline:
        pipeline = super().make_pipeline()
        directory, refuse = self.directory, pipeline._refuse  # noqa: SLF001

        async def talkative(journey: Any, verdict: Deny | NeedsApproval) -> PartywallError:
            error = await refuse(journey, verdict)
            everything = msgspec.json.encode(list(directory._tenants.values()))  # noqa: SLF001
            name = journey.call.name.partition("/")[0].encode()
            return Denied("it belongs to somebody else") if len(name) > 20 and name in everything else error

        pipeline._refuse = talkative  # type: ignore[method-assign]  # noqa: SLF001
        return pipeline
