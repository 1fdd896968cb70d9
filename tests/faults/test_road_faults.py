"""Each process that the road needs is killed or frozen under traffic: no effect without its record, and no way around.

Every call carries a trace id of its own, which the upstream sees in the text and the ledger keeps in the record, so
what happened and what was recorded are compared one to one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import pytest
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.target import Side, said
from partywall.assurance.wire import Answer
from partywall.ledger.archive import PRIMITIVES, archive_lines
from partywall.ledger.verify import Report, verify_archive

RECOVERY_S: Final = 15.0
FREEZE_S: Final = 6.5  # longer than the ledger is waited for, and than facts may be old (5 s both)
ORPHAN_S: Final = 10.0  # longer than anything here takes
CONFIG: Final = f"[ledger]\norphan_s = {ORPHAN_S}\nsweep_s = 1.0\n"
FAULTS: Final = {
    ("ledger", "kill"): {"model.request", "tool.call", "memory"},
    ("issuer", "kill"): set[str](),
    ("postgres-control", "kill"): set[str](),
    ("postgres-data", "kill"): {"memory"},
    ("ledger", "freeze"): {"model.request", "tool.call", "memory"},
    ("postgres-control", "freeze"): {"model.request", "tool.call", "memory"},
}
"""What a fault may stop: without a ledger or fresh facts nothing happens; without its data, memory alone stands still.

A killed issuer or control database is back before the facts that each worker holds are too old.
"""
_TRACE: Final = re.compile(rb"trace-([0-9a-f]{32})")


@pytest.fixture(scope="module")
def sturdy() -> Iterator[Platform]:
    """This module's own: its sweeper waits for seconds, not minutes."""
    with Platform(config=CONFIG) as running:
        yield running


@pytest.fixture
def side(sturdy: Platform) -> Side:
    return sturdy.two_tenants()[0]


class Sent:
    """One call: what was asked, when, and what came back. answer: None while nothing has."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.trace = secrets.token_hex(16)
        self.began_s = time.monotonic()
        self.ended_s = float("inf")
        self.answer: Answer | None = None

    @property
    def worked(self) -> bool:
        if self.answer is None or not 200 <= self.answer.status < 300:
            return False
        return self.kind != "tool.call" or said(self.answer) == f"trace-{self.trace}"


class Traffic:
    """Agents that chat, call tools and write to their memory, one thread each, until stopped."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.sent: list[Sent] = []
        self._stop = threading.Event()
        kinds = ("model.request", "tool.call", "memory", "tool.call")
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True) for kind in kinds]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive(), "a call hangs"

    def _run(self, kind: str) -> None:
        while not self._stop.wait(0.02):
            self.send(kind)

    def send(self, kind: str) -> Sent:
        sent = Sent(kind)
        self.sent.append(sent)
        traceparent = f"00-{sent.trace}-{secrets.token_hex(8)}-01"
        method, path, body = self._request(kind, f"trace-{sent.trace}")
        headers = {"traceparent": traceparent, "mcp-protocol-version": "2025-11-25"}
        sent.answer = self.side.wire.send(method, path, credential=self.side.key, body=body, headers=headers)
        sent.ended_s = time.monotonic()
        return sent

    @staticmethod
    def _request(kind: str, text: str) -> tuple[str, str, Any]:
        if kind == "model.request":
            messages = [{"role": "user", "content": text}]
            return "POST", "/v1/chat/completions", {"model": "probe-model", "messages": messages}
        if kind == "memory":
            return "PUT", f"/v1/memory/{text}", {"value": text}
        params = {"name": "echo", "arguments": {"text": text}}
        return "POST", "/mcp/probe-tools", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}

    def works(self) -> bool:
        """Whether the whole road works, a change that the issuer makes included."""
        made = self.side.wire.send("POST", "/v1/keys", credential=self.side.admin, body={"subject": self.side.agent})
        return made.status < 300 and all(self.send(kind).worked for kind in ("model.request", "tool.call", "memory"))


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.25)


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in task.read_text().split():
                found += family(int(child))
    return found


def freeze(platform: Platform, name: str) -> None:
    """Stop a process and its children for a while, as a host that swaps or suspends does."""
    pid = platform.process(name).pid
    assert pid is not None
    stopped = family(pid)
    try:
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        time.sleep(FREEZE_S)
    finally:
        for each in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


def leaves(side: Side) -> list[dict[str, Any]]:
    """Return every activity of the tenant's log."""
    found: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        page = side.api("GET", f"/v1/audit/leaves?start={start}&limit=1000")
        found += [leaf["activity"] for leaf in page["leaves"]]
        start = page["next_start"]
    return found


