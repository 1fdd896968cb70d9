"""Chat through the wall beside the same servers without one: directly, and through a bare proxy of the same HTTP stack.

The bare proxy is what is left of the gateway when everything that this project is for is taken away: no credential, no
decision, no record. The ratio is the price of the wall.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop
from pyreqwest.client import ClientBuilder

from bench.gateway import CHAT, ROOT, ROUNDS, SECONDS, WIDE, median, stub, tenant
from bench.load import measure
from bench.report import report, wants_json
from partywall.supervisor.throwaway import Throwaway


def proxy(upstream: str) -> Any:
    """Return an ASGI application that hands bodies to upstream and back."""
    client = ClientBuilder().no_proxy().http1_only().default_headers({"content-type": "application/json"}).build()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        response = await client.post(upstream + scope["path"]).body_bytes(body).build().send()
        data = bytes(await response.bytes())
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": data})

    return application


@contextmanager
def bare_proxy(upstream: str) -> Iterator[str]:
    """Run the bare proxy in a process of its own; yield its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.peers", "--proxy", upstream], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


async def _serve(upstream: str) -> None:
    config = uvicorn.Config(
        proxy(upstream), port=0, http="httptools", loop="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
        await asyncio.sleep(0.02)  # uvicorn offers no event
    sys.stdout.write(f"{server.servers[0].sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await task


def main() -> int:
    if "--proxy" in sys.argv:
        uvloop.run(_serve(sys.argv[-1]))
        return 0
    with stub() as upstream, bare_proxy(upstream) as bare, Throwaway("--no-model") as platform:
        key = tenant(platform, upstream, "peers")
        arms = {"direct": (upstream + CHAT, "x"), "bare": (bare + CHAT, "x"), "wall": (platform.url + CHAT, key)}
        for url, credential in arms.values():
            measure(url, credential, 8, 1.0)
        wide: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
        one: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
        for _ in range(ROUNDS):
            for name, (url, credential) in arms.items():
                wide[name].append(measure(url, credential, WIDE, SECONDS))
                one[name].append(measure(url, credential, 1, SECONDS / 2))
    figures: dict[str, Any] = {f"{name}_rps": round(median(rounds, "rps")) for name, rounds in wide.items()}
    figures |= {f"{name}_p50_ms": round(median(rounds, "p50_us") / 1e3, 3) for name, rounds in one.items()}
    figures["wall_to_bare_proxy"] = round(figures["wall_rps"] / figures["bare_rps"], 3)
    return report("peers", [], figures, wants_json())


if __name__ == "__main__":
    sys.exit(main())
