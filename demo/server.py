"""One AgentDojo suite as a real MCP server: `python -m demo.server workspace --port 0`.

Tools are the suite's own functions over the suite's own data. The process is driven over its standard input and output,
one JSON object a line, which no client of the wall can reach: {"reset": task} starts a task, {"check": task} asks the
suite's own `utility`, {"seen": true} tells what arrived. It ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import mcp_types
import uvicorn
from mcp.server.lowlevel.server import Server

from demo import suites

Scope = dict[str, Any]
Asgi = Callable[[Scope, Any, Any], Awaitable[None]]


class Desk:
    """The suite's data and functions in one process, reset for each task."""

    def __init__(self, name: str) -> None:
        from agentdojo.functions_runtime import FunctionsRuntime

        self.name = name
        self._runtime = FunctionsRuntime(suites.suite(name).tools)
        self.calls: list[str] = []
        self.credentials = 0
        self._trace: list[Any] = []
        self.reset(None)

    def reset(self, task: str | None) -> None:
        """Start over from the suite's data, as the task wants it."""
        self._environment = suites.environment(self.name, task)
        self._before = self._environment.model_copy(deep=True)
        self._trace = []

    def tools(self) -> list[mcp_types.Tool]:
        """Return every tool of the suite with its JSON schema; unknown arguments are refused."""
        return [
            mcp_types.Tool(
                name=function.name,
                description=function.description,
                input_schema=function.parameters.model_json_schema() | {"additionalProperties": False},
            )
            for function in suites.suite(self.name).tools
        ]

    def call(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Return (text, whether it failed)."""
        from agentdojo.functions_runtime import FunctionCall

        self.calls.append(tool)
        result, error = self._runtime.run_function(self._environment, tool, arguments)
        self._trace.append(FunctionCall(function=tool, args=arguments))
        return (error, True) if error is not None else (suites.text_of(result), False)

    def check(self, task_id: str) -> bool:
        """Tell whether the suite's own check of a task holds, with the output that its ground truth states."""
        task = suites.suite(self.name).user_tasks[task_id]
        output = task.GROUND_TRUTH_OUTPUT
        traced = task.utility_from_traces(output, self._before, self._environment, self._trace)
        return bool(task.utility(output, self._before, self._environment) if traced is None else traced)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the driver asks over standard input."""
        match request:
            case {"reset": str(task)}:
                self.reset(task)
                return {"reset": task}
            case {"check": str(task)}:
                return {"utility": self.check(task)}
            case {"seen": True}:
                return {"calls": len(self.calls), "credentials": self.credentials}
        raise ValueError(f"unknown request: {sorted(request)}")


def mcp_server(desk: Desk) -> Server[Any]:
    """Return the desk as an MCP server (both eras of the protocol)."""

    async def list_tools(_context: Any, _params: Any) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=desk.tools())

    async def call_tool(_context: Any, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        text, failed = desk.call(params.name, params.arguments or {})
        return mcp_types.CallToolResult(content=[mcp_types.TextContent(text=text)], is_error=failed)

    return Server(f"agentdojo-{desk.name}", version="1", on_list_tools=list_tools, on_call_tool=call_tool)


def watched(application: Asgi, desk: Desk) -> Asgi:
    """Count requests that carry any credential: none should, the wall keeps its callers' to itself."""

    async def count(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            names = {name.lower() for name, _ in scope["headers"]}
            desk.credentials += bool(names & {b"authorization", b"cookie", b"x-api-key"})
        await application(scope, receive, send)

    return count


async def _drive(desk: Desk, stop: Callable[[], None]) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        _say(desk.answer(json.loads(line)))
    stop()


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + os.linesep)
    sys.stdout.flush()


async def serve(name: str, port: int) -> None:
    """Serve on loopback until standard input ends; the first line of output says on which port."""
    desk = Desk(name)
    application = watched(mcp_server(desk).streamable_http_app(), desk)
    config = uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", port))

    def stop() -> None:
        server.should_exit = True

    driver = asyncio.create_task(_drive(desk, stop))
    _say({"port": listener.getsockname()[1], "suite": name, "version": suites.VERSION})
    try:
        await server.serve(sockets=[listener])
    finally:
        driver.cancel()


def main() -> None:
    """Run one suite."""
    parser = argparse.ArgumentParser(description="One AgentDojo suite as an MCP server on loopback.")
    parser.add_argument("suite", choices=suites.SUITES)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    given = parser.parse_args()
    asyncio.run(serve(given.suite, given.port))


if __name__ == "__main__":
    main()
