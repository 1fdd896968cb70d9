"""Chat and tool calls through the wall, through the products people know, and directly, in one run.

Every arm has the same stub upstreams, the same load generator and one worker, and asks who is calling. Rounds are
interleaved, and ratios are taken round by round, so that a slow moment hits all arms; the next begins when the last
one's server is idle again. For throughput each contender counts with the concurrency that suits it best. Settings:
`bench/peer_servers.py`.

The bare proxy is what is left of the gateway when everything that this project is for is taken away: no credential, no
decision, no record. Its ratio is the price of the wall.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import uvicorn
import uvloop
from pyreqwest.client import ClientBuilder

from bench import load
from bench.footprint import children_of, tree_pss_bytes
from bench.gateway import CHAT, ROOT, cpu_s, stub
from bench.peer_servers import MCP_HEADERS, Peer, contextforge, fastmcp, litellm, send, tool_call, tool_stub
from bench.report import Target, report, wants_json
from bench.tool_stub import TEXT, TOOL
from partywall.assurance.wire import Wire
from partywall.supervisor.throwaway import Throwaway
from partywall.version import __version__

ROUNDS = 3
WIDTHS = (1, 8, 32, 128)
DRAIN_LIMIT_S = 60.0
OURS = ("direct", "bare_proxy", "wall")
SECONDS = 3.0
Rounds = dict[str, dict[int, list[dict[str, float]]]]


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


def wall(platform: Throwaway, chat: str, tools: str, start_s: float) -> tuple[Peer, Peer]:
    """Make a tenant whose agent may ask the model and call the tool; return it as both arms."""
    wire, operator = Wire(platform.url), platform.operator_key()

    def call(path: str, credential: str, body: Any) -> Any:
        answer = wire.send("POST", path, credential=credential, body=body)
        assert answer.status in {200, 201}, answer.body
        return answer.json()

    made = call("/v1/tenants", operator, {"slug": "peers"})["id"]
    admin = call(f"/v1/tenants/{made}/admins", operator, {"slug": "root"})["key"]["secret"]
    model = {"slug": "stub", "upstream": chat, "upstream_model": "stub"}
    call(f"/v1/tenants/{made}/models", operator, model)
    approved = {"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["inputSchema"]}
    call("/v1/servers", admin, {"slug": "stub", "url": f"{tools}/mcp", "tools": [approved]})
    grants = [
        {"action": "model.request", "resource": "model/stub"},
        {"action": "tool.call", "resource": f"tool/stub/{TOOL['name']}"},
    ]
    agent = call("/v1/subjects", admin, {"kind": "agent", "slug": "a", "grants": grants})["id"]
    key = str(call("/v1/keys", admin, {"subject": agent})["secret"])

    def arm(path: str, body: bytes, headers: Mapping[str, str]) -> Peer:
        return Peer(
            url=platform.url + path,
            credential=key,
            body=body,
            headers=headers,
            pid=platform.pid,
            start_s=start_s,
            version=__version__,
            widths=WIDTHS,
        )

    return arm(CHAT, load.BODY, {}), arm("/mcp/stub", tool_call(str(TOOL["name"])), MCP_HEADERS)


def check(name: str, peer: Peer) -> None:
    """Make sure that an arm does the work, and refuses who has no right to it, before it is measured."""
    status, said = send("POST", peer.url, peer.credential, peer.body, peer.headers)
    assert status == 200, f"{name}: {status} {said[:400]!r}"
    assert TEXT.encode() in said, f"{name}: {said[:400]!r}"
    if peer.pid:
        refused = send("POST", peer.url, "nobody", peer.body, peer.headers)[0]
        assert 400 <= refused < 500, f"{name} serves whoever asks: {refused}"


def measured(arms: dict[str, Peer]) -> Rounds:
    """Measure each arm in turn, several times, at each of its widths."""
    for peer in arms.values():
        _load(peer, 8, 2.0)
    taken: Rounds = {name: {width: [] for width in peer.widths} for name, peer in arms.items()}
    for _ in range(ROUNDS):
        for width in WIDTHS:
            for name, peer in arms.items():
                if width in peer.widths:
                    one = _load(peer, width, SECONDS)
                    assert not one["errors"] or name not in OURS, f"{name} failed {one['errors']:.0f} at {width}"
                    assert one["rps"] or width > 1, f"{name} answered nothing"
                    one["rps"] = max(0.0, one["rps"] - one["errors"] / SECONDS)  # what failed was no work
                    taken[name][width].append(one)
    return taken


def _load(peer: Peer, width: int, seconds: float) -> dict[str, float]:
    before_s = tree_cpu_s(peer.pid) if peer.pid else 0.0
    one = load.measure(peer.url, peer.credential, width, seconds, body=peer.body, headers=peer.headers)
    if peer.pid:
        one["cpu_us"] = (tree_cpu_s(peer.pid) - before_s) * 1e6 / max(one["rps"] * seconds, 1.0)
        _drain(peer.pid)
    return one


def _drain(pid: int) -> None:
    """Wait until a server has worked off what the load generator left behind, so that it is in nobody's way."""
    until_s = time.monotonic() + DRAIN_LIMIT_S
    before_s = tree_cpu_s(pid)
    while time.monotonic() < until_s:
        time.sleep(0.2)
        now_s = tree_cpu_s(pid)
        if now_s - before_s < 0.04:
            return
        before_s = now_s


