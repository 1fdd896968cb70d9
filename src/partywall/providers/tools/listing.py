"""Which tools of a server a principal is granted: what `tools/list` shows, and nothing else."""

from __future__ import annotations

from partywall.decision.action import ActionType
from partywall.decision.facts import Grant, ServerFacts, State, TenantFacts, ToolFacts
from partywall.decision.principal import Principal


def granted_tools(principal: Principal, facts: TenantFacts, server: ServerFacts, *, now_s: float) -> list[ToolFacts]:
    """Return the tools, by name, that the principal and whoever it acts for may call by their grants and scopes.

    Invariant: shows at most what a grant allows; a tenant's own policy may still refuse a call.
    """
    if principal.scopes is not None and ActionType.TOOL_CALL not in principal.scopes:
        return []
    holders = [principal.id] if principal.on_behalf_of is None else [principal.id, principal.on_behalf_of]
    granted = [_granted(facts, holder, server, now_s) for holder in holders]
    return [tool for name, tool in sorted(server.tools.items()) if all(name in names for names in granted)]


def _granted(facts: TenantFacts, holder: str, server: ServerFacts, now_s: float) -> frozenset[str]:
    subject = facts.subjects.get(holder)
    if subject is None or subject.state is not State.ACTIVE:
        return frozenset()
    live = {grant.resource for grant in subject.grants if _lives(grant, now_s)}
    if f"tool/{server.id}/*" in live:
        return frozenset(server.tools)
    return frozenset(name for name in server.tools if f"tool/{server.id}/{name}" in live)


def _lives(grant: Grant, now_s: float) -> bool:
    return grant.action is ActionType.TOOL_CALL and (grant.expires_at_s is None or now_s < grant.expires_at_s)
