"""Asks a process whether it is ready, the way its callers will."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

Probe = Callable[[], Awaitable[bool]]

PROBE_TIMEOUT_S = 2.0


def accepts(path: Path) -> Probe:
    """Return a probe: the local socket exists and somebody accepts on it."""

    async def probe() -> bool:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_unix_connection(str(path)), PROBE_TIMEOUT_S)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    return probe


def postgres_ready(socket_dir: Path, data: Path) -> Probe:
    """Return a probe: somebody listens, and says in `postmaster.pid` that it is ready.

    No session is opened, so nothing is logged. A listener has written that file anew before, so it speaks of itself.
    """
    listens = accepts(socket_dir / ".s.PGSQL.5432")

    async def probe() -> bool:
        if not await listens():
            return False
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    return probe


def http_answers(host: str, port: int, path: str) -> Probe:
    """Return a probe: GET path is answered with status 200."""

    async def probe() -> bool:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), PROBE_TIMEOUT_S)
        except (OSError, TimeoutError):
            return False
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            line = await asyncio.wait_for(reader.readline(), PROBE_TIMEOUT_S)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
        return line.split(b" ")[1:2] == [b"200"]

    return probe


def file_exists(path: Path) -> Probe:
    """Return a probe: the process wrote this file, which it does last."""

    async def probe() -> bool:
        return path.exists()  # noqa: ASYNC240  # one stat of a local file

    return probe
