"""What of a model's answer crosses the wall, what of a request reaches it, and streams that end too soon."""

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager

import pytest

from partywall.decision.action import Action, ActionType
from partywall.decision.facts import Grant, ModelFacts, State, SubjectFacts, TenantFacts
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call
from partywall.decision.principal import Kind, Principal
from partywall.errors import BadReply, Bug, LimitExceeded, Malformed, NotFound, PartywallError, ProviderRefused
from partywall.providers.models.provider import ModelProvider
from partywall.wire.ids import format_id
from partywall.wire.openai import parse_chat

TENANT, AGENT, MODEL, OTHER, ACT = (
    format_id(prefix, bytes([n]) * 16) for n, prefix in enumerate(("ten", "agt", "mdl", "mdl", "act"))
)
NOW = 1_000.0
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
REPLY = {
    "id": "chatcmpl-upstream",
    "object": "other",
    "created": 5,
    "model": "/models/secret-path.gguf",
    "system_fingerprint": "b1-abc",
    "timings": {"cache_n": 99, "prompt_ms": 1.5},
    "service_tier": "x",
    "choices": [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hello", "reasoning_content": "hidden", "refusal": None},
        }
    ],
    "usage": {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 6},
    },
}
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def facts_of(url, **model):
    grant = Grant(action=ActionType.MODEL_REQUEST, resource=f"model/{MODEL}")
    gone = Grant(action=ActionType.MODEL_REQUEST, resource=f"model/{OTHER}", expires_at_s=NOW)
    models = {
        MODEL: ModelFacts(id=MODEL, slug="m", upstream=url, upstream_model="real-name", **model),
        OTHER: ModelFacts(id=OTHER, slug="other", upstream=url, upstream_model="x"),
    }
    return TenantFacts(
        id=TENANT,
        slug="acme",
        organisation="org",
        region="local",
        state=State.ACTIVE,
        revision=1,
        subjects={AGENT: SubjectFacts(id=AGENT, slug="scout", kind=Kind.AGENT, grants=(grant, gone))},
        models=models,
    )


class Upstream:
    """Answers each request with one script: a whole HTTP response in pieces, then hangs up."""

    def __init__(self, *pieces):
        self.pieces, self.asked, self.ended = pieces, [], asyncio.Event()

    async def answer(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            self.asked.append(await reader.readexactly(length))
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.001)
            if self.pieces[-1] == b"":
                await reader.read()
        except ConnectionError:
            pass
        finally:
            self.ended.set()
            writer.close()


class Scene:
    def __init__(self, upstream, url, **model):
        self.upstream, self.facts = upstream, facts_of(url, **model)
        self.provider = ModelProvider(region="local", clock=lambda: NOW, reply_limit_bytes=4_000)

    def prepare(self, body=CHAT, name="m", action=ActionType.MODEL_REQUEST):
        call = Call(action=action, kind="model", name=name, payload=body, trace_id="0" * 32)
        return self.provider.prepare(call, self.facts)

    def permit(self, prepared, action=ActionType.MODEL_REQUEST):
        principal = Principal(
            kind=Kind.AGENT, id=AGENT, region="local", tenant=TENANT, credential="key_x", expires_at_s=NOW + 9
        )
        claims = PermitClaims(
            id="prm_x",
            act=ACT,
            tenant=TENANT,
            principal=principal,
            action=Action(action, prepared.resource),
            payload_sha256=hashlib.sha256(prepared.payload).digest(),
            policy_revision="base",
            trace_id="0" * 32,
            issued_at_s=NOW,
            expires_at_s=NOW + 9,
        )
        return Permit(claims, prepared.note)

    async def ask(self, **extra):
        prepared = self.prepare(CHAT | extra)
        return await self.provider.perform(self.permit(prepared), prepared.payload, None)

    async def stream(self, **extra):
        """Return the deltas, and what was raised at the end."""
        effect = await self.ask(stream=True, **extra)
        deltas = []
        try:
            async for delta in effect.body:
                deltas.append(delta)  # noqa: PERF401  # what came before the failure counts
        except PartywallError as error:
            return effect, deltas, error
        return effect, deltas, None


