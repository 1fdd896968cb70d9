"""Whatever is asked of a collection or of the embedding process: a value, or a fault of the caller's."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.credentials import new

from partywall.decision.action import ActionType
from partywall.decision.facts import CollectionFacts, ModelFacts, State, TenantFacts
from partywall.decision.labels import Classification
from partywall.decision.ports import Call
from partywall.errors import CallerFault, Malformed
from partywall.providers.collections.provider import CollectionProvider
from partywall.providers.embeddings.encoder import spans
from partywall.providers.embeddings.server import Embeddings
from partywall.providers.models.embed import EmbedProvider
from partywall.wire import collections as wire
from partywall.wire.embeddings import Embed, Split
from partywall.wire.openai_embeddings import parse_embeddings

quick = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MODEL = ModelFacts(
    id=new("mdl"), slug="m", upstream="local:minilm", upstream_model="m", purpose="embeddings", dimensions=3
)
DOCS = CollectionFacts(id=new("col"), slug="docs", model=MODEL.id, dimensions=3, classification=Classification.INTERNAL)
FACTS = TenantFacts(
    id=new("ten"), slug="t", organisation=new("org"), region="local", state=State.ACTIVE, revision=1,
    models={MODEL.id: MODEL}, collections={DOCS.id: DOCS},
)  # fmt: skip
PROVIDER = CollectionProvider(None, None, clock=lambda: 0.0, tenant_limit_bytes=0)  # type: ignore[arg-type]
EMBEDS = EmbedProvider(None, region="local", clock=lambda: 0.0)  # type: ignore[arg-type]

numbers = st.one_of(st.floats(), st.integers(), st.floats(-2, 2), st.just(0.0))
names = st.one_of(st.sampled_from(["tenant", "Trust", "label", "a", "a.b", "x" * 70, "", "n 1"]), st.text(max_size=5))
values = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20), st.lists(st.integers(), max_size=2))
vectors = st.one_of(st.lists(numbers, min_size=3, max_size=3), st.lists(numbers, max_size=4))
documents = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(st.sampled_from(["a", "b", "~", "", "a/b", "x" * 200]), st.integers()),
        "text": st.one_of(st.text(max_size=40), st.none(), st.integers()),
        "chunks": st.lists(st.one_of(st.text(max_size=10), st.none()), max_size=3),
        "vectors": st.lists(vectors, max_size=3),
        "metadata": st.dictionaries(names, values, max_size=3),
        "classification": st.integers(-1, 4),
        "trust": st.just("trusted"),
        "tenant": st.just(FACTS.id),
    },
)
payloads = st.one_of(
    st.fixed_dictionaries({"operation": st.just("put"), "documents": st.lists(documents, max_size=3)}),
    st.fixed_dictionaries(
        {"operation": st.just("search")},
        optional={
            "text": st.one_of(st.text(max_size=20), st.none()),
            "vector": vectors,
            "limit": st.integers(-1, 60),
            "filter": st.dictionaries(names, values, max_size=3),
            "tenant": st.just("x"),
        },
    ),
    st.fixed_dictionaries(
        {"operation": st.sampled_from(["get", "delete", "list", "drop", 1])},
        optional={"document": names, "cursor": names, "limit": numbers},
    ),
    st.recursive(values, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6),
)


def members(value: Any) -> set[str]:
    """The names of all members of all objects in a value."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return set().union(value if isinstance(value, dict) else (), *map(members, inner))


def asked(action: ActionType, kind: str, name: str, payload: Any) -> Call:
    return Call(action=action, kind=kind, name=name, payload=payload, trace_id="0" * 32)


