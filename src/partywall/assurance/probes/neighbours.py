"""Attacks across the wall at every door: another tenant's names, ids, fields and headers. Source: attacks.md."""

from __future__ import annotations

import re
from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import SetupFailed, Side, Target
from partywall.assurance.wire import Answer

_VARIES = re.compile(rb"(act|trace|ses|tok|ten|agt|mdl|mcp|key|usr)_[a-z2-7]{26}|\b[0-9a-f]{32}\b|\"created\":\s*\d+")


def shape(answer: Answer, *names: str) -> bytes:
    """What a caller can learn from an answer: status and body without this request's own random ids and names."""
    body = _VARIES.sub(b"~", answer.body)
    for name in names:
        body = body.replace(name.encode(), b"~")
    return str(answer.status).encode() + b" " + body


@probe(
    "NI-1",
    "a neighbour's model, tool server, agent and key look exactly like ones that do not exist",
    control="conceal",
)
def concealed(target: Target) -> str:
    a, b = target.a, target.b
    nobody = "a" * 26
    pairs: list[tuple[str, Answer, Answer]] = [
        (
            "model",
            a.chat(a.key, "hi", model=b.model),
            a.chat(a.key, "hi", model=f"mdl_{nobody}"),
        ),
        (
            "tool server",
            a.call_tool(a.key, "echo", {"text": "x"}, server=b.server),
            a.call_tool(a.key, "echo", {"text": "x"}, server=f"mcp_{nobody}"),
        ),
        ("agent", *_both(a, ("POST", "/v1/subjects/{}/suspend"), b.agent, f"agt_{nobody}")),
        ("grants", *_both(a, ("PUT", "/v1/subjects/{}/grants"), b.agent, f"agt_{nobody}", {"grants": []})),
        ("a key for it", *_body(a, "/v1/keys", "subject", b.agent, f"agt_{nobody}")),
        ("a token for it", *_body(a, "/v1/tokens", "subject", b.agent, f"agt_{nobody}")),
        ("revoking its key", *_body(a, "/v1/revocations", "credential", "key_" + b.key.split("_")[1], f"key_{nobody}")),
        ("its memory", a.recall(a.key, "k", owner=b.agent), a.recall(a.key, "k", owner=f"agt_{nobody}")),
    ]
    for name, foreign, missing in pairs:
        expect(foreign.status >= 400 or b"isError" in foreign.body or b'"error"' in foreign.body, f"{name}: served")
        names = (b.model, b.server, b.agent, f"mdl_{nobody}", f"mcp_{nobody}", f"agt_{nobody}")
        expect(
            shape(foreign, *names) == shape(missing, *names),
            f"{name}: {foreign.brief()} differs from {missing.brief()}",
        )
    return f"{len(pairs)} kinds, each byte for byte like one that does not exist"


def _both(side: Side, route: tuple[str, str], foreign: str, missing: str, body: Any = None) -> tuple[Answer, Answer]:
    def send(subject: str) -> Answer:
        method, path = route
        return side.wire.send(method, path.format(subject), credential=side.admin, body=body)

    return send(foreign), send(missing)


def _body(side: Side, path: str, field: str, foreign: str, missing: str) -> tuple[Answer, Answer]:
    def send(value: str) -> Answer:
        return side.wire.send("POST", path, credential=side.admin, body={field: value})

    return send(foreign), send(missing)


@probe("NI-2", "what a tenant sees of itself is the same whether its neighbour works or not", control="structure")
def undisturbed(target: Target) -> str:
    a, b = target.a, target.b
    paths = ("/v1/models", "/v1/subjects", "/v1/servers", "/v1/policy", "/v1/memory")

    def view() -> list[bytes]:
        return [
            a.wire.send("GET", path, credential=a.key if path in {"/v1/models", "/v1/memory"} else a.admin).body
            for path in paths
        ]

    before = view()
    b.subject("newcomer", [])
    b.remember(b.key, "noise", "x" * 100)
    b.chat(b.key, "noise")
    expect(view() == before, "a reply to A changed because B worked")
    return f"{len(before)} replies byte for byte the same"


