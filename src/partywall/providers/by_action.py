"""One kind of resource that several providers serve, each its own actions: `model` is asked, and embeds."""

from __future__ import annotations

from collections.abc import Iterable

from partywall.decision.action import ActionType
from partywall.decision.facts import TenantFacts
from partywall.decision.permit import Permit
from partywall.decision.ports import Call, Effect, Located, Locates, Prepared, Provider, Road
from partywall.errors import Bug, NotFound


class ByAction:
    """Hands each action to the provider that it belongs to. providers: of one kind, with no action in common."""

    def __init__(self, *providers: Provider) -> None:
        self.kind = providers[0].kind
        self._of = {action: provider for provider in providers for action in provider.actions}
        self.actions = frozenset(self._of)
        self._providers = providers
        if any(provider.kind != self.kind for provider in providers) or len(self._of) != sum(
            len(provider.actions) for provider in providers
        ):
            raise Bug("providers of two kinds, or two of one action")

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """As the action's provider does."""
        return self._of[call.action].prepare(call, facts)

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """As the action's provider does."""
        return await self._of[permit.claims.action.type].perform(permit, payload, road)

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """As the action's provider does. Raises: NotFound."""
        provider = self._of.get(action)
        if not isinstance(provider, Locates):
            raise NotFound("there is no such thing here")
        return provider.locate(action, name, facts)

    def names(self, action: ActionType, facts: TenantFacts) -> Iterable[str]:
        """As the action's provider does."""
        provider = self._of.get(action)
        return provider.names(action, facts) if isinstance(provider, Locates) else ()

    async def close(self) -> None:
        """Close those that can be closed."""
        for provider in self._providers:
            close = getattr(provider, "close", None)
            if close is not None:
                await close()
