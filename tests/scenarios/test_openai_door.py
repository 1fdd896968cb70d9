"""OpenAI's own SDK, unmodified, against the whole platform; the model behind the wall says what each test scripts."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.target import must

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Uppsala"}'}}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
ASK: Any = [{"role": "user", "content": "hello"}]


class Model:
    """A model that says `message`, or in a stream each of `deltas`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {"role": "assistant", "content": "hello back"}
        self.deltas: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.thinks = threading.Event()
        self.thinks.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"model": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def says(self, *pieces: str) -> None:
        """Script a text, whole and in these pieces."""
        self.message = {"role": "assistant", "content": "".join(pieces)}
        self.deltas = [{"role": "assistant", "content": piece} for piece in pieces]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    model: Model

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.model.asked.append(asked)
        self.model.thinks.wait(20)
        called = "tool_calls" in self.model.message
        head = {"id": "chatcmpl-x", "created": 1, "model": "upstream-name"}
        finish = "tool_calls" if called else "stop"
        self.send_response(200)
        if not asked.get("stream"):
            choice = {"index": 0, "finish_reason": finish, "message": self.model.message}
            body = json.dumps(head | {"object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        choices: list[Any] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in self.model.deltas]
        choices.append([{"index": 0, "delta": {}, "finish_reason": finish}])
        chunks: list[dict[str, Any]] = [{"choices": choice} for choice in choices]
        if (asked.get("stream_options") or {}).get("include_usage"):
            chunks.append({"choices": [], "usage": USAGE})
        for chunk in chunks:
            event = head | {"object": "chat.completion.chunk"} | chunk
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
            self.wfile.flush()
        self.wfile.write(b"data: [DONE]\n\n")


class Scene:
    """One tenant with an agent whose grants reach `scripted` but not `withheld`; and its neighbour."""

    def __init__(self, platform: Platform, model: Model) -> None:
        self.platform, self.model = platform, model
        self.a, self.b = platform.two_tenants()
        for slug in ("scripted", "withheld"):
            body = {"slug": slug, "upstream": model.url, "upstream_model": "upstream-name"}
            path = f"/v1/tenants/{self.a.tenant}/models"
            must(self.a.wire.send("POST", path, credential=platform.operator_key(), body=body))
        agent = self.a.subject("speaker", [{"action": "model.request", "resource": "model/scripted"}])
        self.key = self.a.new_key(agent)
        self.client = self.as_(self.key)

    def as_(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.platform.base_url}/v1", api_key=key, max_retries=0, timeout=20)

    def ask(self, **extra: Any) -> Any:
        return self.client.chat.completions.create(**({"model": "scripted", "messages": ASK} | extra))


@pytest.fixture(scope="module")
def scene(platform: Platform) -> Iterator[Scene]:
    model = Model()
    made = Scene(platform, model)
    with made.client:
        yield made
    model.close()


@pytest.fixture(autouse=True)
def fresh_script(scene: Scene) -> None:
    scene.model.says("hello", " back")
    scene.model.asked.clear()


def texts(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_completion(scene: Scene) -> None:
    reply = scene.ask(max_tokens=5, temperature=0.5, seed=3, user="somebody", metadata={"a": "b"}, store=True)
    assert reply.object == "chat.completion"
    assert reply.model == "scripted", "not the upstream's own name"
    assert reply.choices[0].message.content == "hello back"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.choices[0].message.tool_calls is None
    assert reply.usage.model_dump(exclude_none=True) == USAGE
    [asked] = scene.model.asked
    assert asked["messages"] == ASK
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (5, 0.5, 3)
    assert not {"user", "metadata", "store"} & asked.keys(), "what only OpenAI's platform means went upstream"


async def test_a_completion_with_the_asynchronous_client(scene: Scene) -> None:
    base = f"{scene.platform.base_url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=scene.key, max_retries=0) as client:
        reply = await client.chat.completions.create(model="scripted", messages=ASK)
        assert reply.choices[0].message.content == "hello back"
        stream = await client.chat.completions.create(model="scripted", messages=ASK, stream=True)
        assert texts([chunk async for chunk in stream]) == "hello back"


def test_a_stream_has_a_usage_chunk_only_when_asked(scene: Scene) -> None:
    scene.model.says("one ", "two ", "three")
    chunks = list(scene.ask(stream=True))
    assert texts(chunks) == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {"scripted"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]
    assert all(chunk.usage is None for chunk in chunks)

    chunks = list(scene.ask(stream=True, stream_options={"include_usage": True}))
    assert texts(chunks) == "one two three"
    *before, last = chunks
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.model_dump(exclude_none=True) == USAGE
    assert all(chunk.usage is None and chunk.choices for chunk in before)


def test_only_granted_models_are_listed_and_retrieved(scene: Scene) -> None:
    assert [model.id for model in scene.client.models.list()] == ["scripted"]
    model = scene.client.models.retrieve("scripted")
    assert (model.id, model.object) == ("scripted", "model")
    for name in ("withheld", "absent", scene.b.model):
        with pytest.raises(openai.NotFoundError):
            scene.client.models.retrieve(name)


def test_tool_calls_pass_through(scene: Scene) -> None:
    scene.model.message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    scene.model.deltas = [
        {"role": "assistant", "tool_calls": [{"index": 0} | CALL | {"function": {"name": "weather", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Uppsala"}'}}]},
    ]
    reply = scene.ask(tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False)
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.content is None
    [call] = reply.choices[0].message.tool_calls
    assert call.model_dump(exclude_none=True) == CALL
    [sent] = scene.model.asked[0]["tools"]
    assert sent["function"]["name"] == "weather"
    assert sent["function"]["parameters"] == WEATHER["function"]["parameters"]

    with scene.client.chat.completions.stream(model="scripted", messages=ASK, tools=[WEATHER]) as stream:
        final = stream.get_final_completion()
    [streamed] = final.choices[0].message.tool_calls or []
    assert (streamed.id, streamed.function.name) == ("call_1", "weather")
    assert json.loads(streamed.function.arguments) == {"city": "Uppsala"}
    assert final.choices[0].finish_reason == "tool_calls"

    scene.model.says("it rains")
    turn = [*ASK, reply.choices[0].message, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    assert scene.ask(messages=turn, tools=[WEATHER]).choices[0].message.content == "it rains"
    assert [message["role"] for message in scene.model.asked[-1]["messages"]] == ["user", "assistant", "tool"]


@pytest.mark.parametrize(
    "key", ["", "nonsense", "sk-proj-abcdefghijklmnop", "pw_aaaaaaaaaaaaaaaaaaaaaaaaaa_" + "A" * 43]
)
def test_a_bad_key_is_an_authentication_error(scene: Scene, key: str) -> None:
    with scene.as_(key or "x") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model="scripted", messages=ASK)
    assert caught.value.code == "unauthenticated"
    assert caught.value.type == "authentication_error"
    assert scene.model.asked == []


def test_a_model_without_a_grant_is_a_permission_error(scene: Scene) -> None:
    with pytest.raises(openai.PermissionDeniedError) as caught:
        scene.ask(model="withheld")
    assert caught.value.type == "permission_error"
    with pytest.raises(openai.PermissionDeniedError):
        scene.ask(model="withheld", stream=True)
    assert scene.model.asked == []


def test_a_foreign_model_is_answered_like_none_at_all(scene: Scene) -> None:
    def refusal(name: str) -> tuple[int, Any]:
        with pytest.raises(openai.NotFoundError) as caught:
            scene.ask(model=name)
        return caught.value.status_code, caught.value.body

    assert refusal(scene.b.model) == refusal("mdl_" + "a" * 26) == refusal("absent")


@pytest.mark.parametrize(
    "extra",
    [
        {"extra_body": {"id_slot": 3}},
        {"extra_body": {"cache_prompt": True}},
        {"extra_body": {"base_url": "http://127.0.0.1:1"}},
        {"extra_body": {"partywall_tenant": "x"}},
        {"n": 2},
        {"temperature": 3.5},
        {"messages": []},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
    ],
    ids=lambda extra: json.dumps(extra)[:40],
)
def test_what_may_not_cross_is_a_bad_request(scene: Scene, extra: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        scene.ask(**extra)
    assert caught.value.code == "bad-request"
    assert caught.value.type == "invalid_request_error"
    assert scene.model.asked == []


def test_a_body_that_is_too_large_is_refused_as_such(scene: Scene) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        scene.ask(messages=[{"role": "user", "content": "x" * 900_000}] * 2)
    assert caught.value.status_code == 413
    assert caught.value.code == "body-too-large"
    assert scene.model.asked == []


def test_credentials_in_a_reply_are_redacted_whole_and_streamed(scene: Scene) -> None:
    key = scene.key
    scene.model.says("the key is ", key[:2], key[2:9], key[9:40], key[40:], " and no more")
    told = "the key is [redacted:credential] and no more"
    assert scene.ask().choices[0].message.content == told
    assert texts(list(scene.ask(stream=True))) == told

    scene.model.message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**CALL, "function": {"name": "weather", "arguments": json.dumps({"city": key})}}],
    }
    assert key not in scene.ask(tools=[WEATHER]).model_dump_json()
    pieces = [json.dumps({"city": key})[at : at + 11] for at in range(0, 100, 11)]
    scene.model.deltas = [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces]
    scene.model.deltas[0]["tool_calls"][0] |= {"id": "call_1", "type": "function"}
    streamed = list(scene.ask(stream=True, tools=[WEATHER]))
    assert key[30:] not in "".join(
        call.function.arguments or ""
        for chunk in streamed
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
        if call.function
    )


def test_a_caller_that_hangs_up_ends_its_unstreamed_chat(scene: Scene):
    """Nobody waits for it any more: the upstream is let go, and the record says cancelled."""
    asked = len(scene.model.asked)
    scene.model.thinks.clear()
    body = {"model": "scripted", "messages": ASK}
    connection = scene.a.wire.open("POST", "/v1/chat/completions", credential=scene.key, body=body)
    until(lambda: len(scene.model.asked) > asked)
    connection.close()
    try:
        until(lambda: outcomes(scene)[-1:] == ["cancelled"])
    finally:
        scene.model.thinks.set()


def outcomes(scene: Scene) -> list[str]:
    """Return how the tenant's actions ended, in order."""
    page = must(scene.a.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=scene.a.admin))
    said = [leaf["activity"] for leaf in page["leaves"]]
    return [one["result"] for one in said if one["action"] == "model.request" and one["phase"] == "outcome"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
