"""Attacks on sign-in: stolen codes, missing proofs, strangers' browsers, tokens at the wrong server."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from partywall.assurance.identity import CLIENT, ProbeProvider
from partywall.assurance.probe import NotHere, expect, probe
from partywall.assurance.target import Side, Target, must
from partywall.assurance.wire import Answer

FORM = {"content-type": "application/x-www-form-urlencoded"}
REDIRECT = "http://127.0.0.1:1/callback"
DEADLINE_S = 5.0


class Visit:
    """One sign-in of one person in one browser, step by step."""

    def __init__(self, side: Side, provider: ProbeProvider) -> None:
        self.side, self._provider = side, provider
        self.verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).decode().rstrip("=")
        self.request = {
            "response_type": "code",
            "client_id": "partywall-cli",
            "redirect_uri": REDIRECT,
            "state": secrets.token_urlsafe(16),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        self.cookie = ""

    def begin(self) -> dict[str, str]:
        """Ask, agree, and return what the identity provider is sent."""
        page = self.side.wire.send("GET", f"/v1/oauth/authorize?{urlencode(self.request)}")
        expect(page.status == 200, f"sign-in does not begin, so nothing was proved: {page.brief()}")
        hidden = dict(re.findall(r'name="(attempt|form)" value="([^"]+)"', page.body.decode()))
        form = hidden | {"tenant": self.side.slug, "choice": "continue"}
        self._keep(page)
        sent = self._send("POST", "/v1/oauth/authorize", urlencode(form).encode())
        expect(sent.status == 303, f"sign-in does not go on, so nothing was proved: {sent.brief()}")
        self._keep(sent)
        return _query(sent)

    def come_back(self, sent: dict[str, str], *, cookie: str | None = None) -> Answer:
        """Bring the provider's answer, in this browser or in one with another cookie."""
        code = self._provider.vouch("alice", sent["nonce"])
        query = urlencode({"code": code, "state": sent["state"], "iss": self._provider.url})
        return self._send("GET", f"/v1/oauth/callback?{query}", cookie=cookie)

    def code(self) -> str:
        """Go the whole way and return the client's code."""
        answer = self.come_back(self.begin())
        expect(answer.status == 302, f"sign-in does not end, so nothing was proved: {answer.brief()}")
        return _query(answer).get("code", "")

    def redeem(self, code: str, **changed: str) -> Answer:
        """Exchange a code."""
        form = {"grant_type": "authorization_code", "code": code, "client_id": "partywall-cli"}
        form |= {"redirect_uri": REDIRECT, "code_verifier": self.verifier} | changed
        return self.side.wire.send("POST", "/v1/oauth/token", raw=urlencode(form).encode(), headers=FORM)

    def refresh(self, token: str) -> Answer:
        """Exchange a refresh token."""
        form = {"grant_type": "refresh_token", "client_id": "partywall-cli", "refresh_token": token}
        return self.side.wire.send("POST", "/v1/oauth/token", raw=urlencode(form).encode(), headers=FORM)

    def _keep(self, answer: Answer) -> None:
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]

    def _send(self, method: str, path: str, raw: bytes | None = None, *, cookie: str | None = None) -> Answer:
        headers = {"cookie": self.cookie if cookie is None else cookie} | (FORM if raw is not None else {})
        return self.side.wire.send(method, path, raw=raw, headers=headers)


@contextmanager
def _people(side: Side) -> Iterator[ProbeProvider]:
    """Let a side's `alice` sign in at a provider of the probe's own. Raises: NotHere where none may be on loopback."""
    provider = ProbeProvider()
    try:
        body = {"slug": f"probe-{secrets.token_hex(4)}", "issuer": provider.url, "client_id": CLIENT}
        made = side.wire.send("POST", "/v1/identity-providers", credential=side.admin, body=body)
        if made.status == 400:
            raise NotHere("this deployment takes no identity provider on loopback (federation.loopback_http)")
        slug = f"alice-{secrets.token_hex(4)}"
        user = side.api("POST", "/v1/subjects", {"kind": "user", "slug": slug})["id"]
        idp = must(made)["id"]
        side.api("POST", "/v1/identity-bindings", {"idp": idp, "subject": user, "match_subject": "alice"})
        yield provider
        side.wire.send("DELETE", f"/v1/identity-providers/{idp}", credential=side.admin)
    finally:
        provider.close()


def _query(answer: Answer) -> dict[str, str]:
    query = parse_qs(urlsplit(answer.headers.get("location", "")).query)
    return {name: values[0] for name, values in query.items()}


def _given(answer: Answer) -> str:
    """Return the access token of a reply, or ''."""
    parsed: Any = answer.json()
    return str(parsed.get("access_token", "")) if isinstance(parsed, dict) else ""


