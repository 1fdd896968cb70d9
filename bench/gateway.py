"""The whole road for chat completions, beside its upstream called directly, in one run.

A real platform (Postgres, issuer, ledger, gateway as processes), a stub upstream and the load generator share the
machine's cores. Rounds are interleaved, so that a slow moment hits all arms; medians of rounds are reported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.decide import TENANT_POLICY
from bench.load import measure
from bench.report import Target, report, wants_json
from partywall.assurance.wire import Wire
from partywall.supervisor.throwaway import Throwaway

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
WIDE = 128
SECONDS = 3.0
CHAT = "/v1/chat/completions"


@contextmanager
def stub() -> Iterator[str]:
    """Run the stub upstream; yield its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.stub"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


def tenant(platform: Throwaway, upstream: str, slug: str, *, policy: str | None = None) -> str:
    """Make a tenant with one agent before the stub; return the agent's key."""
    wire, operator = Wire(platform.url), platform.operator_key()

    def call(method: str, path: str, credential: str, body: Any) -> Any:
        answer = wire.send(method, path, credential=credential, body=body)
        until_s = time.monotonic() + 5
        while answer.status == 404 and time.monotonic() < until_s:  # another worker hears of a change a moment later
            time.sleep(0.05)
            answer = wire.send(method, path, credential=credential, body=body)
        assert answer.status == 200, answer.body
        return answer.json()

    made = call("POST", "/v1/tenants", operator, {"slug": slug})["id"]
    admin = call("POST", f"/v1/tenants/{made}/admins", operator, {"slug": "root"})["key"]["secret"]
    model = {"slug": "stub", "upstream": upstream, "upstream_model": "stub"}
    call("POST", f"/v1/tenants/{made}/models", operator, model)
    grants = [{"action": "model.request", "resource": "model/stub"}]
    agent = call("POST", "/v1/subjects", admin, {"kind": "agent", "slug": "a", "grants": grants})["id"]
    if policy is not None:
        call("PUT", "/v1/policy", admin, {"module": policy})
    return str(call("POST", "/v1/keys", admin, {"subject": agent})["secret"])


def median(rounds: list[dict[str, float]], figure: str) -> float:
    """Return the median of one figure."""
    assert not any(one["errors"] for one in rounds), "requests failed under load"
    return statistics.median(one[figure] for one in rounds)


def arms(platform: Throwaway, upstream: str) -> dict[str, list[dict[str, float]]]:
    """Measure each arm in turn, several times."""
    cached = tenant(platform, upstream, "cached")
    strict = tenant(platform, upstream, "strict", policy=TENANT_POLICY)
    through = platform.url + CHAT
    plan = {
        "direct": (upstream + CHAT, "x", WIDE),
        "cached": (through, cached, WIDE),
        "cached_32": (through, cached, 32),
        "arguments": (through, strict, WIDE),
        "direct_one": (upstream + CHAT, "x", 1),
        "cached_one": (through, cached, 1),
    }
    for url, key, _width in plan.values():
        measure(url, key, 8, 1.0)
    worker = platform.process("gateway-0").pid
    assert worker is not None
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in plan}
    for _ in range(ROUNDS):
        for name, (url, key, width) in plan.items():
            before_s = cpu_s(worker)
            measured = measure(url, key, width, SECONDS)
            measured["cpu_us"] = (cpu_s(worker) - before_s) * 1e6 / (measured["rps"] * SECONDS)
            taken[name].append(measured)
    return taken


def cpu_s(pid: int) -> float:
    """Return the processor time of a process, which other load on the machine hardly changes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    with stub() as upstream:
        with Throwaway("--no-model") as platform:
            one = arms(platform, upstream)
        with Throwaway("--no-model", "--workers", "2") as platform:
            key = tenant(platform, upstream, "two")
            measure(platform.url + CHAT, key, 8, 1.0)
            two = [measure(platform.url + CHAT, key, WIDE, SECONDS) for _ in range(ROUNDS)]
    added_ms = (median(one["cached_one"], "p50_us") - median(one["direct_one"], "p50_us")) / 1e3
    targets = [
        Target("one worker, cached grants", round(median(one["cached"], "rps")), ">=", 4000, "requests/s"),
        Target(
            "one worker, 100-line arguments policy", round(median(one["arguments"], "rps")), ">=", 1800, "requests/s"
        ),
        Target("added p50 at concurrency 1", round(added_ms, 3), "<=", 0.8, "ms"),
    ]
    figures = {
        "direct_rps": round(median(one["direct"], "rps")),
        "two_workers_rps": round(median(two, "rps")),
        "concurrency_32_rps": round(median(one["cached_32"], "rps")),
        "cached_p50_ms": round(median(one["cached"], "p50_us") / 1e3, 2),
        "cached_p99_ms": round(median(one["cached"], "p99_us") / 1e3, 2),
        "arguments_p99_ms": round(median(one["arguments"], "p99_us") / 1e3, 2),
        "one_at_a_time_p50_ms": round(median(one["cached_one"], "p50_us") / 1e3, 3),
        "one_at_a_time_p99_ms": round(median(one["cached_one"], "p99_us") / 1e3, 3),
        "direct_one_at_a_time_p50_ms": round(median(one["direct_one"], "p50_us") / 1e3, 3),
        "cached_worker_cpu_us": round(median(one["cached"], "cpu_us")),
        "arguments_worker_cpu_us": round(median(one["arguments"], "cpu_us")),
        "one_at_a_time_worker_cpu_us": round(median(one["cached_one"], "cpu_us")),
        "best_round_cached_rps": round(max(each["rps"] for each in one["cached"])),
        "concurrency": WIDE,
        "rounds": ROUNDS,
    }
    return report("gateway", targets, figures, wants_json())


if __name__ == "__main__":
    sys.exit(main())
