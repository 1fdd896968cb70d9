"""Manifest pinning: a tool is called only while its server still lists it exactly as it was approved.

Each worker asks the server what it lists before the first call and again when its knowledge is older than RECHECK_S; a
difference is looked at again at most once a second, so that a new approval or a repaired server counts at once.
Source: attacks.md MCP-3 ("changed tool manifest refused until re-approved").
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from partywall.decision.facts import ToolFacts
from partywall.decision.manifest import tool_digest
from partywall.decision.ports import Clock
from partywall.errors import ProviderRefused
from partywall.providers.tools.upstream import Upstream

RECHECK_S: Final = 15.0
AGAIN_S: Final = 1.0


class Manifest:
    """What one server listed when it was last asked."""

    def __init__(self, upstream: Upstream, clock: Clock) -> None:
        self._upstream = upstream
        self._clock = clock
        self._digests: dict[str, str] = {}
        self._asked_at_s = float("-inf")
        self._asking = asyncio.Lock()

    async def check(self, tool: ToolFacts, *, timeout_s: float) -> None:
        """Raises: ProviderRefused (`manifest-changed`) unless the server lists tool as approved; ProviderFault."""
        await self._ask(RECHECK_S, timeout_s)
        if self._digests.get(tool.name) != tool.digest:
            await self._ask(AGAIN_S, timeout_s)
        if self._digests.get(tool.name) != tool.digest:
            text = f"the tool server changed {tool.name} since it was approved; ask a tenant admin to approve it again"
            raise ProviderRefused(text, code="manifest-changed")

    async def _ask(self, limit_age_s: float, timeout_s: float) -> None:
        if self._clock() - self._asked_at_s < limit_age_s:
            return
        async with self._asking:
            if self._clock() - self._asked_at_s < limit_age_s:
                return
            listed = await self._upstream.tools(timeout_s=timeout_s)
            self._digests = digests_of(listed)
            self._asked_at_s = self._clock()


def digests_of(listed: list[dict[str, Any]]) -> dict[str, str]:
    """Return the digest of each well-formed tool. A name that is listed twice has none: nobody knows which is meant."""
    digests: dict[str, str] = {}
    seen: set[str] = set()
    for tool in listed:
        name = tool.get("name")
        if not isinstance(name, str):
            continue
        digest = _digest(name, tool)
        if name in seen or digest is None:
            digests.pop(name, None)
        else:
            digests[name] = digest
        seen.add(name)
    return digests


def _digest(name: str, tool: dict[str, Any]) -> str | None:
    description, schema = tool.get("description") or "", tool.get("inputSchema")
    output, annotations = tool.get("outputSchema"), tool.get("annotations")
    if not isinstance(description, str) or not isinstance(schema, dict):
        return None
    if not (output is None or isinstance(output, dict)) or not (annotations is None or isinstance(annotations, dict)):
        return None
    return tool_digest(name, description, schema, output, annotations)
