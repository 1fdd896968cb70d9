"""Open streams on the whole platform: however one ends, the tenant's log says how, and what was handed out."""

from __future__ import annotations

import hashlib
import http.client
import secrets
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.target import Side

ASK = {"model": "probe-model", "stream": True, "messages": [{"role": "user", "content": "go"}]}


class Streamed:
    """One open stream: the trace id that its record carries, and every byte that came."""

    def __init__(self, side: Side, key: str) -> None:
        self.trace = secrets.token_hex(16)
        headers = {"traceparent": f"00-{self.trace}-{'1' * 16}-01"}
        self.connection = side.wire.open("POST", "/v1/chat/completions", credential=key, body=ASK, headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        self.whole = self.response.read1()
        assert self.whole

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.connection.close()

    def rest(self, *, timeout_s: float) -> bytes:
        """Read to the end."""
        deadline_s = time.monotonic() + timeout_s
        try:
            while piece := self.response.read1():
                self.whole += piece
                assert time.monotonic() < deadline_s, "still streaming"
        except (http.client.IncompleteRead, ConnectionError):
            pass
        self.close()
        return self.whole


def outcome(side: Side, trace: str) -> dict[str, Any]:
    """Return the outcome of the act with this trace id, once it is in the tenant's log."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        leaves = side.api("GET", "/v1/audit/leaves?limit=1000")["leaves"]
        found[:] = [
            leaf["activity"]
            for leaf in leaves
            if leaf["activity"]["trace_id"] == trace and leaf["activity"]["phase"] == "outcome"
        ]
        return bool(found)

    until(is_there, 10, "no outcome")
    assert len(found) == 1
    return found[0]


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


@pytest.fixture
def side(platform: Platform) -> Side:
    return platform.two_tenants()[0]


def test_revoking_one_key_cuts_its_stream_and_no_other(side: Side) -> None:
    mine, other = Streamed(side, side.key), Streamed(side, side.new_key(side.agent))
    side.api("POST", "/v1/revocations", {"credential": "key_" + side.key.split("_")[1]})
    whole = mine.rest(timeout_s=5)
    assert b"[DONE]" not in whole
    assert b'"code":"revoked"' in whole.rsplit(b"data: ", 1)[1]
    record = outcome(side, mine.trace)
    assert (record["result"], record["reason"]) == ("denied-midway", "revoked")
    assert record["emitted_bytes"] == len(whole)
    assert record["emitted_sha256"] == hashlib.sha256(whole).hexdigest()
    assert other.response.read1(), "the other key's stream goes on"
    other.close()
    assert outcome(side, other.trace)["result"] == "cancelled"


@pytest.mark.parametrize("what", ["grant", "agent", "policy"])
def test_a_change_of_mind_cuts_within_seconds(side: Side, what: str) -> None:
    stream = Streamed(side, side.key)
    if what == "grant":
        side.api("PUT", f"/v1/subjects/{side.agent}/grants", {"grants": []})
    elif what == "agent":
        side.api("POST", f"/v1/subjects/{side.agent}/suspend")
    else:
        module = 'package tenant\n\ndeny_grant contains "closed" if input.action.type == "model.request"\n'
        side.api("PUT", "/v1/policy", {"module": module})
    started_s = time.monotonic()
    assert b"[DONE]" not in stream.rest(timeout_s=5)
    assert time.monotonic() - started_s < 3, "a change is told to the workers at once"
    assert outcome(side, stream.trace)["result"] == "denied-midway"


def test_a_caller_that_hangs_up_ends_the_upstreams_work(side: Side) -> None:
    stream = Streamed(side, side.key)
    stream.close()
    record = outcome(side, stream.trace)
    assert (record["result"], record["reason"]) == ("cancelled", "caller-went-away")
    assert record["emitted_bytes"] >= len(stream.whole)


def test_a_worker_that_stops_cuts_its_streams_and_records_it() -> None:
    with Platform(config="[gateway]\ndrain_s = 2.0\n") as own:
        side = own.two_tenants()[0]
        stream = Streamed(side, side.key)
        own.kill("gateway-0", signal.SIGTERM)
        whole = stream.rest(timeout_s=20)
        assert b'"code":"draining"' in whole.rsplit(b"data: ", 1)[1]
        until(lambda: ready(side), 30, "the worker did not come back")
        record = outcome(side, stream.trace)
        assert (record["result"], record["reason"]) == ("cut", "draining")
        assert record["emitted_bytes"] == len(whole)


def ready(side: Side) -> bool:
    try:
        return side.wire.send("GET", "/readyz").status == 200
    except OSError:
        return False
