"""Attacks on identity: forged, replayed, revoked, widened and mutated credentials. Source: attacks.md, ID-*."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Side, Target

DEADLINE_S = 5.0


def _split(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    head, body, signature = token.split(".")
    return json.loads(_decode(head)), json.loads(_decode(body)), signature


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _accepted(side: Side, credential: str) -> bool:
    return side.wire.send("GET", "/v1/models", credential=credential).status == 200


@probe("ID-1", "an access token names one agent of one tenant and ends within 15 minutes", control="token life")
def short_lived(target: Target) -> str:
    token = target.a.new_token(target.a.agent)
    _head, claims, _signature = _split(token)
    expect(claims["exp"] - claims["iat"] <= 900, f"a token lives {claims['exp'] - claims['iat']} s")
    expect(claims["ten"] == target.a.tenant, "the token does not name its tenant")
    return f"lives {claims['exp'] - claims['iat']:.0f} s, bound to {claims['sub'][:8]}… of one tenant"


@probe("ID-2", "neither a model nor a tool is ever sent a credential", control="providers send no credential")
def no_credential_travels(target: Target) -> str:
    side = target.a
    side.chat(side.key, "hello", metadata={})
    side.chat(side.key, "hello")
    side.call_tool(side.key, "echo", {"text": "hello"}, **{"x-api-key": side.key, "cookie": f"k={side.key}"})
    received = side.upstream.received()
    expect(b"hello" in received, "nothing reached the watched upstream, so nothing was proved")
    expect(side.key.encode() not in received, "the upstream received the agent's API key")
    expect(b"authorization" not in received.lower(), "the upstream received an Authorization header")
    expect(b"cookie" not in received.lower(), "the upstream received the caller's cookie")
    return f"{len(received)} bytes sent upstream, no credential among them"


@probe("ID-3", "forged, foreign, unsigned and mangled credentials are refused", control="token verification")
def forged(target: Target) -> str:
    side = target.a
    token = side.new_token(side.agent)
    expect(_accepted(side, token), "a good token is refused, so nothing was proved")
    head, claims, signature = _split(token)
    none = {**head, "alg": "none"}
    mac = {**head, "alg": "HS256"}
    jwks = side.wire.send("GET", "/.well-known/jwks.json").json()["keys"][0]
    signed = f"{_encode(mac)}.{_encode(claims)}"
    forged_mac = hmac.new(_decode(jwks["x"]), signed.encode(), hashlib.sha256).digest()
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    attempts = {
        "algorithm none": f"{_encode(none)}.{_encode(claims)}.",
        "HMAC with the public key": f"{signed}.{base64.urlsafe_b64encode(forged_mac).decode().rstrip('=')}",
        "a flipped signature": f"{token.rsplit('.', 1)[0]}.{flipped}",
        "an unknown key id": f"{_encode({**head, 'kid': 'nobody'})}.{_encode(claims)}.{signature}",
        "a key with another secret": side.key[:-4] + ("AAAA" if side.key[-4:] != "AAAA" else "BBBB"),
        "the other side's key id": target.b.key[:30] + side.key[30:],
        "an empty bearer": "",
        "a long one": "pw_" + "a" * 5000,
    }
    for name, credential in attempts.items():
        answer = side.wire.send("GET", "/v1/models", credential=credential)
        expect(answer.status in {400, 401, 431}, f"{name}: {answer.brief()}")
    return f"{len(attempts)} forgeries refused"


@probe("ID-5", "a revoked key and a cut grant are refused within 5 s", control="revocation")
def revoked(target: Target) -> str:
    side = target.a
    key, token = side.new_key(side.agent), side.new_token(side.agent)
    expect(_accepted(side, key) and _accepted(side, token), "a fresh credential is refused")
    _head, claims, _signature = _split(token)
    for credential in ("key_" + key.split("_")[1], claims["jti"]):
        side.api("POST", "/v1/revocations", {"credential": credential})
    started = time.monotonic()
    while _accepted(side, key) or _accepted(side, token):
        expect(time.monotonic() - started < DEADLINE_S, "still accepted 5 s after it was revoked")
        time.sleep(0.1)
    return f"both refused {time.monotonic() - started:.1f} s after they were revoked"


@probe("ID-5s", "an open stream is cut within 5 s of its key's revocation", control="stream re-decision")
def stream_cut(target: Target) -> str:
    side = target.a
    key = side.new_key(side.agent)
    body = {"model": "probe-model", "stream": True, "messages": [{"role": "user", "content": "go"}]}
    connection = side.wire.open("POST", "/v1/chat/completions", credential=key, body=body)
    try:
        response = connection.getresponse()
        expect(response.status == 200, f"the stream did not open: {response.status}")
        response.readline()
        side.api("POST", "/v1/revocations", {"credential": "key_" + key.split("_")[1]})
        started = time.monotonic()
        whole = b""
        while line := _line(response):
            whole += line
            expect(time.monotonic() - started < DEADLINE_S + 1, "still streaming 6 s after the revocation")
        expect(b"[DONE]" not in whole, "the stream ran to its end")
        return f"cut {time.monotonic() - started:.1f} s after the revocation"
    finally:
        connection.close()


def _line(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.readline()
    except (http.client.IncompleteRead, ConnectionError):
        return b""


@probe("ID-8", "a token with any claim changed is refused", control="token verification")
def mutated(target: Target) -> str:
    side = target.a
    token = side.new_token(side.agent)
    _head, claims, signature = _split(token)
    changes: dict[str, Any] = {
        "ten": target.b.tenant,
        "sub": target.b.agent,
        "knd": "platform-operator",
        "region": "elsewhere",
        "exp": claims["exp"] + 86_400,
        "aud": "other",
        "iss": "other",
        "scp": None,
        "jti": "tok_" + "a" * 26,
        "clr": 3,
    }
    head = token.split(".", 1)[0]
    for claim, value in changes.items():
        forged_token = f"{head}.{_encode({**claims, claim: value})}.{signature}"
        expect(not _accepted(side, forged_token), f"accepted with {claim} changed")
    return f"{len(changes)} claims changed one by one, none accepted"


@probe("ID-10", "a suspended agent is refused within 5 s", control="suspension")
def suspended(target: Target) -> str:
    side = target.a
    agent = side.subject("sleeper", [{"action": "model.request", "resource": "model/probe-model"}])
    key = side.new_key(agent)
    expect(side.chat(key, "hi").status == 200, "the agent could not work before it was suspended")
    side.api("POST", f"/v1/subjects/{agent}/suspend")
    started = time.monotonic()
    while side.chat(key, "hi").status == 200:
        expect(time.monotonic() - started < DEADLINE_S, "still served 5 s after it was suspended")
        time.sleep(0.1)
    return f"refused {time.monotonic() - started:.1f} s after it was suspended"
