"""Attacks on the evidence: another tenant's log, and a tampered export. Source: attacks.md, AU-*."""

from __future__ import annotations

import base64
from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Side, Target
from partywall.ledger.archive import PRIMITIVES, archive_lines
from partywall.ledger.verify import verify_archive


def _export(side: Side) -> list[bytes]:
    def fetch(start: int) -> Any:
        answer = side.wire.send("GET", f"/v1/audit/export?start={start}", credential=side.admin)
        expect(answer.status == 200, f"the export answered {answer.brief()}")
        return answer.json()

    return list(archive_lines(fetch))


@probe(
    "AU-1", "an exported log that is edited, cut, reordered, grown or emptied no longer verifies", control="merkle log"
)
def tampered(target: Target) -> str:
    a = target.a
    for text in ("one", "two", "three"):
        a.chat(a.key, text)
    lines = _export(a)
    report = verify_archive(lines, PRIMITIVES)
    expect(report.holds and report.opened == report.leaves > 6, f"the untouched log does not hold: {report.findings}")
    leaf = lines[3]
    raw = base64.b64decode(leaf.split(b'"')[3])
    edited = leaf.replace(leaf.split(b'"')[3], base64.b64encode(raw[:40] + bytes([raw[40] ^ 1]) + raw[41:]))
    tampers = {
        "edited": [*lines[:3], edited, *lines[4:]],
        "deleted": [*lines[:3], *lines[4:]],
        "inserted": [*lines[:3], lines[5], *lines[3:]],
        "reordered": [*lines[:3], lines[4], lines[3], *lines[5:]],
        "truncated": lines[:-2],
        "emptied": lines[:1],
    }
    for name, changed in tampers.items():
        expect(not verify_archive(changed, PRIMITIVES).holds, f"{name}, and it still verifies")
    return f"{report.leaves} leaves hold; {len(tampers)} kinds of tampering detected"


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


@probe("AU-6", "a search finds nothing of another tenant's, whatever it names", control="log from the permit")
def own_search(target: Target) -> str:
    a, b = target.a, target.b
    a.chat(a.key, "to be found")
    b.chat(b.key, "to be found by B alone")
    theirs = b.wire.send("GET", f"/v1/audit/search?principal={b.agent}&limit=1", credential=b.admin).json()
    act, cursor = theirs["leaves"][0]["activity"]["act"], theirs["next_cursor"]
    model = theirs["leaves"][0]["activity"]["resource"]
    expect(theirs["leaves"][0]["seq"] > 0 and cursor is not None, "B's own search finds nothing")
    for way in ("search", "extract"):
        for query in (f"act={act}", f"principal={b.agent}", f"resource={model}", f"resource={model}&kind=model"):
            answer = a.wire.send("GET", f"/v1/audit/{way}?{query}", credential=a.admin)
            found = answer.json()["leaves"] if answer.status == 200 else None
            expect(found == [], f"{way} for B's {query.partition('=')[0]}: {answer.brief()}, {len(found or ())} leaves")
        for query in (f"cursor={cursor}&limit=1&principal={b.agent}", f"log={b.tenant}", f"tenant={b.tenant}"):
            answer = a.wire.send("GET", f"/v1/audit/{way}?{query}", credential=a.admin)
            expect(answer.status == 400, f"{way} with B's {query.partition('=')[0]}: {answer.brief()}")
    own = a.wire.send("GET", f"/v1/audit/search?principal={a.agent}", credential=a.admin).json()
    expect(bool(own["leaves"]), "A's own search finds nothing")
    return "own leaves found; B's ids, names and cursors find nothing"


@probe("AU-5", "every denial is in the tenant's log, with its reason", control="denials recorded")
def denials(target: Target) -> str:
    a = target.a
    a.call_tool(a.bystander_key, "erase", {"text": "x"})
    page = a.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=a.admin).body
    expect(a.bystander.encode() in page and b"deny" in page, "the denied call left no record")
    return "the denied call is on record"
