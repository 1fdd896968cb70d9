"""Attacks on the API's resources: cursors, idempotency keys, entity tags and paths that reach too far.

Source: ADR-0015, API-*.
"""

from __future__ import annotations

import secrets
from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Side, Target
from partywall.assurance.wire import Answer


def _fresh(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}"


def _ask(side: Side, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Ask as a side's admin. headers: with `_` for `-`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return side.wire.send(method, path, credential=side.admin, body=body, headers=sent)


@probe("API-1", "a cursor opens its own tenant's list and no other", control="cursors are bound to their list")
def cursors(target: Target) -> str:
    a, b = target.a, target.b
    cursor = a.api("GET", "/v1/subjects?limit=1")["next_cursor"]
    whole = _ask(a, "GET", f"/v1/subjects?cursor={cursor}")
    expect(whole.status == 200, f"the cursor does not even work at home: {whole.brief()}")
    for where, answer in (
        ("a neighbour's list", _ask(b, "GET", f"/v1/subjects?cursor={cursor}")),
        ("another list", _ask(a, "GET", f"/v1/servers?cursor={cursor}")),
        ("another filter", _ask(a, "GET", f"/v1/subjects?kind=agent&cursor={cursor}")),
        ("a changed position", _ask(a, "GET", f"/v1/subjects?cursor={cursor[:-1]}{'A' if cursor[-1] != 'A' else 'B'}")),
    ):
        expect(answer.status == 400, f"{where} took the cursor: {answer.brief()}")
    return "refused in a neighbour's list, another list, under another filter, and changed"


@probe("API-2", "an idempotency key is its own principal's", control="keys are kept per tenant and principal")
def keys_apart(target: Target) -> str:
    key, body = secrets.token_hex(16), {"kind": "agent", "slug": _fresh("once")}
    mine = _ask(target.a, "POST", "/v1/subjects", body, idempotency_key=key)
    again = _ask(target.a, "POST", "/v1/subjects", body, idempotency_key=key)
    expect(mine.status == 200, f"the first request was refused: {mine.brief()}")
    expect(again.body == mine.body, "the same request twice was answered differently")
    theirs = _ask(target.b, "POST", "/v1/subjects", body, idempotency_key=key)
    expect(theirs.status == 200, f"a neighbour's key stood in the way: {theirs.brief()}")
    expect(theirs.json()["id"] != mine.json()["id"], "a neighbour's key gave the neighbour's reply")
    return "replayed to its own principal, and unknown to a neighbour who uses the same key"


@probe("API-3", "a secret is shown once, whoever repeats the request", control="replies with secrets are not kept")
def secrets_once(target: Target) -> str:
    side, key = target.a, secrets.token_hex(16)
    for path in ("/v1/keys", "/v1/tokens"):
        first = _ask(side, "POST", path, {"subject": side.bystander}, idempotency_key=key + path[4:5])
        expect(first.status == 200, f"{path}: {first.brief()}")
        secret = first.json().get("secret") or first.json()["access_token"]
        second = _ask(side, "POST", path, {"subject": side.bystander}, idempotency_key=key + path[4:5])
        expect(secret.encode() not in second.body, f"{path} showed a secret a second time")
        expect(second.status == 409, f"{path} did it a second time: {second.brief()}")
    return "a repeated request for a key or a token is refused and names what it made"


@probe("API-4", "a change on a state that is no more changes nothing", control="If-Match, in the change's transaction")
def lost_update(target: Target) -> str:
    side = target.a
    subject = side.api("POST", "/v1/subjects", {"kind": "agent", "slug": _fresh("tag")})["id"]
    path = f"/v1/subjects/{subject}"
    seen = _ask(side, "GET", path).headers["etag"]
    expect(_ask(side, "PATCH", path, {"clearance": 0}, if_match=seen).status == 200, "the current tag was refused")
    late = _ask(side, "PATCH", path, {"clearance": 3}, if_match=seen)
    expect(late.status == 412, f"a change on what was read before another's was made: {late.brief()}")
    expect(side.api("GET", path)["clearance"] == 0, "a refused change changed something")
    return "412, and the state is the other's"


@probe("API-5", "a path is read one way", control="no slash inside a segment")
def one_path(target: Target) -> str:
    side = target.a
    for path in ("/v1%2fsubjects", f"/v1/subjects%2F{side.agent}", f"/v1/subjects/{side.agent}%2fgrants"):
        answer = _ask(side, "GET", path)
        expect(answer.status in {400, 404}, f"{path} was served as another path: {answer.brief()}")
    return "an encoded slash is no separator and no part of an id"


@probe("API-6", "an agent for a user sees no model that the user may not ask", control="both hold the grant")
def listed_for_both(target: Target) -> str:
    side = target.a
    user = side.api("POST", "/v1/subjects", {"kind": "user", "slug": _fresh("user")})["id"]
    own = side.wire.send("GET", "/v1/models", credential=side.key).json()["data"]
    expect(own, "the agent sees no model of its own, so nothing was proved")
    key = side.new_key(side.agent, on_behalf_of=user)
    seen = side.wire.send("GET", "/v1/models", credential=key).json()["data"]
    expect(not seen, f"an agent that acts for a user without grants sees {len(seen)} models")
    return f"{len(own)} models for the agent, none for a user without grants"
