"""Attacks on the evidence: another tenant's log, and a tampered export. Source: attacks.md, AU-*."""

from __future__ import annotations

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Target


@probe("AU-2", "a tenant reads its own log whole, and nothing of another's", control="log per tenant")
def own_log(target: Target) -> str:
    a, b = target.a, target.b
    a.chat(a.key, "for the record")
    b.chat(b.key, "for the other record")
    pages = [
        a.wire.send("GET", f"/v1/audit/{path}", credential=a.admin).body for path in ("leaves?limit=1000", "export")
    ]
    for foreign in (b.tenant, b.agent, b.model, b.server, b.canary):
        for page in pages:
            expect(foreign.encode() not in page, f"{foreign[:12]}… of B stands in A's log")
    expect(a.agent.encode() in pages[0], "A's own actions are missing in A's log")
    for path in ("leaves", "export", "checkpoint"):
        answer = a.wire.send("GET", f"/v1/audit/{path}?log={b.tenant}", credential=a.admin)
        expect(answer.status == 400, f"naming another log: {answer.brief()}")
    operator = a.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=target.operator).body
    expect(a.canary.encode() not in operator and b"for the record" not in operator, "content in the platform's log")
    return "own actions present, nothing of the neighbour"


@probe("AU-5", "every denial is in the tenant's log, with its reason", control="denials recorded")
def denials(target: Target) -> str:
    a = target.a
    a.call_tool(a.bystander_key, "erase", {"text": "x"})
    page = a.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=a.admin).body
    expect(a.bystander.encode() in page and b"deny" in page, "the denied call left no record")
    return "the denied call is on record"
