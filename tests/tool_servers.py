"""Real MCP servers (the official library on uvicorn) for tests, in this event loop; everything they receive is kept."""

import asyncio
import json
import socket

import httpx2
import mcp_types
import uvicorn
from mcp.server.lowlevel.server import Server

ECHO = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "times": {"type": "integer", "minimum": 1, "maximum": 5}},
    "required": ["text"],
}


def tool(name="echo", schema=None, description="Return the text.", **more):
    return mcp_types.Tool(name=name, description=description, input_schema=schema or ECHO, **more)


class ToolServer:
    """Lists `tools` (change it to drift) and answers calls with `answer(name, arguments)`.

    legacy: refuse what is newer than the handshake, as servers of before 2026 do.
    """

    def __init__(self, *tools, legacy=False, json_response=False, answer=None):
        self.tools = list(tools) or [tool()]
        self.legacy = legacy
        self.seen = []
        self.called = []
        self.answer = answer or (lambda name, arguments: str(arguments.get("text")) * int(arguments.get("times", 1)))
        server = Server("tests", version="1", on_list_tools=self._list, on_call_tool=self._call)
        self._application = server.streamable_http_app(json_response=json_response)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/mcp"

    async def _list(self, _context, _params):
        return mcp_types.ListToolsResult(tools=self.tools)

    async def _call(self, _context, params):
        self.called.append((params.name, params.arguments))
        result = self.answer(params.name, params.arguments or {})
        if asyncio.iscoroutine(result):
            result = await result
        if isinstance(result, mcp_types.CallToolResult):
            return result
        return mcp_types.CallToolResult(content=[mcp_types.TextContent(text=result)])

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            self.seen.append((scope["method"], headers))
            if self.legacy and headers.get(b"mcp-protocol-version") == b"2026-07-28":
                error = {"code": -32600, "message": "Bad Request: Unsupported protocol version"}
                body = json.dumps({"jsonrpc": "2.0", "id": "server-error", "error": error}).encode()
                await send(
                    {"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]}
                )
                await send({"type": "http.response.body", "body": body})
                return
        await self._application(scope, receive, send)

    async def __aenter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        config = uvicorn.Config(self, log_level="error", timeout_graceful_shutdown=1, lifespan="on")
        self._uvicorn = uvicorn.Server(config)
        self._task = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
        while not self._uvicorn.started:  # noqa: ASYNC110  # uvicorn has only the flag
            await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_):
        self._uvicorn.should_exit = True
        await self._task
        self._listener.close()

    async def end_sessions(self):
        """Forget every session, as a server that was restarted does."""
        async with httpx2.AsyncClient() as client:
            for session in set(self.headers("mcp-session-id")):
                await client.delete(self.url, headers={"mcp-session-id": session.decode()})

    def headers(self, name):
        """Every value of one header that arrived."""
        return [headers[name.encode()] for _, headers in self.seen if name.encode() in headers]