@asynccontextmanager
async def scene(*pieces, **model):
    upstream = Upstream(*pieces)
    listening = await asyncio.start_server(upstream.answer, "127.0.0.1", 0)
    made = Scene(upstream, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", **model)
    try:
        yield made
    finally:
        await made.provider.close()
        listening.close()
        await asyncio.sleep(0.01)


def whole(body, status=200):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(data),
        data,
    )


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def event(**chunk):
    return (
        b"data: "
        + json.dumps({"object": "chat.completion.chunk", "timings": {"cache_n": 1}} | chunk).encode()
        + b"\n\n"
    )


def says(text, finish=None):
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


# --- the request ------------------------------------------------------------------------------------------------------


async def test_the_bytes_upstream_are_ours_and_exactly_those_prepared():
    async with scene(whole(REPLY)) as s:
        prepared = s.prepare(CHAT | {"temperature": 0.5, "user": "u", "metadata": {"a": 1}, "cache_salt": "mine"})
        await s.provider.perform(s.permit(prepared), prepared.payload, None)
        assert s.upstream.asked == [prepared.payload]
        assert json.loads(prepared.payload) == {
            "cache_prompt": False,
            "messages": CHAT["messages"],
            "model": "real-name",
            "stream": False,
            "temperature": 0.5,
        }


async def test_a_hosted_model_is_told_nothing_of_llama():
    async with scene(whole(REPLY), hosted=True) as s:
        prepared = s.prepare()
        assert prepared.hosted
        assert "cache_prompt" not in json.loads(prepared.payload)


async def test_a_permit_opens_once_and_for_its_own_bytes():
    async with scene(whole(REPLY)) as s:
        prepared = s.prepare()
        permit = s.permit(prepared)
        with pytest.raises(Bug):
            await s.provider.perform(permit, prepared.payload + b" ", None)
        with pytest.raises(Bug):
            await s.provider.perform(permit, prepared.payload, None)
        assert s.upstream.asked == []


async def test_what_is_not_in_this_cell_cannot_be_named():
    async with scene(b"") as s:
        for name in ("absent", "real-name", "", "mdl_" + "z" * 26):
            with pytest.raises(NotFound):
                s.prepare(name=name)
        assert s.prepare(name=MODEL).resource == s.prepare(name="m").resource


async def test_a_bad_request_says_which_model_it_was_about():
    async with scene(b"") as s:
        with pytest.raises(Malformed) as caught:
            s.prepare({"messages": []})
        assert caught.value.about == s.prepare().resource


async def test_the_list_is_of_what_is_granted_now():
    async with scene(b"") as s:
        prepared = s.prepare(name="*", action=ActionType.MODEL_LIST)
        effect = await s.provider.perform(s.permit(prepared, ActionType.MODEL_LIST), prepared.payload, None)
        assert [model["id"] for model in json.loads(effect.body)["data"]] == ["m"]


# --- the whole reply --------------------------------------------------------------------------------------------------


async def test_a_reply_is_rebuilt_from_its_allowed_fields():
    async with scene(whole(REPLY)) as s:
        effect = await s.ask()
        assert json.loads(effect.body) == {
            "id": "chatcmpl-" + ACT.removeprefix("act_"),
            "object": "chat.completion",
            "created": 1_000,
            "model": "m",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}},
            ],
            "usage": USAGE,
        }
        assert effect.usage == USAGE
        assert effect.label.tenant == TENANT


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b'{"choices":3}', b'{"choices":' + b"[" * 3_000, b"<html>"]
)
async def test_what_is_no_completion_is_a_bad_reply(body):
    async with scene(whole(body)) as s:
        with pytest.raises(BadReply):
            await s.ask()


