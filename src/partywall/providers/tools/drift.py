"""Manifest pinning: a tool is called only while its server still lists it exactly as it was approved.

Each worker asks the server what it lists before the first call and again when its knowledge is older than RECHECK_S; a
difference is looked at again at most once a second, so that a new approval or a repaired server counts at once.
Source: attacks.md MCP-3 ("changed tool manifest refused until re-approved").
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from partywall.decision.facts import ToolFacts
from partywall.decision.manifest import prompt_schema, tool_digest
from partywall.decision.ports import Clock
from partywall.errors import Malformed, ProviderRefused
from partywall.providers.tools.offers import offer_of
from partywall.providers.tools.upstream import Upstream

RECHECK_S: Final = 15.0
AGAIN_S: Final = 1.0


Listing = Callable[..., Awaitable[list[dict[str, Any]]]]
"""Asks a server for what it lists: `Upstream.tools` or `Upstream.prompts`."""


class Manifest:
    """What one server listed of one kind (tools, prompts) when it was last asked.

    digests: of a listing, by name; approved: of an approved entry, its name there and the digest that it must have.
    """

    def __init__(
        self,
        listing: Listing,
        clock: Clock,
        *,
        digests: Callable[[list[dict[str, Any]]], dict[str, str]],
        approved: Callable[[ToolFacts], tuple[str, str]],
    ) -> None:
        self._listing = listing
        self._clock = clock
        self._digests_of = digests
        self._approved = approved
        self._digests: dict[str, str] = {}
        self._asked_at_s = float("-inf")
        self._asking = asyncio.Lock()

    async def check(self, tool: ToolFacts, *, timeout_s: float) -> None:
        """Raises: ProviderRefused (`manifest-changed`) unless the server lists tool as approved; ProviderFault."""
        name, digest = self._approved(tool)
        await self._ask(RECHECK_S, timeout_s)
        if self._digests.get(name) != digest:
            await self._ask(AGAIN_S, timeout_s)
        if self._digests.get(name) != digest:
            text = f"the tool server changed {tool.name} since it was approved; ask a tenant admin to approve it again"
            raise ProviderRefused(text, code="manifest-changed")

    async def _ask(self, limit_age_s: float, timeout_s: float) -> None:
        if self._clock() - self._asked_at_s < limit_age_s:
            return
        async with self._asking:
            if self._clock() - self._asked_at_s < limit_age_s:
                return
            listed = await self._listing(timeout_s=timeout_s)
            self._digests = self._digests_of(listed)
            self._asked_at_s = self._clock()


def of_tools(upstream: Upstream, clock: Clock) -> Manifest:
    """Return the manifest of a server's tools."""
    return Manifest(upstream.tools, clock, digests=digests_of, approved=lambda tool: (tool.name, tool.digest))


def of_prompts(upstream: Upstream, clock: Clock) -> Manifest:
    """Return the manifest of a server's prompts: what they are called, say and take is an instruction to a model."""
    return Manifest(upstream.prompts, clock, digests=prompt_digests_of, approved=_approved_prompt)


def digests_of(listed: list[dict[str, Any]]) -> dict[str, str]:
    """Return the digest of each well-formed tool. A name that is listed twice has none: nobody knows which is meant."""
    return _once(listed, _digest)


def prompt_digests_of(listed: list[dict[str, Any]]) -> dict[str, str]:
    """Return the digest of each well-formed prompt, as `digests_of`."""
    return _once(listed, _prompt_digest)


def _once(listed: list[dict[str, Any]], digest_of: Callable[[str, dict[str, Any]], str | None]) -> dict[str, str]:
    digests: dict[str, str] = {}
    seen: set[str] = set()
    for tool in listed:
        name = tool.get("name")
        if not isinstance(name, str):
            continue
        digest = digest_of(name, tool)
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


def _prompt_digest(name: str, prompt: dict[str, Any]) -> str | None:
    description, arguments = prompt.get("description") or "", prompt.get("arguments") or []
    if not isinstance(description, str) or not isinstance(arguments, list):
        return None
    try:
        schema = prompt_schema([one for one in arguments if isinstance(one, dict)])
    except Malformed:
        return None
    return tool_digest(name, description, schema)


def _approved_prompt(tool: ToolFacts) -> tuple[str, str]:
    name = offer_of(tool.annotations).name
    return name, tool_digest(name, tool.description, json.loads(tool.schema))