def tree_cpu_s(pid: int) -> float:
    """Return the processor time of a process and all below it."""
    return cpu_s(pid) + sum(tree_cpu_s(child) for child in children_of(pid))


def best_of(rounds: dict[int, list[dict[str, float]]]) -> list[dict[str, float]]:
    """Return a contender's rounds at the width that suits its throughput best."""
    return max(rounds.values(), key=lambda measured: statistics.median(each["rps"] for each in measured))


def times(taken: Rounds, theirs: str, figure: str = "rps") -> float:
    """Return how many times a contender's figure ours is, the median of rounds."""
    pairs = zip(best_of(taken["wall"]), best_of(taken[theirs]), strict=True)
    return statistics.median(mine[figure] / other[figure] for mine, other in pairs)


def described(kind: str, arms: dict[str, Peer], taken: Rounds) -> dict[str, Any]:
    """Return the figures of one kind of call."""
    figures: dict[str, Any] = {}
    direct = taken["direct"][1]
    for name, peer in arms.items():
        label = f"{kind}_{name}"
        figures[f"{label}_rps"] = round(statistics.median(one["rps"] for one in best_of(taken[name])), 1)
        for figure in ("p50", "p99"):
            values = [
                one[f"{figure}_us"] - base[f"{figure}_us"] for one, base in zip(taken[name][1], direct, strict=True)
            ]
            word = "direct" if name == "direct" else "added"
            own = [one[f"{figure}_us"] for one in direct] if name == "direct" else values
            figures[f"{label}_{word}_{figure}_ms"] = round(statistics.median(own) / 1e3, 3)
        failed = sum(one["errors"] for rounds in taken[name].values() for one in rounds)
        if failed:
            figures[f"{label}_failed"] = round(failed)
        if peer.pid:
            # of all its processes; unlike throughput, hardly changed by other load on the machine
            figures[f"{label}_cpu_us"] = round(statistics.median(one["cpu_us"] for one in best_of(taken[name])))
            figures[f"{label}_start_s"] = round(peer.start_s, 2)
            figures[f"{label}_pss_mb"] = round(tree_pss_bytes(peer.pid) / 1e6, 1)
            figures[f"{label}_version"] = peer.version
    return figures


def main() -> int:
    if "--proxy" in sys.argv:
        uvloop.run(_serve(sys.argv[-1]))
        return 0
    with ExitStack() as stack:
        chat, tools = stack.enter_context(stub()), stack.enter_context(tool_stub())
        bare = stack.enter_context(bare_proxy(chat))
        platform = stack.enter_context(Throwaway("--no-model", "--loopback-tools"))
        platform.stop()
        start_s = platform.start().ready_s or 0.0
        wall_chat, wall_tools = wall(platform, chat, tools, start_s)
        chats = {
            "direct": Peer(url=chat + CHAT, credential="x", body=load.BODY, widths=WIDTHS),
            "bare_proxy": Peer(url=bare + CHAT, credential="x", body=load.BODY, widths=WIDTHS),
            "wall": wall_chat,
            "litellm": stack.enter_context(litellm(chat, load.BODY)),
        }
        calls = {
            "direct": Peer(
                url=f"{tools}/mcp", credential="x", body=wall_tools.body, headers=MCP_HEADERS, widths=WIDTHS
            ),
            "wall": wall_tools,
            "contextforge": stack.enter_context(contextforge(tools)),
            "fastmcp": stack.enter_context(fastmcp(tools)),
        }
        for name, peer in [*chats.items(), *calls.items()]:
            check(name, peer)
        chatted, called = measured(chats), measured(calls)
        figures = described("chat", chats, chatted) | described("tools", calls, called)
    figures |= {"wall_to_bare_proxy": round(times(chatted, "bare_proxy"), 3), "rounds": ROUNDS}
    targets = [
        Target("chat throughput, times LiteLLM's", round(times(chatted, "litellm"), 1), ">=", 60, "times"),
        Target("tool-call throughput, times ContextForge's", round(times(called, "contextforge"), 1), ">=", 5, "times"),
        Target("tool-call throughput, times FastMCP's proxy", round(times(called, "fastmcp"), 1), ">=", 1, "times"),
    ]
    return report("peers", targets, figures, wants_json())


if __name__ == "__main__":
    sys.exit(main())