@probe(
    "FORGE-1", "a tenant named in a header, a query or a field moves nobody", control="tenant comes from the credential"
)
def forged_tenant(target: Target) -> str:
    a, b = target.a, target.b
    b.remember(b.key, "secret", b.canary)
    headers = dict.fromkeys(("x-tenant-id", "x-partywall-tenant", "partywall-tenant", "x-scope-orgid"), b.tenant)
    answers = [
        a.wire.send("GET", "/v1/memory/secret", credential=a.key, headers=headers),
        a.wire.send("GET", f"/v1/memory/secret?tenant={b.tenant}", credential=a.key),
        a.wire.send("GET", f"/v1/audit/leaves?log={b.tenant}", credential=a.admin),
        a.wire.send("POST", "/v1/keys", credential=a.admin, body={"subject": a.agent, "tenant": b.tenant}),
        a.wire.send("GET", "/v1/models", credential=a.key, headers=headers),
        a.chat(a.key, "hi", tenant=b.tenant),
        a.chat(a.key, "hi", user=b.agent),
    ]
    for answer in answers:
        expect(b.canary.encode() not in answer.body, "B's canary came back to A")
        expect(b.tenant.encode() not in answer.body, "B's tenant id came back to A")
    expect(answers[0].status == 404, f"B's memory through a header: {answers[0].brief()}")
    expect(answers[3].status == 400, f"a tenant field in a key request: {answers[3].brief()}")
    return f"{len(answers)} forged tenants, none believed"


@probe("ROLE-1", "an operator reads no tenant's content, and a tenant's people are no operators", control="roles")
def roles(target: Target) -> str:
    a, operator = target.a, target.operator
    attempts = {
        "operator chats": a.chat(operator, "hi"),
        "operator reads memory": a.recall(operator, "k"),
        "operator lists a tenant's agents": a.wire.send("GET", "/v1/subjects", credential=operator),
        "operator calls a tool": a.call_tool(operator, "echo", {"text": "x"}),
        "admin lists tenants": a.wire.send("GET", "/v1/tenants", credential=a.admin),
        "admin makes a tenant": a.wire.send("POST", "/v1/tenants", credential=a.admin, body={"slug": "mine"}),
        "admin chats without a grant": a.chat(a.admin, "hi"),
        "agent grants itself": a.wire.send(
            "PUT", f"/v1/subjects/{a.agent}/grants", credential=a.key, body={"grants": []}
        ),
        "agent makes a key": a.wire.send("POST", "/v1/keys", credential=a.key, body={"subject": a.agent}),
        "agent reads the audit log": a.wire.send("GET", "/v1/audit/leaves", credential=a.key),
        "agent widens its token": a.wire.send("POST", "/v1/tokens", credential=a.key, body={"subject": a.bystander}),
    }
    for name, answer in attempts.items():
        served = answer.status < 400 and b'"isError":true' not in answer.body.replace(b" ", b"")
        expect(not served, f"{name}: {answer.brief()}")
    for name, answer in attempts.items():
        if answer.status >= 500:  # neither served nor refused: it proves nothing
            raise SetupFailed(f"{name}: {answer.brief()}")
    return f"{len(attempts)} attempts out of role refused"


@probe("AGENT-1", "inside one tenant an agent cannot reach another agent's memory", control="agent scope")
def agent_to_agent(target: Target) -> str:
    a = target.a
    expect(a.remember(a.key, "diary", a.canary).status < 300, "the agent could not write its own memory")
    expect(a.canary.encode() in a.recall(a.key, "diary").body, "the agent could not read its own memory back")
    for answer in (a.recall(a.bystander_key, "diary"), a.recall(a.bystander_key, "diary", owner=a.agent)):
        expect(answer.status in {403, 404}, f"the other agent was answered {answer.brief()}")
        expect(a.canary.encode() not in answer.body, "the other agent read it")
    return "its own memory is read, its neighbour's is not found"


@probe(
    "WIRE-1",
    "duplicate keys, unknown fields, wrong types, depth and size are refused and nothing is sent",
    control="strict parsing",
)
def strict(target: Target) -> str:
    a = target.a
    before = len(a.upstream.seen)
    message = b'"messages":[{"role":"user","content":"x"}]'
    bodies = {
        "duplicate key": b'{"model":"probe-model","model":"other",' + message + b"}",
        "unknown field": b'{"model":"probe-model","api_base":"http://evil.example",' + message + b"}",
        "not JSON": b'{"model":',
        "NaN": b'{"model":"probe-model","temperature":NaN,' + message + b"}",
        "depth": b'{"model":"probe-model","messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
        "wrong type": b'{"model":7,' + message + b"}",
        "lone surrogate": b'{"model":"probe-model","messages":[{"role":"user","content":"\\ud800"}]}',
        "size": b'{"model":"probe-model","messages":[{"role":"user","content":"' + b"x" * 2_000_000 + b'"}]}',
    }
    for name, raw in bodies.items():
        try:
            answer = a.wire.send("POST", "/v1/chat/completions", credential=a.key, raw=raw)
        except OSError:
            continue  # cut while we were still sending: refused
        expect(400 <= answer.status < 500, f"{name}: {answer.brief()}")
    expect(len(a.upstream.seen) == before, "something of it was sent upstream")
    return f"{len(bodies)} malformed bodies refused, nothing sent"
