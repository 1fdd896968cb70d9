"""What a decision costs another system: one AuthZEN evaluation through a real gateway, on a connection that it keeps.

Asked one at a time, as a policy enforcement point asks before each request of its own: about a resource of ours with
the base policy and with a 100-line `arguments` policy, and for a batch of 100 and a search beside them.
"""

from __future__ import annotations

import json
import socket
import statistics
import sys
import time
from typing import Any, Final

import httptools

from bench.decide import TENANT_POLICY
from bench.report import Target, report, wants_json
from partywall.assurance.wire import Wire
from partywall.supervisor.throwaway import Throwaway

LIMIT_MS: Final = 1.0
ROUNDS: Final = 10
REQUESTS: Final = 300
EVALUATION, EVALUATIONS, SEARCH = "/access/v1/evaluation", "/access/v1/evaluations", "/access/v1/search/subject"
ASKED: Final[dict[str, Any]] = {
    "subject": {"type": "agent", "id": "worker"},
    "action": {"name": "tool.call", "properties": {"recipient": "GB29NWBK60161331926819", "amount": 98}},
    "resource": {"type": "tool", "id": "bank/send_money"},
}


class Kept:
    """One connection that asks one thing after the other."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._host = f"{host}:{port}"
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str, credential: str, body: Any) -> tuple[float, Any]:
        """Return (milliseconds, parsed reply)."""
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\nauthorization: Bearer {credential}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        self._done, self._body = False, b""
        parser = httptools.HttpResponseParser(self)
        begun_s = time.perf_counter()
        self._socket.sendall(head.encode() + data)
        while not self._done:
            parser.feed_data(self._socket.recv(65_536))
        took_ms = (time.perf_counter() - begun_s) * 1e3
        assert parser.get_status_code() == 200, self._body
        return took_ms, json.loads(self._body)

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self._done = True

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def tenant(platform: Throwaway, slug: str, policy: str | None) -> str:
    """Make a tenant with a bank, an agent that may use it, and an API gateway that asks; return the latter's key."""
    wire, operator = Wire(platform.url), platform.operator_key()

    def call(method: str, path: str, credential: str, body: Any) -> Any:
        answer = wire.send(method, path, credential=credential, body=body)
        assert answer.status < 300, answer.body
        return answer.json()

    made = call("POST", "/v1/tenants", operator, {"slug": slug})["id"]
    admin = call("POST", f"/v1/tenants/{made}/admins", operator, {"slug": "root"})["key"]["secret"]
    tools = [{"name": "send_money", "input_schema": {"type": "object"}}]
    call("POST", "/v1/servers", admin, {"slug": "bank", "url": "http://127.0.0.1:9/none", "tools": tools})
    grants = [{"action": "tool.call", "resource": "tool/bank/send_money"}]
    call("POST", "/v1/subjects", admin, {"kind": "agent", "slug": "worker", "grants": grants})
    asking = [{"action": action, "resource": "decision/*"} for action in ("decision.evaluate", "decision.search")]
    gateway = call("POST", "/v1/subjects", admin, {"kind": "agent", "slug": "gateway", "grants": asking})["id"]
    if policy is not None:
        call("PUT", "/v1/policy", admin, {"module": policy})
    return str(call("POST", "/v1/keys", admin, {"subject": gateway})["secret"])


def taken(platform: Throwaway) -> dict[str, list[float]]:
    """Return the milliseconds of each arm, in rounds that take turns."""
    plain, strict = tenant(platform, "plain", None), tenant(platform, "strict", TENANT_POLICY)
    search = {name: ASKED[name] for name in ("action", "resource")} | {"subject": {"type": "agent"}}
    arms = {
        "evaluation": (EVALUATION, plain, ASKED, REQUESTS),
        "evaluation_arguments": (EVALUATION, strict, ASKED, REQUESTS),
        "batch_of_100": (EVALUATIONS, plain, ASKED | {"evaluations": [{}] * 100}, 20),
        "search": (SEARCH, plain, search, 50),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    line = Kept(platform.url)
    for path, key, body, _count in arms.values():
        said = line.ask(path, key, body)[1]
        assert said.get("decision", True) is True, said
        line.ask(path, key, body)
    for _ in range(ROUNDS):
        for name, (path, key, body, count) in arms.items():
            times[name] += [line.ask(path, key, body)[0] for _ in range(count)]
    line.close()
    return times


def measure() -> tuple[list[Target], dict[str, Any]]:
    """Run a platform of its own; return (targets, figures)."""
    with Throwaway("--no-model") as platform:
        times = taken(platform)
    figures: dict[str, Any] = {}
    for name, values in times.items():
        figures[f"authzen_{name}_p50_ms"] = round(statistics.median(values), 3)
        figures[f"authzen_{name}_p99_ms"] = round(statistics.quantiles(values, n=100)[98], 3)
    value = figures["authzen_evaluation_p50_ms"]
    return [Target("AuthZEN evaluation, p50", value, "<=", LIMIT_MS, "ms")], figures


def main() -> int:
    """Run and report."""
    return report("doors_authzen", *measure(), wants_json())


if __name__ == "__main__":
    sys.exit(main())
