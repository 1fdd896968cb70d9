"""`/v1/embeddings` with the official client, the deployment's own model, and an OpenAI-style upstream."""

from __future__ import annotations

import base64
import itertools
import json
import math
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import openai
import pytest
from openai import OpenAI
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.shelf import Shelf
from partywall.assurance.target import must

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def shelf(platform: Platform) -> Shelf:
    wait_for_embeddings(platform)
    side, _ = platform.two_tenants()
    return Shelf(side, platform.operator_key(), "embeds", local=True)


def wait_for_embeddings(platform: Platform) -> None:
    deadline = time.monotonic() + 60
    while platform.process("embeddings").state != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def client(platform: Platform, key: str) -> OpenAI:
    return OpenAI(base_url=f"{platform.base_url}/v1", api_key=key, max_retries=0)


def cosine(one: list[float], two: list[float]) -> float:
    return sum(x * y for x, y in zip(one, two, strict=True))


def test_the_official_client_gets_vectors_in_either_encoding(platform: Platform, shelf: Shelf) -> None:
    with client(platform, shelf.key) as openai_:
        texts = ["how do I reset my password", "steps to change a forgotten secret", "the cell's powerhouse"]
        got = openai_.embeddings.create(model=shelf.model, input=texts)  # base64 on the wire
        plain = openai_.embeddings.create(model=shelf.model, input=texts, encoding_format="float", dimensions=384)
        one = openai_.embeddings.create(model=shelf.model, input=texts[0], encoding_format="float")
    assert got.model == shelf.model
    assert [each.index for each in got.data] == [0, 1, 2]
    assert [each.embedding for each in got.data] == [each.embedding for each in plain.data]
    assert one.data[0].embedding == plain.data[0].embedding  # company changes no bit of a vector
    assert all(len(each.embedding) == 384 for each in plain.data)
    assert all(math.isclose(cosine(each.embedding, each.embedding), 1, rel_tol=1e-5) for each in plain.data)
    near, far = (cosine(plain.data[0].embedding, plain.data[at].embedding) for at in (1, 2))
    assert near > far + 0.2
    assert got.usage.prompt_tokens == got.usage.total_tokens > 15


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"input": [1, 2, 3]}, "tokens-not-supported"),
        ({"input": [[1, 2], [3]]}, "tokens-not-supported"),
        ({"input": "x", "dimensions": 256}, "bad-dimensions"),
        ({"input": ""}, "bad-request"),
        ({"input": []}, "bad-request"),
        ({"input": ["x", 1]}, "bad-request"),
        ({"input": ["x"] * 1025}, "bad-request"),
        ({"input": "x", "encoding_format": "int8"}, "bad-request"),
        ({"input": "x", "api_base": "http://127.0.0.1"}, "bad-request"),
        ({"input": "word " * 600}, "too-many-tokens"),
        ({"input": ["short", "x " * 20_000]}, "bad-request"),
    ],
)
def test_what_is_no_text_or_too_much_of_it_is_refused(shelf: Shelf, body: dict[str, Any], code: str) -> None:
    answer = shelf.side.wire.send("POST", "/v1/embeddings", credential=shelf.key, body={"model": shelf.model} | body)
    assert answer.status == 400, answer.body
    assert answer.json()["error"]["code"] == code


def test_embedding_needs_a_grant_of_it_on_that_model(platform: Platform, shelf: Shelf) -> None:
    side = shelf.side
    for key, error in ((side.key, openai.PermissionDeniedError), (side.admin, openai.PermissionDeniedError)):
        with client(platform, key) as openai_, pytest.raises(error):
            openai_.embeddings.create(model=shelf.model, input="x")
    with client(platform, shelf.key) as openai_:
        with pytest.raises(openai.NotFoundError):
            openai_.embeddings.create(model="absent", input="x")
        assert [model.id for model in openai_.models.list()] == [shelf.model]
    chats = side.subject("chats", [{"action": "model.request", "resource": f"model/{shelf.model}"}])
    with (
        client(platform, side.new_key(chats)) as openai_,
        pytest.raises(openai.BadRequestError, match="makes embeddings"),
    ):
        openai_.chat.completions.create(model=shelf.model, messages=[{"role": "user", "content": "x"}])
    chat = side.wire.send("POST", "/v1/embeddings", credential=side.key, body={"model": "probe-model", "input": "x"})
    assert chat.status == 403


