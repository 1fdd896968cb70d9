"""Load on one HTTP endpoint from a process of its own: wrk where it is installed, else a small keep-alive client.

`python -m bench.load URL CREDENTIAL CONNECTIONS SECONDS` prints {"rps", "p50_us", "p99_us", "errors"}. The body, and
headers besides the usual ones, come as {"body", "headers"} on its input.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop

BODY = json.dumps(
    {
        "model": "stub",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant of the finance team."},
            {"role": "user", "content": "What is the balance of the travel account, and who approved the payments?"},
        ],
        "temperature": 0.2,
        "max_tokens": 64,
    }
).encode()
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def measure(
    url: str,
    credential: str,
    connections: int,
    seconds: float,
    *,
    body: bytes = BODY,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, float]:
    """Return requests/s and latency in microseconds of POSTing a body, the chat by default, to url."""
    sent = {"content-type": "application/json", "authorization": f"Bearer {credential}", **headers}
    if shutil.which("wrk"):
        return _wrk(url, sent, body, connections, seconds)
    words = [sys.executable, "-m", "bench.load", url, credential, str(connections), str(seconds)]
    given = json.dumps({"body": body.decode(), "headers": sent}).encode()
    return dict(json.loads(subprocess.run(words, check=True, capture_output=True, input=given).stdout))


def _wrk(url: str, headers: Mapping[str, str], body: bytes, connections: int, seconds: float) -> dict[str, float]:
    script = (
        'wrk.method = "POST"\n'
        f"wrk.body = {json.dumps(body.decode())}\n"
        + "".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}\n" for name, value in headers.items())
        + "function done(summary, latency)\n"
        '  io.write(string.format("RESULT %f %f %f %d\\n", summary.requests / summary.duration * 1e6,'
        " latency:percentile(50), latency:percentile(99), summary.errors.status + summary.errors.read"
        " + summary.errors.connect + summary.errors.timeout))\n"
        "end\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        length = f"-d{max(1, round(seconds))}s"
        words = ["wrk", "-t1", f"-c{connections}", length, "--timeout", "30s", "-s", file.name, url]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\S+) (\S+) (\S+) (\d+)", said)
    assert found is not None, said
    rps, p50, p99, errors = (float(text) for text in found.groups())
    return {"rps": rps, "p50_us": p50, "p99_us": p99, "errors": errors}


class _Client(asyncio.Protocol):
    """One connection that asks again as soon as it was answered."""

    def __init__(self, request: bytes, latencies: list[float], until: float, gone: asyncio.Future[None]) -> None:
        self._request, self._latencies, self._until, self._gone = request, latencies, until, gone
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._latencies.append(now - self._asked)
        self.errors += self._parser.get_status_code() != 200
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._gone.set_result(None)

    def _ask(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._asked = time.perf_counter()
        self._transport.write(self._request)


async def _run(url: str, headers: Mapping[str, str], body: bytes, connections: int, seconds: float) -> dict[str, float]:
    parts = urlsplit(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{lines}content-length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    clients = []
    started = time.perf_counter()
    for _ in range(connections):
        gone: asyncio.Future[None] = loop.create_future()
        client = _Client(request, latencies, started + seconds, gone)
        await loop.create_connection(lambda c=client: c, parts.hostname or "", parts.port or 80)  # type: ignore[misc]
        clients.append((client, gone))
    await asyncio.gather(*(gone for _, gone in clients))
    took = time.perf_counter() - started
    latencies.sort()
    return {
        "rps": len(latencies) / took,
        "p50_us": latencies[len(latencies) // 2] * 1e6,
        "p99_us": latencies[int(len(latencies) * 0.99)] * 1e6,
        "errors": float(sum(client.errors for client, _ in clients)),
    }


if __name__ == "__main__":
    where, who, width, length = sys.argv[1:5]
    told = json.loads(sys.stdin.read() or "{}")
    content = told.get("body", BODY.decode()).encode()
    usual = {"content-type": "application/json", "authorization": f"Bearer {who}"}
    sys.stdout.write(
        json.dumps(uvloop.run(_run(where, told.get("headers", usual), content, int(width), float(length))))
    )
