"""MCP servers of a tenant, with the tools that an admin approved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from partywall.client.transport import Transport
from partywall.wire import replies


class Servers:
    """Registered, and approved again when their tools change."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def register(self, slug: str, url: str, tools: Iterable[dict[str, Any]]) -> replies.Server:
        """Register a server, or approve its tools anew.

        tools: as the server lists them: `name`, `description`, and `input_schema` (or MCP's own `inputSchema`).
        """
        body = {"slug": slug, "url": url, "tools": [_approved(tool) for tool in tools]}
        return await self._transport.ask("POST", "/v1/servers", replies.Server, body=body)

    async def list(self) -> AsyncIterator[replies.Server]:
        """Yield every server, by slug."""
        async for page in self._transport.pages("/v1/servers", replies.Servers):
            for server in page.servers:
                yield server


def _approved(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as the API takes it: MCP's names become ours, and what is not approved is left out."""
    spec = {
        "name": tool["name"],
        "description": tool.get("description") or "",
        "input_schema": tool.get("input_schema", tool.get("inputSchema")),
    }
    output = tool.get("output_schema", tool.get("outputSchema"))
    return spec if output is None else spec | {"output_schema": output}