def test_every_use_is_on_record_without_the_text(shelf: Shelf) -> None:
    text = "a sentence that nobody else says"
    sent = {"model": shelf.model, "input": [text, "b"]}
    assert shelf.side.wire.send("POST", "/v1/embeddings", credential=shelf.key, body=sent).status == 200
    leaves = shelf.side.api("GET", "/v1/audit/leaves?limit=1000")["leaves"]
    mine = [leaf["activity"] for leaf in leaves if '"embed"' in json.dumps(leaf) and '"inputs": 2' in json.dumps(leaf)]
    assert len(mine) >= 2  # intent and outcome
    assert text not in json.dumps(leaves)


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI-style server of embeddings; `reply` is what it answers."""

    seen: ClassVar[list[tuple[str, dict[str, str], Any]]] = []
    reply: Any = None

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append((self.path, dict(self.headers), body))
        data = json.dumps(type(self).reply(body)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[tuple[str, type[Upstream]]]:
    class Fresh(Upstream):
        seen: ClassVar[list[tuple[str, dict[str, str], Any]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Fresh
    server.shutdown()
    thread.join()
    server.server_close()


def hosted(platform: Platform, shelf: Shelf, url: str, **more: Any) -> tuple[str, str]:
    """A model of 3 dimensions at this address, by name, and a key that may embed with it."""
    side, name = shelf.side, f"far-{next(NUMBERS)}"
    body = {"slug": name, "upstream": url, "upstream_model": "far-1", "purpose": "embeddings", "dimensions": 3}
    path = f"/v1/tenants/{side.tenant}/models"
    must(side.wire.send("POST", path, credential=platform.operator_key(), body=body | more))
    return name, side.new_key(side.subject(name, [{"action": "embed", "resource": f"model/{name}"}]))


def test_any_openai_style_upstream_works_through_the_same_door(
    platform: Platform, shelf: Shelf, upstream: tuple[str, type[Upstream]]
) -> None:
    url, handler = upstream
    vectors = [[0.5, -1.0, 2.0], [0.0, 1.0, 0.25]]

    def reply(body: Any) -> Any:
        packed = base64.b64encode(struct.pack("<3f", *vectors[1])).decode()
        data = [{"index": 1, "embedding": packed}, {"index": 0, "embedding": vectors[0], "cached": True}]
        return {"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}, "system_fingerprint": "x"}

    handler.reply = staticmethod(reply)
    name, key = hosted(platform, shelf, url, hosted=True)
    with client(platform, key) as openai_:
        got = openai_.embeddings.create(model=name, input=["a", "b"], encoding_format="float", user="somebody")
    assert [each.embedding for each in got.data] == vectors
    assert got.usage.prompt_tokens == 7
    assert "cached" not in got.to_json()
    assert "fingerprint" not in got.to_json()
    [(path, headers, body)] = handler.seen
    assert (path, body) == ("/v1/embeddings", {"encoding_format": "float", "input": ["a", "b"], "model": "far-1"})
    assert not {"authorization", "x-api-key"} & {name.lower() for name in headers}


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1.0, 2.0]}],
        [{"index": 1, "embedding": [1.0, 2.0, 3.0]}],
        [{"index": 0, "embedding": "!!!"}],
        [{"index": 0, "embedding": [1e300, 0.0, 0.0]}],
        [{"index": 0, "embedding": {"x": 1}}],
        "x",
    ],
)
def test_an_upstream_that_answers_something_else_is_a_bad_reply(
    platform: Platform, shelf: Shelf, upstream: tuple[str, type[Upstream]], data: Any
) -> None:
    url, handler = upstream
    handler.reply = staticmethod(lambda _body: {"data": data})
    name, key = hosted(platform, shelf, url)
    answer = shelf.side.wire.send("POST", "/v1/embeddings", credential=key, body={"model": name, "input": "a"})
    assert (answer.status, answer.json()["error"]["code"]) == (502, "bad-reply")


@pytest.mark.parametrize(
    "body",
    [
        {"purpose": "embeddings"},
        {"dimensions": 3},
        {"upstream": "local:minilm"},
        {"upstream": "local:minilm", "purpose": "embeddings", "dimensions": 3},
        {"upstream": "local:minilm", "purpose": "embeddings", "dimensions": 384, "hosted": True},
        {"upstream": "local:other", "purpose": "embeddings", "dimensions": 384},
        {"purpose": "images", "dimensions": 3},
    ],
)
def test_a_model_says_what_it_is_for_and_how_long_its_vectors_are(
    platform: Platform, shelf: Shelf, body: dict[str, Any]
) -> None:
    side = shelf.side
    given = {"slug": "bad", "upstream": "http://127.0.0.1:9", "upstream_model": "x"} | body
    path = f"/v1/tenants/{side.tenant}/models"
    assert side.wire.send("POST", path, credential=platform.operator_key(), body=given).status == 400


def test_a_model_whose_vectors_a_collection_has_neither_goes_nor_moves(platform: Platform, shelf: Shelf) -> None:
    operator, side = platform.operator_key(), shelf.side
    models = side.wire.send("GET", f"/v1/tenants/{side.tenant}/models", credential=operator).json()["models"]
    [model] = [one for one in models if one["slug"] == shelf.model]
    path = f"/v1/tenants/{side.tenant}/models/{model['id']}"
    for method, body in (("DELETE", None), ("PATCH", {"upstream_model": "other"})):
        answer = side.wire.send(method, path, credential=operator, body=body)
        assert (answer.status, answer.json()["code"]) == (409, "model-in-use")
    assert side.wire.send("PATCH", path, credential=operator, body={"upstream": "http://127.0.0.1"}).status == 400
