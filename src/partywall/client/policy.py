"""A tenant's policy: Rego that narrows what grants allow."""

from __future__ import annotations

from partywall.client.transport import Transport
from partywall.wire import replies


class Policy:
    """The tenant's own policy. What it cannot do is widen."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def show(self) -> replies.Policy:
        """Return the active text and its history."""
        return await self._transport.ask("GET", "/v1/policy", replies.Policy)

    async def activate(self, module: str) -> replies.ActivePolicy:
        """Validate and activate a text. Raises: BadRequest with every finding; the old one stays then."""
        return await self._transport.ask("PUT", "/v1/policy", replies.ActivePolicy, body={"module": module})

    async def roll_back(self, revision: str) -> replies.ActivePolicy:
        """Activate an earlier text again, as a new revision."""
        path = "/v1/policy/rollback"
        return await self._transport.ask("POST", path, replies.ActivePolicy, body={"revision": revision})