def open_acts(activities: list[dict[str, Any]]) -> list[str]:
    """Return the traces of acts without an outcome, other than this very reading of the log."""
    ended = {each["act"] for each in activities if each["phase"] == "outcome"}
    intents = [each for each in activities if each["phase"] == "intent" and each["act"] not in ended]
    return [each["trace_id"] for each in intents if each["action"] != "audit.read"]


def export(side: Side) -> Report:
    return verify_archive(archive_lines(lambda start: side.api("GET", f"/v1/audit/export?start={start}")), PRIMITIVES)


def code_of(answer: Answer) -> str:
    """Return the code that a refusal gives a machine, or '' for none."""
    body = answer.json()
    if not isinstance(body, dict):
        return ""
    error = body.get("error") or {}
    return str(body.get("code") or (error.get("data") or {}).get("code") or error.get("code") or "")


def check_replies(sent: list[Sent]) -> None:
    """Each reply is a success, or a refusal that says the wall is out of order."""
    bad = Counter()
    for each in sent:
        assert each.answer is not None, f"{each.kind} got no reply at all"
        if not each.worked and (each.answer.status != 503 or not code_of(each.answer)):
            bad[f"{each.kind} {each.answer.status} {each.answer.body[:200]!r}"] += 1
    assert not bad, bad


def check_effects(side: Side, sent: list[Sent], activities: list[dict[str, Any]]) -> None:
    """Each effect has its intent, happened once, and what was answered as done is recorded as done."""
    hits = Counter(trace.decode() for body in side.upstream.seen for trace in _TRACE.findall(body))
    assert [trace for trace, times in hits.items() if times > 1] == [], "an effect happened twice"
    intents = Counter(each["trace_id"] for each in activities if each["phase"] == "intent")
    results = {each["trace_id"]: each.get("result") for each in activities if each["phase"] == "outcome"}
    assert [trace for trace in hits if not intents[trace]] == [], "an effect without a record"
    for each in sent:
        assert intents[each.trace] <= 1, "one call with two intents"
        if each.worked:
            assert intents[each.trace] == 1, f"{each.kind} succeeded without a record"
            assert each.kind == "memory" or hits[each.trace] == 1, f"{each.kind} succeeded without an effect"
            assert results[each.trace] in {"complete", "unknown"}, f"{each.kind} succeeded: {results[each.trace]}"
    assert sum(each.worked for each in sent) > 20, "hardly anything happened"


def check_unknown(sent: list[Sent], activities: list[dict[str, Any]], began_s: float, ended_s: float) -> None:
    """Only what was under way during the fault may have an outcome that nobody knows."""
    by_trace = {each.trace: each for each in sent}
    for activity in activities:
        if activity.get("result") == "unknown" and activity["trace_id"] in by_trace:
            each = by_trace[activity["trace_id"]]
            assert each.began_s <= ended_s, f"{each.kind} began after the fault and has no outcome"
            assert each.ended_s >= began_s, f"{each.kind} ended before the fault and has no outcome"


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=lambda part: part)
def test_a_fault_leaves_no_effect_unrecorded_and_mends_itself(
    sturdy: Platform, side: Side, name: str, fault: str
) -> None:
    with Traffic(side) as traffic:
        time.sleep(1)
        began_s = time.monotonic()
        if fault == "kill":
            sturdy.kill(name)
        else:
            freeze(sturdy, name)
        mend_s = time.monotonic()
        time.sleep(0.2)
        until(traffic.works, RECOVERY_S, f"the road is not back {RECOVERY_S:.0f} s after {fault} {name}")
        ended_s = time.monotonic()
        time.sleep(0.5)
    assert ended_s - mend_s < RECOVERY_S
    check_replies(traffic.sent)
    refused = {each.kind for each in traffic.sent if not each.worked}
    if ended_s - mend_s < 4:  # on a slower machine the facts get too old, and everything is refused
        assert refused <= FAULTS[name, fault], "it stopped what does not need it"
    assert refused or not FAULTS[name, fault], "the fault was not felt: nothing is shown"
    until(lambda: open_acts(leaves(side)) == [], ORPHAN_S + 6, "the sweeper leaves an act open")
    report = export(side)
    assert len(report.unresolved) == 1, "more is open than the reading of this export itself"
    assert report.findings == []
    assert report.opened == report.leaves > 0
    activities = leaves(side)
    check_effects(side, traffic.sent, activities)
    check_unknown(traffic.sent, activities, began_s, ended_s)
    effect = next(each.trace for each in traffic.sent if each.kind == "tool.call" and each.worked)
    with pytest.raises(AssertionError, match="an effect without a record"):
        check_effects(side, traffic.sent, [each for each in activities if each["trace_id"] != effect])
    for each in [each for each in traffic.sent if each.kind == "memory" and each.worked][-20:]:
        kept = side.recall(side.key, f"trace-{each.trace}")
        assert kept.status == 200, "an acknowledged write is lost"
