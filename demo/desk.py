"""The driver's handle on one demonstration MCP server process: start, ask over its pipes, stop."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_S = 30.0
ANSWER_S = 10.0


class DeskProcess:
    """`python -m demo.server SUITE` as a child that ends with us (its standard input closes)."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Its streamable-HTTP endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def pid(self) -> int:
        """Its process id. Raises: RuntimeError when it does not run."""
        return self._running().pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "demo.server",
            self.suite,
            cwd=Path(__file__).parent.parent,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.port = int((await self._line(START_S))["port"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._running()
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def reset(self, task: str) -> None:
        """Start a task from the suite's own data."""
        await self._ask({"reset": task})

    async def check(self, task: str) -> bool:
        """Ask the suite's own check whether the task was done."""
        return bool((await self._ask({"check": task}))["utility"])

    async def seen(self) -> dict[str, int]:
        """Return how many calls arrived, and how many requests carried any credential."""
        return {name: int(value) for name, value in (await self._ask({"seen": True})).items()}

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._running()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        await process.stdin.drain()
        return await self._line(ANSWER_S)

    async def _line(self, timeout_s: float) -> dict[str, Any]:
        process = self._running()
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), timeout_s)
        if not line:
            raise RuntimeError(f"the {self.suite} server ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"the {self.suite} server was not started")
        return self._process