@pytest.mark.parametrize("status", [201, 301, 400, 401, 404, 429, 500, 503])
async def test_a_refusal_tells_nothing_of_the_upstreams_words(status):
    for stream in (False, True):
        async with scene(whole({"error": "secret words"}, status)) as s:
            with pytest.raises(ProviderRefused) as caught:
                await s.ask(stream=stream)
            assert "secret" not in caught.value.public + caught.value.private


async def test_a_reply_has_a_limit():
    async with scene(whole(REPLY | {"x": "y" * 5_000})) as s:
        with pytest.raises((BadReply, LimitExceeded)):
            await s.ask()


# --- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_is_rebuilt_too():
    last = event(choices=[], usage=REPLY["usage"])
    async with scene(HEAD, says("hel"), says("lo", "stop"), last, b"data: [DONE]\n\n") as s:
        effect, deltas, error = await s.stream(stream_options={"include_usage": True})
        assert error is None
        assert [delta.text for delta in deltas if delta.text] == ["hel", "lo"]
        assert [delta.event for delta in deltas if delta.event] == [
            {"finish_reason": "stop"},
            {"usage": USAGE},
            {"done": True},
        ]
        assert effect.usage == USAGE
        sent = b"".join(map(effect.render, deltas))
        assert b"timings" not in sent
        assert b"cached" not in sent
        assert sent.endswith(b"data: [DONE]\n\n")
        assert json.loads(s.upstream.asked[0])["stream_options"] == {"include_usage": True}


async def test_usage_is_recorded_even_when_the_caller_did_not_ask():
    async with scene(HEAD, says("x", "stop"), event(choices=[], usage=REPLY["usage"]), b"data: [DONE]\n\n") as s:
        effect, deltas, _error = await s.stream()
        assert effect.usage == USAGE
        assert not any("usage" in (delta.event or {}) for delta in deltas)


async def test_a_stream_that_ends_early_is_not_complete():
    async with scene(HEAD, says("hel")) as s:
        _effect, deltas, error = await s.stream()
        assert [delta.text for delta in deltas] == ["hel"]
        assert (type(error), error.code) == (BadReply, "upstream-ended-early")


@pytest.mark.parametrize("end", [says("", "length"), b"data: [DONE]\n\n"])
async def test_either_end_mark_will_do(end):
    async with scene(HEAD, says("hel"), end) as s:
        _effect, deltas, error = await s.stream()
        assert error is None
        assert deltas[-1].event == {"done": True}


@pytest.mark.parametrize(
    "garbage", [b"data: {\n\n", b"data: \xff\n\n", b"data: []\n\n", b"data: " + b"[" * 3_000 + b"\n\n"]
)
async def test_garbage_in_a_stream_is_a_bad_reply(garbage):
    async with scene(HEAD, says("hel"), garbage) as s:
        _effect, deltas, error = await s.stream()
        assert isinstance(error, BadReply)
        assert len(deltas) == 1


async def test_a_stream_has_a_limit():
    async with scene(HEAD, *[says("x" * 500)] * 20) as s:
        _effect, _deltas, error = await s.stream()
        assert error.code == "reply-too-large"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_that_is_closed_lets_the_upstream_go(begun):
    async with scene(HEAD, says("hel"), b"") as s:
        effect = await s.ask(stream=True)
        if begun:
            assert (await anext(effect.body)).text == "hel"
        await effect.body.aclose()
        await asyncio.wait_for(s.upstream.ended.wait(), 1)


async def test_tool_calls_come_whole():
    pieces = [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "pay", "arguments": '{"a'}},
        {"index": 0, "function": {"arguments": '":1}'}},
    ]
    chunks = [event(choices=[{"index": 0, "delta": {"tool_calls": [piece]}}]) for piece in pieces]
    async with scene(HEAD, *chunks, b"data: [DONE]\n\n") as s:
        _effect, deltas, _error = await s.stream()
        function = {"name": "pay", "arguments": '{"a":1}'}
        assert deltas[0].event == {
            "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]
        }


def test_a_parsed_request_needs_no_second_parse():
    assert parse_chat(CHAT).messages[0].content == "hi"