@probe(
    "ID-15", "an authorization code is good once, and a second use ends what the first gave", control="code single use"
)
def code_twice(target: Target) -> str:
    with _people(target.a) as provider:
        visit = Visit(target.a, provider)
        code = visit.code()
        token = _given(visit.redeem(code))
        expect(token, "an honest code is refused, so nothing was proved")
        again = visit.redeem(code)
        expect(not _given(again), f"the same code gave a second token: {again.brief()}")
        started = time.monotonic()
        while target.a.wire.send("GET", "/v1/models", credential=token).status == 200:
            expect(time.monotonic() - started < DEADLINE_S, "the first token still works 5 s after the code came twice")
            time.sleep(0.1)
        return f"refused the second time; the first token ended after {time.monotonic() - started:.1f} s"


@probe("ID-15r", "a refresh token is good once; a second use ends the sign-in", control="refresh rotation")
def refresh_twice(target: Target) -> str:
    with _people(target.a) as provider:
        visit = Visit(target.a, provider)
        visit.request["scope"] = "offline_access"
        stolen = str((visit.redeem(visit.code()).json() or {}).get("refresh_token", ""))
        renewed = visit.refresh(stolen)
        expect(_given(renewed), "an honest refresh token is refused, so nothing was proved")
        again = visit.refresh(stolen)
        expect(not _given(again), f"the same refresh token gave a second token: {again.brief()}")
        expect(not _given(visit.refresh(renewed.json()["refresh_token"])), "its successor still works after the theft")
        started = time.monotonic()
        while target.a.wire.send("GET", "/v1/models", credential=_given(renewed)).status == 200:
            expect(time.monotonic() - started < DEADLINE_S, "the thief's or victim's token still works 5 s later")
            time.sleep(0.1)
        return f"refused the second time; everything ended after {time.monotonic() - started:.1f} s"


@probe("ID-16", "a stolen authorization code is worth nothing without its verifier", control="PKCE")
def stolen_code(target: Target) -> str:
    with _people(target.a) as provider:
        honest = Visit(target.a, provider)
        expect(_given(honest.redeem(honest.code())), "an honest code is refused, so nothing was proved")
        wishes = {
            "another verifier": {"code_verifier": secrets.token_urlsafe(48)},
            "the challenge itself": {"code_verifier": honest.request["code_challenge"]},
            "no verifier": {"code_verifier": ""},
            "another client": {"client_id": "somebody-else"},
            "another address": {"redirect_uri": "http://127.0.0.1:2/callback"},
        }
        for name, changed in wishes.items():
            visit = Visit(target.a, provider)
            answer = visit.redeem(visit.code(), **changed)
            expect(not _given(answer), f"{name}: a token was given")
        return f"{len(wishes)} thefts came to nothing"


@probe("ID-17", "an identity provider's answer counts only in the browser that began", control="browser binding")
def strangers_browser(target: Target) -> str:
    with _people(target.a) as provider:
        visit, other = Visit(target.a, provider), Visit(target.a, provider)
        sent = visit.begin()
        other.begin()
        attempts = {
            "no cookie": visit.come_back(sent, cookie=""),
            "another sign-in's cookie": visit.come_back(sent, cookie=other.cookie),
            "another's, renamed": visit.come_back(sent, cookie=_renamed(other.cookie, visit.cookie)),
        }
        for name, answer in attempts.items():
            expect("code" not in _query(answer), f"{name}: a code was given")
        expect("code" in _query(visit.come_back(sent)), "the browser that began is refused too, so nothing was proved")
        return f"{len(attempts)} other browsers refused"


def _renamed(cookie: str, like: str) -> str:
    return f"{like.partition('=')[0]}={cookie.partition('=')[2]}"


@probe("MCP-7a", "a token that was made for one MCP server is refused everywhere else", control="resource binding")
def wrong_server(target: Target) -> str:
    side = target.a
    public = must(side.wire.send("GET", "/.well-known/oauth-protected-resource/mcp/probe-tools"))["resource"]
    token = side.new_token(side.agent, resource=public)
    expect(side.call_tool(token, "echo", {"text": "x"}).status == 200, "it is refused there too, so nothing was proved")
    elsewhere = side.new_token(side.agent, resource=public.replace("probe-tools", "other-tools"))
    attempts = {
        "the API": side.wire.send("GET", "/v1/models", credential=token),
        "memory": side.wire.send("GET", "/v1/memory", credential=token),
        "another server": side.call_tool(token, "echo", {"text": "x"}, server="other-tools"),
        "another server's token here": side.call_tool(elsewhere, "echo", {"text": "x"}),
        "exchanged for a wider one": side.wire.send(
            "POST", "/v1/tokens", credential=token, body={"subject": side.agent}
        ),
    }
    for name, answer in attempts.items():
        expect(answer.status == 401, f"{name}: {answer.brief()}")
    return f"{len(attempts)} other places refused it"
