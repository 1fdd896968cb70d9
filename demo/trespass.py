"""Attempts of one tenant to reach the other, at each door and with each kind of credential: every one must fail."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from demo import suites
from demo.tenants import Tenant
from partywall.assurance.wire import Answer

CUT_LIMIT_S = 5.0
NO_MODEL = "mdl_" + "a" * 26


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one tenant. held: it was refused, and the answer told nothing of the neighbour."""

    door: str
    who: str
    tried: str
    answer: str
    held: bool


class Trespasser:
    """Everything that `a` tries against `b`."""

    def __init__(self, a: Tenant, b: Tenant) -> None:
        self.a, self.b = a, b
        self._tool = "get_unread_emails" if b.suite == "workspace" else "get_balance"
        self._secrets = tuple(text.encode() for text in (b.canary, b.id, b.agent, b.admin, b.key))

    def attempts(self) -> Iterator[Attempt]:
        """Make them, one after the other."""
        yield from self._tools()
        yield from self._models()
        yield from self._administration()
        yield from self._credentials()

    def _attempt(self, door: str, tried: str, answer: Answer, *statuses: int) -> Attempt:
        """Judge an answer. statuses: those that refuse; a 200 does when it holds an error."""
        told = any(secret in answer.body for secret in self._secrets)
        refused = answer.status in statuses and (answer.status != 200 or _holds_error(answer))
        shown = f"{answer.status} error result" if b'"isError":true' in answer.body else answer.brief()
        return Attempt(door=door, who=self.a.slug, tried=tried, answer=shown, held=refused and not told)

    # --- MCP ----------------------------------------------------------------------------------------------------------

    def _mcp(
        self,
        server: str,
        method: str,
        params: Any,
        *,
        credential: str | None = None,
        act: bool = True,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one message as a's agent. act: it is well-formed and authenticated, so a's ledger will hold it."""
        if act:
            self.a.made["tool.call" if method == "tools/call" else "tool.list"] += 1
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        sent = {"mcp-protocol-version": "2025-11-25"} | (headers or {})
        key = self.a.key if credential is None else credential
        return self.a.wire.send("POST", f"/mcp/{server}", credential=key, body=body, headers=sent)

    def _tools(self) -> Iterator[Attempt]:
        a, b = self.a, self.b
        call = {"name": self._tool, "arguments": {}}
        for what, server in (("slug", b.server_slug), ("id", b.server)):
            for method, params in (("initialize", _HELLO), ("tools/list", {}), ("tools/call", call)):
                yield self._attempt(
                    "mcp", f"{method} on the neighbour's server by its {what}", self._mcp(server, method, params), 404
                )
        foreign = self._mcp(b.server, "tools/call", call)
        missing = self._mcp("mcp_" + "a" * 26, "tools/call", call)
        same = foreign.body == missing.body
        yield Attempt(
            door="mcp",
            who=a.slug,
            tried="tell the neighbour's server from one that does not exist",
            answer="the same bytes" if same else "they differ",
            held=same,
        )
        forged = {"x-tenant-id": b.id, "x-partywall-tenant": b.slug, "x-forwarded-user": b.agent}
        yield self._attempt(
            "mcp", "name the neighbour in headers", self._mcp(b.server_slug, "tools/call", call, headers=forged), 404
        )
        answer = self._mcp(a.server_slug, "tools/call", call | {"tenant": b.id}, act=False)
        yield self._attempt("mcp", "name the neighbour in the parameters", answer, 200)
        answer = self._mcp(a.server_slug, "tools/call", call, act=False, headers={"mcp-session-id": "0" * 32})
        yield self._attempt("mcp", "join somebody's session", answer, 400)
        answer = self._mcp(a.server_slug, "tools/list", {}, act=False, headers={"origin": "http://attacker.example"})
        yield self._attempt("mcp", "from a web page (DNS rebinding)", answer, 403)

    # --- models -------------------------------------------------------------------------------------------------------

    def _chat(self, model: str, *, credential: str | None = None, **more: Any) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, **more}
        path = "/v1/chat/completions"
        return self.a.wire.send("POST", path, credential=credential or self.a.key, body=body)

    def _models(self) -> Iterator[Attempt]:
        b = self.b
        for what, model in (("slug", b.model_slug), ("id", b.model or NO_MODEL)):
            self.a.made["model.request"] += 1
            yield self._attempt("openai", f"chat with the neighbour's model by its {what}", self._chat(model), 404)
        for field in ("tenant", "api_base", "extra_headers"):
            answer = self._chat(self.a.model_slug, **{field: b.id})
            yield self._attempt("openai", f"a field `{field}` that names the neighbour", answer, 400)

    # --- REST ---------------------------------------------------------------------------------------------------------

    def _administration(self) -> Iterator[Attempt]:
        a, b = self.a, self.b
        as_admin: list[tuple[str, str, str, Any, int]] = [
            ("suspend the neighbour's agent", "POST", f"/v1/subjects/{b.agent}/suspend", None, 404),
            ("grant the neighbour's agent something", "PUT", f"/v1/subjects/{b.agent}/grants", {"grants": []}, 404),
            ("make a key of the neighbour's agent", "POST", "/v1/keys", {"subject": b.agent}, 404),
            ("make a token of the neighbour's agent", "POST", "/v1/tokens", {"subject": b.agent}, 404),
            ("revoke the neighbour's key", "POST", "/v1/revocations", {"credential": _key_id(b.key)}, 404),
            (
                "a key request with the neighbour as a field",
                "POST",
                "/v1/keys",
                {"subject": a.agent, "tenant": b.id},
                400,
            ),
            ("read the neighbour's audit log", "GET", f"/v1/audit/leaves?log={b.id}", None, 400),
            ("list the platform's tenants", "GET", "/v1/tenants", None, 403),
            ("suspend the neighbour", "POST", f"/v1/tenants/{b.id}/suspend", None, 403),
        ]
        for tried, method, path, body, status in as_admin:
            answer = a.wire.send(method, path, credential=a.admin, body=body)
            yield self._attempt("rest", f"admin: {tried}", answer, status, 404)
        for tried, path in (("read the neighbour's memory", f"/v1/memory/secret?owner={b.agent}"),):
            a.made["memory"] += 1
            yield self._attempt("memory", f"agent: {tried}", a.ask("GET", path), 404)
        for tried, method, path, body in (
            ("read the audit log", "GET", "/v1/audit/leaves", None),
            ("make itself a key", "POST", "/v1/keys", {"subject": a.agent}),
            ("rewrite the policy", "PUT", "/v1/policy", {"module": "package tenant"}),
        ):
            yield self._attempt("rest", f"agent: {tried}", a.ask(method, path, body), 403, 404)

    # --- credentials --------------------------------------------------------------------------------------------------

    def _credentials(self) -> Iterator[Attempt]:
        a, b = self.a, self.b
        token = b.new_token()
        header, claims, signature = token.split(".")
        forgeries = {
            "no credential": "",
            "a made-up API key": f"pw_{'a' * 26}_{'b' * 43}",
            "the neighbour's key id with another secret": b.key[:-4] + "AAAA",
            "a token of the neighbour with its tenant changed": f"{header}.{_changed(claims, ten=a.id)}.{signature}",
            "a token of the neighbour signed by somebody else": _signed(header, claims),
            "a self-made token for another audience": _signed(header, _changed(claims, aud="elsewhere")),
            "a token without a signature": f"{_encoded({'alg': 'none', 'typ': 'at+jwt'})}.{claims}.",
        }
        for tried, credential in forgeries.items():
            answer = self._mcp(b.server_slug, "tools/list", {}, credential=credential, act=False)
            yield self._attempt("every door", f"{tried} (mcp)", answer, 401)
            chat = self._chat(b.model_slug, credential=credential or "none")
            yield self._attempt("every door", f"{tried} (openai)", chat, 401)
        yield self._revoked("an API key, within 5 s of its revocation", a.new_key(), _key_id)
        yield self._revoked("an access token, within 5 s of its revocation", a.new_token(), _token_id)
        short = a.new_key(life_s=1.0)
        time.sleep(1.1)
        yield self._attempt(
            "every door", "an expired API key", self._mcp(a.server_slug, "ping", {}, credential=short, act=False), 401
        )
        tool, arguments = suites.ground_truth(a.suite, suites.task_ids(a.suite)[0])[0]
        call = {"name": tool, "arguments": arguments}
        narrow = a.new_token(scopes=["model.request"])
        answer = self._mcp(a.server_slug, "tools/call", call, credential=narrow)
        yield self._attempt("mcp", "its own tool with a token for models only", answer, 200)

    def _revoked(self, tried: str, credential: str, name: Callable[[str], str]) -> Attempt:
        """Use a credential, revoke it, and see it refused within five seconds."""
        first = self._mcp(self.a.server_slug, "ping", {}, credential=credential, act=False)
        self.a.api("POST", "/v1/revocations", {"credential": name(credential)})
        started = time.monotonic()
        while (answer := self._mcp(self.a.server_slug, "ping", {}, credential=credential, act=False)).status != 401:
            if time.monotonic() - started > CUT_LIMIT_S:
                break
            time.sleep(0.05)
        attempt = self._attempt("every door", tried, answer, 401)
        return attempt if first.status == 200 else msgspec.structs.replace(attempt, held=False, answer="never worked")


_HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "trespasser", "version": "1"}}


def _holds_error(answer: Answer) -> bool:
    parsed = answer.json()
    return isinstance(parsed, dict) and ("error" in parsed or bool(parsed.get("result", {}).get("isError")))


def _key_id(key: str) -> str:
    return f"key_{key.split('_')[1]}"


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
