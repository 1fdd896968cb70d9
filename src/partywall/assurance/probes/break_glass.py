"""Attacks on break-glass: reading without leave, twice, after it was taken back, and unseen. Source: ADR-0010, BG-*."""

from __future__ import annotations

import time
from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Side, Target, must

WHY = "a probe: nobody needs to look at anything"
END_LIMIT_S = 5.0


def _ask(target: Target, side: Side) -> str:
    body = {"tenant": side.tenant, "justification": WHY, "life_s": 60}
    made = must(target.wire.send("POST", "/v1/break-glass", credential=target.operator, body=body))
    return f"/v1/break-glass/{made['id']}"


def _token(target: Target, path: str) -> Any:
    return target.wire.send("POST", f"{path}/token", credential=target.operator)


def _reads(target: Target, token: str, side: Side) -> bool:
    """Whether a token opens a side's log."""
    answer = target.wire.send("GET", "/v1/audit/search?limit=1", credential=token)
    return answer.status == 200 and side.tenant.encode() in answer.body


@probe(
    "BG-1", "no operator reads a tenant's log before an admin of that tenant approved", control="break-glass approval"
)
def unapproved(target: Target) -> str:
    a, b = target.a, target.b
    a.chat(a.key, "for nobody else")
    for way in ("search", "leaves", "export"):
        page = target.wire.send("GET", f"/v1/audit/{way}", credential=target.operator).body
        expect(a.agent.encode() not in page, f"an operator's {way} shows a tenant's log")
    path = _ask(target, a)
    answer = _token(target, path)
    expect(answer.status == 409, f"a token before any approval: {answer.brief()}")
    for who, credential in (("the operator", target.operator), ("B's admin", b.admin), ("A's agent", a.key)):
        decided = target.wire.send("POST", f"{path}/approve", credential=credential)
        expect(decided.status in {403, 404}, f"{who} approved: {decided.brief()}")
    expect(_token(target, path).status == 409, "somebody's approval counted")
    a.api("POST", f"{path}/refuse")
    expect(_token(target, path).status == 409, "a token after a refusal")
    return "refused before approval, by strangers' approvals, and after a refusal"


@probe("BG-2", "an approval gives one token, of one tenant, and ends when it is taken back", control="single use")
def once(target: Target) -> str:
    a, b = target.a, target.b
    path = _ask(target, a)
    a.api("POST", f"{path}/approve")
    token = str(must(_token(target, path))["access_token"])
    again = _token(target, path)
    expect(again.status == 409, f"a second token of one approval: {again.brief()}")
    twice = target.wire.send("POST", f"{path}/approve", credential=a.admin)
    expect(twice.status == 409, f"approved a second time: {twice.brief()}")
    expect(_reads(target, token, a), "what was approved does not work")
    page = target.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=token).body
    expect(b.tenant.encode() not in page and b.agent.encode() not in page, "B's log under A's approval")
    for way in ("/v1/subjects", "/v1/keys", "/v1/policy"):
        answer = target.wire.send("GET", way, credential=token)
        expect(answer.status in {403, 404}, f"more than was approved: {way} {answer.brief()}")
    a.api("POST", f"{path}/refuse")
    begun_s = time.monotonic()
    while _reads(target, token, a):
        expect(time.monotonic() - begun_s < END_LIMIT_S, f"still reads {END_LIMIT_S:.0f} s after it was taken back")
        time.sleep(0.05)
    return f"one token, one tenant, over {time.monotonic() - begun_s:.1f} s after it was taken back"


@probe("BG-3", "what an operator does to a tenant stands in that tenant's own log", control="tenant told")
def told(target: Target) -> str:
    a, b = target.a, target.b
    path = _ask(target, a)
    a.api("POST", f"{path}/approve")
    token = str(must(_token(target, path))["access_token"])
    guest = must(target.wire.send("GET", path, credential=a.admin))["subject"]
    must(target.wire.send("GET", "/v1/audit/search?verdict=deny", credential=token))
    for what, query in (
        ("the request", "kind=break-glass&action=operator.tenant&result=complete"),
        ("the approval", f"resource={path.removeprefix('/v1/')}&action=approve&result=complete"),
        ("the reading", f"principal={guest}&action=audit.read&result=complete"),
        ("the making of an admin", "kind=tenant&action=operator.tenant&result=complete"),
    ):
        page = a.api("GET", f"/v1/audit/search?{query}")
        expect(bool(page["leaves"]), f"{what} is not in the tenant's own log")
    expect(not b.api("GET", "/v1/audit/search?kind=break-glass&action=operator.tenant")["leaves"], "B was told")
    return "request, approval, reading and a new admin are on record, and nothing of it at the neighbour's"
