"""The official MCP client through the wall: it lists what is granted, calls it, and is told what is not.

export PARTYWALL_URL=http://127.0.0.1:8470 PARTYWALL_KEY=pw_… PARTYWALL_SERVER=crm
python docs/recipes/mcp_client.py echo '{"text": "hello"}'
"""

import asyncio
import json
import os
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from partywall.client import Partywall


async def main(tool: str, arguments: str) -> None:
    """Call one tool of a registered server."""
    wall = Partywall(os.environ.get("PARTYWALL_URL", "http://127.0.0.1:8470"), os.environ["PARTYWALL_KEY"])
    options = wall.mcp_options(os.environ["PARTYWALL_SERVER"])
    http = httpx2.AsyncClient(headers=options["headers"], timeout=60)
    async with wall, http, Client(streamable_http_client(options["url"], http_client=http)) as server:
        granted = [found.name for found in (await server.list_tools()).tools]
        sys.stdout.write(f"granted: {', '.join(granted)}\n")
        result = await server.call_tool(tool, json.loads(arguments))
    said = " ".join(part.text for part in result.content if part.type == "text")
    sys.stdout.write(f"{'refused' if result.is_error else 'answered'}: {said}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
