"""What one tenant can observe is a function of what it does itself: a neighbour, idle or busy, changes no byte of it.

A runs one fixed script over every door twice, each time on a platform of its own: once alone, once with a neighbour
that has the same names for everything and works noisily before every step. Source: attacks.md NI-2.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pytest
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

from partywall.assurance.shelf import Shelf
from partywall.assurance.target import Side
from partywall.assurance.upstream import Upstream
from partywall.assurance.wire import Answer, Wire
from partywall.wire.ids import format_id

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
HEADERS: Final = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
POLICY: Final = 'package tenant\n\ndeny contains "too-wordy" if input.payload.max_tokens > 100\n'

MASKS: Final[dict[str, str]] = {
    "id": r"\b(?:ten|agt|usr|key|act|prm|mcp|mdl|pol|tok|ses|org|col|sgn)_[a-z2-7]{26}\b",
    "api key": r"\bpw_[a-z2-7]{26}_[A-Za-z0-9_-]{43}",
    "access token": r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
    "completion": r"\bchatcmpl-[A-Za-z0-9_-]+",
    "cursor": r'(?<="next_cursor":")[A-Za-z0-9_-]{24,}(?=")',
    "digest": r"\b[0-9a-f]{64}\b",
    "trace": r"\b[0-9a-f]{32}\b",
    "unknown name": r"(?<=/~)[0-9a-f]{16}\b",
    "revision": r"(?<=\d-)[0-9a-f]{12}\b",
    "time": r'(?<="(?:{name})":)[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?',
    # the length of a reply that says fractions of seconds, as the record of it tells
    "length": r'(?<="emitted_bytes":)[0-9]+(?=,"emitted_sha256":"[0-9a-f]{64}","parameters":\{[^{}]*'
    r'"operation":"(?:key|token|policy|memory|collection|admin|draft|revision|server)\.)',
    "sealed": r'(?<=")[A-Za-z0-9+/]{60,}={0,2}(?=")',
    "key": r'(?<=")[A-Za-z0-9+/]{43}=(?=")',
    "note": r"(?<=\\n)[A-Za-z0-9+/]{43}=(?=\\n)",
    "signature": r"(?<= )[A-Za-z0-9+/]{80,}={0,2}(?=\\n)",
    "verifier": r"(?<=\+)[0-9a-f]{8}\+[A-Za-z0-9+/]{44}(?!=)",
    "note time": r"(?<=time )[0-9]+",
    "address": r"http://127\.0\.0\.1:[0-9]+(?=/v1/oauth|/\.well-known|/mcp/|\")",
    "form": r'(?<=name="form" value=")[A-Za-z0-9_-]{43}',
    "cookie": r"(?<==)[A-Za-z0-9_-]{200,}(?=; Path=)",
}
"""All that differs between two runs of one and the same script: A's own randomness, digests over it, and the clock."""

TIME_FIELDS: Final = (
    "created",
    "time",
    "time_us",
    "created_at_s",
    "expires_at_s",
    "activated_at_s",
    "updated_at_s",
    "changed_at_s",
)


def _compiled() -> re.Pattern[str]:
    parts = []
    for name, pattern in MASKS.items():
        group = name.replace(" ", "_")
        texts = [pattern.replace("{name}", field) for field in TIME_FIELDS] if "{name}" in pattern else [pattern]
        parts.append(f"(?P<{group}>{'|'.join(texts)})")
    return re.compile("|".join(parts))


_MASK: Final = _compiled()


class Seen(msgspec.Struct, frozen=True):
    """One reply as A saw it, masked."""

    step: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