@quick
@given(payloads)
@example({"operation": "search", "vector": [1e308, 1e308, 1e308]})
@example({"operation": "search", "vector": [5e-324, 0.0, 0.0]})
@example({"operation": "search", "text": "\ud800"})
@example({"operation": "put", "documents": [{"id": "a", "text": "\ud800"}]})
@example({"operation": "put", "documents": [{"id": "a", "chunks": ["x"], "vectors": [[math.nan, 1, 1]]}]})
@example({"operation": "search", "vector": [1, 1, 1], "filter": {"a": math.inf}})
def test_any_payload_is_exact_bytes_of_this_collection_or_a_fault(payload: Any) -> None:
    action = ActionType.INGEST
    if isinstance(payload, dict) and payload.get("operation") in {"search", "get", "list"}:
        action = ActionType.RETRIEVAL_SEARCH
    try:
        prepared = PROVIDER.prepare(asked(action, "collection", "docs", payload), FACTS)
    except CallerFault as error:
        fault = error
    else:
        fault = None
    if fault is not None:
        assert fault.about is not None  # the wall says first whether the caller may know of it
        return
    assert prepared.resource.id == DOCS.id
    text = prepared.payload.decode()
    again = json.loads(text)
    assert not {"tenant", "trust", "label"} & {name.lower() for name in members(again)}
    operation = wire.parse_operation(again)
    if isinstance(operation, wire.Search) and operation.vector is not None:
        assert math.isclose(math.fsum(number * number for number in operation.vector), 1, rel_tol=1e-9)


@quick
@given(st.one_of(payloads, st.fixed_dictionaries({"model": st.just("m")}, optional={
    "input": st.one_of(st.text(max_size=9), st.lists(st.one_of(st.text(max_size=9), st.integers()), max_size=4)),
    "encoding_format": st.sampled_from(["float", "base64", "int8", None]),
    "dimensions": st.integers(-1, 9),
    "user": st.text(max_size=3),
})))  # fmt: skip
@example({"model": "m", "input": "\ud800"})
def test_any_embeddings_request_is_texts_or_a_fault(payload: Any) -> None:
    try:
        parsed = parse_embeddings(payload)
        prepared = EMBEDS.prepare(asked(ActionType.EMBED, "model", "m", parsed), FACTS)
    except CallerFault:
        return
    assert json.loads(prepared.payload)["input"] == parsed.texts
    assert all(parsed.texts)


class Echo:
    """In place of the model: what reaches it was checked."""

    def embed(self, text: str) -> tuple[bytes, int]:
        assert 0 < len(text) <= 32_768
        return b"\0" * 1536, 1

    def split(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


@quick
@given(st.one_of(
    st.binary(max_size=60),
    st.builds(Embed, st.lists(st.text(max_size=5), max_size=20)).map(msgspec.msgpack.encode),
    st.builds(Split, st.text(max_size=9)).map(msgspec.msgpack.encode),
))  # fmt: skip
async def test_any_message_to_the_embedding_process_is_answered_or_refused(body: bytes) -> None:
    embeddings = Embeddings(Echo())  # type: ignore[arg-type]
    try:
        await embeddings.answer(0, body)
    except Malformed:
        pass
    finally:
        embeddings.close()


@st.composite
def tokenized(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int | None], int]:
    """Tokens with gaps between, each of some word."""
    offsets: list[tuple[int, int]] = []
    words: list[int | None] = []
    at = word = 0
    for size in draw(st.lists(st.integers(0, 6), max_size=120)):
        at += draw(st.integers(0, 2))
        offsets.append((at, at + size))
        at += size
        word += draw(st.integers(0, 1))
        words.append(draw(st.sampled_from([word, word, word, None])))
    return offsets, words, at + draw(st.integers(0, 5)) + 1


@quick
@given(tokenized(), st.integers(2, 12), st.integers(0, 6), st.integers(1, 40))
def test_chunks_cover_the_text_and_stay_within_their_bounds(
    given_: tuple[list[tuple[int, int]], list[int | None], int], size: int, overlap: int, limit: int
) -> None:
    offsets, words, length = given_
    found = spans(offsets, words, length, size=size, overlap=min(overlap, size - 1), limit=limit)
    assert found == spans(offsets, words, length, size=size, overlap=min(overlap, size - 1), limit=limit)
    assert found[0][0] == 0
    assert found[-1][1] == length
    covered = 0
    for start, stop in found:
        assert start <= covered
        assert 0 < stop - start <= limit
        covered = max(covered, stop)
    assert covered == length


@pytest.mark.parametrize("value", [1, 1.0, "1", True, None, "true", "null"])
def test_each_value_has_a_facet_of_its_own(value: Any) -> None:
    others = [1, "1", True, None, "true", "null"]
    same = [other for other in others if wire.facet("n", other) == wire.facet("n", value)]
    assert len(same) <= 1
