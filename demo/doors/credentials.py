"""Credentials that must open no door: forged, altered, borrowed, revoked, expired or too narrow."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demo import suites
from demo.doors.attempt import Request, Try
from demo.doors.mcp import message
from demo.doors.openai import chat
from demo.tenants import Tenant, key_id, must

CUT_LIMIT_S = 5.0


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """Each forgery at three doors of the neighbour's."""
    for tried, credential in _forgeries(a, b).items():
        doors = {
            "MCP": message(credential, b.server_slug, "tools/list", {}, acts=False),
            "OpenAI": chat(credential, b.model_slug, acts=False),
            "REST": Request(method="GET", path="/v1/memory/secret", credential=credential),
        }
        for door, request in doors.items():
            yield Try(tried=f"{tried} ({door})", request=request, refused=(401,))


def _forgeries(a: Tenant, b: Tenant) -> dict[str, str]:
    header, claims, signature = b.new_token().split(".")
    return {
        "no credential": "",
        "a made-up API key": f"pw_{'a' * 26}_{'b' * 43}",
        "the neighbour's key id with another secret": b.key[:-4] + "AAAA",
        "the neighbour's token with its tenant changed": f"{header}.{_changed(claims, ten=a.id)}.{signature}",
        "the neighbour's token with its agent changed": f"{header}.{_changed(claims, sub=a.agent)}.{signature}",
        "the neighbour's token, signed by somebody else": _signed(header, claims),
        "a self-made token for another audience": _signed(header, _changed(claims, aud="elsewhere")),
        "the neighbour's token without a signature": f"{_encoded({'alg': 'none', 'typ': 'at+jwt'})}.{claims}.",
    }


def own(a: Tenant, _nobody: Tenant) -> Iterator[Try]:
    """A tenant's own credentials, once they are good no longer, or not for this."""
    for tried, credential, name in (
        ("an API key, at most 5 s after its revocation", a.new_key(), key_id),
        ("an access token, at most 5 s after its revocation", a.new_token(), _token_id),
    ):
        ping = message(credential, a.server_slug, "ping", {}, acts=False)
        must(a.wire.send("POST", ping.path, credential=credential, body=ping.body, headers=ping.headers))
        a.api("POST", "/v1/revocations", {"credential": name(credential)})
        yield Try(tried=tried, request=ping, refused=(401,), until_s=CUT_LIMIT_S)
    short = a.new_key(life_s=1.0)
    time.sleep(1.1)
    yield Try(tried="an expired API key", request=message(short, a.server_slug, "ping", {}, acts=False), refused=(401,))
    tool, arguments = suites.ground_truth(a.suite, suites.task_ids(a.suite)[0])[0]
    call = {"name": tool, "arguments": arguments}
    narrow = a.new_token(scopes=["model.request"])
    yield Try(
        tried="a granted tool, with a token for models only",
        request=message(narrow, a.server_slug, "tools/call", call),
        refused=(200, 403),
    )


def _token_id(token: str) -> str:
    return str(_decoded(token.split(".")[1])["jti"])


def _decoded(part: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def _encoded(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def _changed(part: str, **claims: Any) -> str:
    return _encoded(_decoded(part) | claims)


def _signed(header: str, claims: str) -> str:
    """Sign with a key that nobody trusts."""
    signature = Ed25519PrivateKey.generate().sign(f"{header}.{claims}".encode())
    return f"{header}.{claims}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