class Recorder:
    """Masks replies in order. The same text gets the same mask, so who is who is compared, too."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._names: dict[str, str] = {}

    def mask(self, text: str) -> str:
        def name(match: re.Match[str]) -> str:
            kind, found = match.lastgroup or "", match.group(0)
            if kind in {"time", "note_time", "length"}:
                return f"<{kind}>"
            return self._names.setdefault(found, f"<{kind} {found[:3] if kind == 'id' else ''}#{len(self._names)}>")

        return _MASK.sub(name, text)

    def add(self, step: str, answer: Answer) -> Answer:
        assert answer.headers.get("content-length") in {None, str(len(answer.body))}, step
        kept = {name: value for name, value in answer.headers.items() if name not in {"date", "content-length"}}
        # a tag is a digest over the very bytes that are compared, times and all
        headers = tuple((name, "<etag>" if name == "etag" else self.mask(value)) for name, value in kept.items())
        self.seen.append(Seen(step, answer.status, headers, self.mask(answer.body.decode())))
        return answer


def differences(one: list[Seen], other: list[Seen]) -> list[str]:
    """Say what differs, step by step."""
    found = []
    for first, second in itertools.zip_longest(one, other):
        if first != second:
            texts = str(first), str(second)
            at = next((at for at, (x, y) in enumerate(zip(*texts, strict=False)) if x != y), 0)
            found.append("\n  and\n".join(f"{text[:60]} … {text[max(0, at - 200) : at + 200]}" for text in texts))
    return found


class Strangers(msgspec.Struct, frozen=True):
    """Names and ids that are not A's: of nobody at all, or of a neighbour's things."""

    tenant: str
    agent: str
    key: str
    model: str
    server: str
    collection: str


def nobody() -> Strangers:
    return Strangers(
        *(format_id(prefix, secrets.token_bytes(16)) for prefix in ("ten", "agt", "key", "mdl", "mcp", "col"))
    )


Step = tuple[str, Callable[[], Answer]]


class Script:
    """A's steps. Each answer is a function of A's earlier ones, or the wall leaks."""

    def __init__(self, a: Side, foreign: Strangers, shelf: Shelf) -> None:
        self.a, self.foreign, self.shelf = a, foreign, shelf
        self.made: dict[str, Any] = {}

    def steps(self) -> Iterator[Step]:
        for part in (
            self.models,
            self.memory,
            self.collections,
            self.tools,
            self.subjects,
            self.keys,
            self.resources,
            self.policy,
            self.decisions,
            self.sign_in,
            self.others,
        ):
            yield from part()

    def rest(self, method: str, path: str, body: Any = None, *, key: str = "", keep: str = "", **sent: str) -> Step:
        """sent: more headers, with `_` for `-`. keep: under which name the answer is kept, and its entity tag."""

        def act() -> Answer:
            credential, more = key or self.a.admin, {name.replace("_", "-"): value for name, value in sent.items()}
            answer = self.a.wire.send(method, path, credential=credential, body=body, headers=HEADERS | more)
            self.made[keep], self.made[f"{keep} tag"] = answer.json(), answer.headers.get("etag", "")
            return answer

        return f"{method} {path.partition('_')[0].partition('cursor=')[0]}", act

    def as_agent(self, method: str, path: str, body: Any = None) -> Step:
        return self.rest(method, path, body, key=self.a.key)

    def chat(self, text: str, *, key: str = "", **extra: Any) -> Step:
        body = {"model": "probe-model", "messages": [{"role": "user", "content": text}]} | extra
        return self.rest("POST", "/v1/chat/completions", body, key=key or self.a.key)

    def mcp(self, method: str, params: Any, *, server: str = "probe-tools", key: str = "") -> Step:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = HEADERS | {"mcp-protocol-version": "2025-11-25"}
        send, credential = self.a.wire.send, key or self.a.key
        return method, lambda: send("POST", f"/mcp/{server}", credential=credential, body=body, headers=headers)

    def call(self, text: str, *, tool: str = "echo", **extra: str) -> Step:
        return self.mcp("tools/call", {"name": tool, "arguments": {"text": text}}, **extra)

    def models(self) -> Iterator[Step]:
        yield from (self.as_agent("GET", "/v1/models"), self.as_agent("GET", "/v1/models/probe-model"))
        yield from (self.as_agent("GET", f"/v1/models/{name}") for name in ("b-model", self.foreign.model))
        yield from (self.chat("hello"), self.chat("hello", max_tokens=5), self.chat("hello", key=self.a.bystander_key))
        yield from (self.chat("hello", model=name) for name in ("b-model", self.foreign.model, "absent"))
        yield from (self.chat("hello", id_slot=1), self.chat("hello", key="nonsense"))

    def memory(self) -> Iterator[Step]:
        for key, value in (("note", "one"), ("other", {"a": [1, 2]}), ("note", "two")):
            yield self.as_agent("PUT", f"/v1/memory/{key}", {"value": value})
        yield from (self.as_agent("GET", f"/v1/memory/{key}") for key in ("note", "other", "b-note"))
        yield self.as_agent("GET", "/v1/memory")
        yield from (
            self.as_agent("GET", f"/v1/memory/note?owner={owner}") for owner in (self.foreign.agent, self.a.bystander)
        )
        yield self.as_agent("DELETE", "/v1/memory/note")
        yield from (self.as_agent("DELETE", "/v1/memory/b-note"), self.as_agent("GET", "/v1/memory"))

    def collections(self) -> Iterator[Step]:
        mine, document = (
            f"/v1/collections/{self.shelf.slug}",
            {"text": "Mail is answered within a day.", "metadata": {"n": 1}},
        )
        stranger = f"/v1/collections/{self.foreign.collection}"
        yield from (self.on_shelf("PUT", f"{mine}/documents/{id_}", document) for id_ in ("a", "b", "a"))
        several = [{"id": "c", "chunks": ["cats purr", "dogs bark"]}, {"id": "d", "text": "Holidays are thirty days."}]
        yield self.on_shelf("POST", f"{mine}/documents", {"documents": several})
        for text in ("how soon is mail answered", "animals", "vacation"):
            yield self.on_shelf("POST", f"{mine}/search", {"text": text, "limit": 3})
        yield self.on_shelf("POST", f"{mine}/search", {"text": "mail", "filter": {"n": 1}})
        yield self.on_shelf("POST", f"{mine}/search", {"text": "mail", "filter": {"b": "b"}})
        yield self.on_shelf("POST", f"{mine}/search", {"vector": [1.0] + [0.0] * 383})
        yield self.on_shelf("POST", f"{mine}/search", {"vector": [1.0], "limit": 99})
        yield from (self.on_shelf("GET", f"{mine}/documents{query}") for query in ("", "?limit=2", "?limit=2&cursor=b"))
        yield from (self.on_shelf("GET", f"{mine}/documents/{id_}") for id_ in ("a", "b-only", "absent"))
        yield self.on_shelf("POST", "/v1/embeddings", {"model": self.shelf.model, "input": ["one", "two"]})
        for path in (stranger, "/v1/collections/b-shelf"):
            yield self.on_shelf("POST", f"{path}/search", {"text": "mail"})
            yield self.on_shelf("PUT", f"{path}/documents/a", document)
        for path in ("", f"/{self.shelf.id}", f"/{self.foreign.collection}"):
            yield self.rest("GET", f"/v1/collections{path}")
        yield self.as_agent("POST", f"{mine}/search", {"text": "mail"})
        yield self.rest("POST", "/v1/collections", {"slug": "b-shelf", "model": self.shelf.model}, keep="collection")
        yield self.rest("POST", "/v1/collections", {"slug": "b-shelf", "model": self.shelf.model})
        for collection in (self.foreign.collection, self.made["collection"]["id"]):
            yield self.rest("DELETE", f"/v1/collections/{collection}")
        yield from (self.on_shelf("DELETE", f"{mine}/documents/{id_}") for id_ in ("a", "b-only"))
        yield self.on_shelf("POST", f"{mine}/search", {"text": "mail"})

    def on_shelf(self, method: str, path: str, body: Any = None) -> Step:
        return self.rest(method, path, body, key=self.shelf.key)

    def tools(self) -> Iterator[Step]:
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
        yield from (
            self.mcp("initialize", opening),
            self.mcp("tools/list", {}),
            self.mcp("ping", {}),
            self.mcp("prompts/list", {}),
            self.mcp("resources/read", {"uri": "test://nowhere"}),
            self.mcp("no/such", {}),
        )
        yield from (
            self.call("hi"),
            self.call("hi", tool="erase"),
            self.call("hi", tool="absent"),
            self.call("hi", key=self.a.bystander_key),
        )
        for server in ("b-tools", self.foreign.server, "absent"):
            yield from (self.call("hi", server=server), self.mcp("tools/list", {}, server=server))

    def subjects(self) -> Iterator[Step]:
        subject = {"kind": "agent", "slug": "newcomer", "clearance": 1}
        yield from (
            self.rest("POST", "/v1/subjects", subject, keep="subject"),
            self.rest("POST", "/v1/subjects", subject),
        )
        mine = f"/v1/subjects/{self.made['subject']['id']}"
        yield self.rest(
            "PUT", f"{mine}/grants", {"grants": [{"action": "model.request", "resource": "model/probe-model"}]}
        )
        for resource in (
            "model/b-model",
            f"model/{self.foreign.model}",
            "tool/b-tools/echo",
            f"memory/{self.foreign.agent}",
        ):
            action = {"model": "model.request", "tool": "tool.call", "memory": "memory"}[resource.split("/")[0]]
            yield self.rest("PUT", f"{mine}/grants", {"grants": [{"action": action, "resource": resource}]})
        for verb in ("suspend", "resume"):
            yield from (
                self.rest("POST", f"{mine}/{verb}"),
                self.rest("POST", f"/v1/subjects/{self.foreign.agent}/{verb}"),
            )
        yield self.rest("GET", "/v1/subjects")

    def keys(self) -> Iterator[Step]:
        yield self.rest("POST", "/v1/keys", {"subject": self.made["subject"]["id"]}, keep="key")
        yield from (self.rest("POST", "/v1/keys", {"subject": self.foreign.agent}), self.rest("GET", "/v1/keys"))
        yield self.rest("POST", "/v1/tokens", {"subject": self.made["subject"]["id"]})
        yield self.rest("POST", "/v1/tokens", {"subject": self.foreign.agent})
        yield self.rest("POST", "/v1/revocations", {"credential": self.made["key"]["id"]})
        yield self.rest("POST", "/v1/revocations", {"credential": self.foreign.key})
        yield from (self.rest("GET", "/v1/keys"), self.rest("GET", "/v1/models", key=self.made["key"]["secret"]))

    def resources(self) -> Iterator[Step]:
        """Pages, entity tags and idempotency keys; the neighbour uses the same names and the same keys."""
        for path, noun in (("/v1/subjects", "subjects"), ("/v1/keys", "keys"), ("/v1/catalogue", "models")):
            yield self.rest("GET", f"{path}?limit=1", keep=noun)
            if (cursor := self.made[noun]["next_cursor"]) is not None:
                yield self.rest("GET", f"{path}?limit=2&cursor={cursor}")
                yield self.rest("GET", f"/v1/servers?cursor={cursor}")
        draft = {"slug": "draft", "module": POLICY}
        yield self.rest("POST", "/v1/policies", draft, keep="draft", idempotency_key="shared")
        yield self.rest("POST", "/v1/policies", draft, idempotency_key="shared")
        yield self.rest("POST", "/v1/policies", draft | {"module": "x"}, idempotency_key="shared")
        yield self.rest("POST", "/v1/keys", {"subject": self.made["subject"]["id"]}, idempotency_key="shared key")
        yield self.rest("POST", "/v1/keys", {"subject": self.made["subject"]["id"]}, idempotency_key="shared key")
        path = f"/v1/policies/{self.made['draft']['id']}"
        yield self.rest("GET", path, keep="shown")
        yield self.rest("GET", path, if_none_match=self.made["shown tag"])
        yield self.rest("PUT", path, {"module": POLICY + "# two\n"}, if_match=self.made["shown tag"])
        yield self.rest("PUT", path, {"module": POLICY}, if_match=self.made["shown tag"])
        yield from (self.rest("GET", "/v1/policies"), self.rest("DELETE", path), self.rest("GET", path))
        for kind, stranger in (
            ("subjects", self.foreign.agent),
            ("keys", self.foreign.key),
            ("servers", self.foreign.server),
            ("tenants", self.foreign.tenant),
        ):
            yield self.rest("GET", f"/v1/{kind}/{stranger}")
            yield self.rest("DELETE", f"/v1/{kind}/{stranger}")
        yield from (self.rest("GET", "/v1/openapi.json"), self.rest("GET", f"/v1/subjects%2f{self.foreign.agent}"))

    def policy(self) -> Iterator[Step]:
        yield from (self.rest("PUT", "/v1/policy", {"module": POLICY}, keep="policy"), self.rest("GET", "/v1/policy"))
        yield self.chat("hello", max_tokens=101)
        yield from (
            self.rest("PUT", "/v1/policy", {"module": POLICY + "# again\n"}),
            self.rest("PUT", "/v1/policy", {"module": "x"}),
        )
        yield self.rest("POST", "/v1/policy/rollback", {"revision": self.made["policy"]["revision"]})
        yield from (
            self.rest("POST", "/v1/policy/rollback", {"revision": "9-000000000000"}),
            self.rest("GET", "/v1/policy"),
        )

    def decisions(self) -> Iterator[Step]:
        worker, use = {"type": "agent", "id": "worker"}, {"name": "use"}
        asked = {"subject": worker, "action": use, "resource": {"type": "model", "id": "probe-model"}}
        subjects = ("worker", "b-agent", self.foreign.agent)
        pairs = itertools.product(subjects, ("probe-model", "b-model", self.foreign.model))
        several = [{"subject": worker | {"id": who}, "resource": {"type": "model", "id": what}} for who, what in pairs]
        yield self.rest("POST", "/access/v1/evaluations", {"action": use, "evaluations": several})
        for wanted in ("subject", "resource", "action"):
            yield self.rest("POST", f"/access/v1/search/{wanted}", asked)
        yield self.rest("POST", "/access/v1/search/action", asked | {"subject": worker | {"id": self.foreign.agent}})

    def sign_in(self) -> Iterator[Step]:
        for name in ("oauth-authorization-server", "oauth-protected-resource/mcp/b-tools"):
            yield self.unknown("GET", f"/.well-known/{name}")
        for server in ("probe-tools", "b-tools", "absent"):
            yield self.mcp("tools/list", {}, server=server, key="nonsense")
        asked = {"response_type": "code", "client_id": "partywall-cli", "redirect_uri": "http://127.0.0.1:1/callback"}
        asked |= {"code_challenge_method": "S256", "code_challenge": "c" * 43, "state": "s"}
        for tenant in (self.foreign.tenant, self.a.tenant):
            yield self.unknown("GET", f"/v1/oauth/authorize?{urlencode(asked | {'tenant': tenant})}", keep="page")
            yield "POST", lambda tenant=tenant: self.agree(tenant)
        form = {"grant_type": "authorization_code", "client_id": "partywall-cli", "code": "c" * 43}
        form |= {"code_verifier": "v" * 43, "redirect_uri": "http://127.0.0.1:1/callback"}
        yield "POST", lambda: self.post("/v1/oauth/token", form)

    def unknown(self, method: str, path: str, *, keep: str = "") -> Step:
        """Ask as nobody."""

        def act() -> Answer:
            self.made[keep] = answer = self.a.wire.send(method, path, headers=HEADERS)
            return answer

        return method, act

    def agree(self, tenant: str) -> Answer:
        """Send the form of the page that was shown last, in the browser that it was shown in."""
        page: Answer = self.made["page"]
        hidden = dict(re.findall(r'name="(attempt|form)" value="([^"]+)"', page.body.decode()))
        cookie = page.headers["set-cookie"].partition(";")[0]
        return self.post("/v1/oauth/authorize", hidden | {"tenant": tenant, "choice": "continue"}, cookie=cookie)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        sent = HEADERS | {"content-type": "application/x-www-form-urlencoded"} | headers
        return self.a.wire.send("POST", path, raw=urlencode(form).encode(), headers=sent)

    def others(self) -> Iterator[Step]:
        tools = [{"name": "echo", "description": "Return the text.", "input_schema": {"type": "object"}}]
        yield self.rest("POST", "/v1/servers", {"slug": "second", "url": "http://127.0.0.1:9/mcp", "tools": tools})
        yield self.rest("GET", "/v1/servers")

        yield from (self.rest("GET", "/v1/tenants"), self.rest("POST", f"/v1/tenants/{self.foreign.tenant}/suspend"))
        yield from (self.rest("POST", "/v1/tenants", {"slug": "tenant-b"}), self.as_agent("GET", "/v1/nowhere"))
        yield self.rest("POST", "/v1/bootstrap", {"token": "x"})
        for path in ("leaves?limit=1000", "leaves?start=3&limit=2", "export", "checkpoint"):
            yield self.rest("GET", f"/v1/audit/{path}")
        yield from (
            self.rest("GET", f"/v1/audit/leaves?log={self.foreign.tenant}"),
            self.as_agent("GET", "/v1/audit/leaves"),
        )


class Neighbour:
    """B: the same names as A for everything, some of its own, and always at work."""

    def __init__(self, b: Side, operator: str) -> None:
        self.b, self._turn = b, 0
        model = {"slug": "b-model", "upstream": b.upstream.url, "upstream_model": "b"}
        b.wire.send("POST", f"/v1/tenants/{b.tenant}/models", credential=operator, body=model)
        tools = [{"name": "echo", "description": "B's own.", "input_schema": {"type": "object"}}]
        server = b.api("POST", "/v1/servers", {"slug": "b-tools", "url": f"{b.upstream.url}/mcp", "tools": tools})
        b.remember(b.key, "b-note", b.canary)
        listed = b.api("GET", "/v1/keys")["keys"]
        self.shelf, self.other = Shelf(b, operator, "shelf", local=True), Shelf(b, operator, "b-shelf", local=True)
        self.other.put("b-only", {"text": b.canary})
        self.strangers = Strangers(b.tenant, b.agent, listed[0]["id"], b.model, server["id"], self.shelf.id)

    def make_noise(self) -> None:
        b, turn = self.b, self._turn
        self._turn += 1
        assert b.chat(b.key, f"{b.canary} {turn}").status == 200
        assert b.call_tool(b.key, "echo", {"text": b.canary}).status == 200
        b.call_tool(b.key, "erase", {"text": b.canary})
        assert b.remember(b.key, ("note", "other", "b-note")[turn % 3], f"{b.canary} {turn}").status < 300
        vector = [1.0 if at == turn % 384 else 0.0 for at in range(384)]
        chunks = {"chunks": [f"{b.canary} mail {turn}"], "vectors": [vector], "metadata": {"b": "b", "n": 1}}
        assert self.shelf.put("abcd"[turn % 4], chunks).status == 200
        assert self.shelf.search(text=f"mail {b.canary}").status == 200
        if turn % 4 == 0:
            newcomer = b.subject("newcomer" if not turn else f"noise-{turn}", [])
            b.api("POST", "/v1/revocations", {"credential": newcomer})
            b.api("PUT", "/v1/policy", {"module": f"{POLICY}# {turn}\n"})
            b.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=b.admin)
            draft, key = {"slug": "draft", "module": f"{POLICY}# {b.canary}\n"}, {"idempotency-key": "shared"}
            assert b.wire.send("POST", "/v1/policies", credential=b.admin, body=draft, headers=key).status == 200


def run(*, noisy: bool) -> list[Seen]:
    """Run the script on a platform of its own."""
    recorder = Recorder()
    upstreams = [Upstream(), Upstream()]
    try:
        with Platform() as platform:
            wait_for_embeddings(platform)
            wire, operator = Wire(platform.base_url), platform.operator_key()
            neighbour = Neighbour(Side(wire, operator, upstreams[1], "tenant-b"), operator) if noisy else None
            a = Side(wire, operator, upstreams[0], "tenant-a")
            shelf = Shelf(a, operator, "shelf", local=True)
            for step, act in Script(a, neighbour.strangers if neighbour else nobody(), shelf).steps():
                if neighbour:
                    neighbour.make_noise()
                recorder.add(step, act())
            if neighbour:
                canary = neighbour.b.canary
                assert not any(canary in seen.body for seen in recorder.seen)
                assert canary.encode() not in upstreams[0].received()
    finally:
        for upstream in upstreams:
            upstream.close()
    return recorder.seen


@pytest.fixture(scope="module")
def alone() -> list[Seen]:
    return run(noisy=False)


def test_a_busy_neighbour_changes_no_byte_of_what_a_tenant_sees(alone: list[Seen]) -> None:
    assert {seen.status for seen in alone} >= {200, 400, 401, 403, 404, 409}, "the script walks on every kind of ground"
    found = differences(alone, run(noisy=True))
    assert not found, "\n\n".join(found)


def test_the_comparison_notices_one_planted_byte_one_header_one_status_and_one_swap(alone: list[Seen]) -> None:
    at = next(index for index, seen in enumerate(alone) if seen.body.count("<id") > 1)
    seen = alone[at]
    first, second = re.findall(r"<id [a-z]+#\d+>", seen.body)[:2]
    planted = [
        msgspec.structs.replace(seen, body=seen.body + " "),
        msgspec.structs.replace(seen, body=seen.body.replace(first, second, 1)),
        msgspec.structs.replace(seen, status=seen.status + 1),
        msgspec.structs.replace(seen, headers=(*seen.headers, ("x-neighbours", "1"))),
    ]
    for changed in planted:
        assert len(differences(alone, [*alone[:at], changed, *alone[at + 1 :]])) == 1
    assert differences(alone, alone[:-1])
    assert differences(alone, list(alone)) == []


def test_the_masks_leave_a_neighbours_slug_a_count_and_a_value_visible() -> None:
    for text in ('{"slug":"tenant-b"}', '{"size":41}', '{"number":3}', '"12-', "CANARY-tenant-b", '"emitted_bytes":17'):
        assert Recorder().mask(text) == text
