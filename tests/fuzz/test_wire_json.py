"""What the OpenAI door and its upstreams parse: every input is one value or one refusal, and means one thing only."""

import contextlib
import itertools
import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partywall.decision.manifest import canonical_json
from partywall.errors import BadReply, Malformed
from partywall.providers.models.events import EVENT_LIMIT_BYTES, EventBuffer
from partywall.wire.openai import STRIPPED, ChatChunk, ChatReply, ChatRequest, parse_chat
from partywall.wire.strict_json import parse_json

LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
TOKENS = [
    b'{"a":1,"a":2}', b'"\\ud800"', b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"1e999", b"9" * 30,
    b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u0061", b"null", b"1", b"-0", b"0.1", b" ", b"\n", b"\x00",
    b"[" * 70, b"//x",
]  # fmt: skip
RAW = st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join),
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.tuples(VALUES, st.integers(0, 10_000), st.sampled_from(TOKENS)).map(lambda drawn: spoiled(*drawn)),
)


def spoiled(value, at, token):
    raw = json.dumps(value).encode()
    at %= len(raw) + 1
    return raw[:at] + token + raw[at:]


@settings(max_examples=600, deadline=None)
@given(RAW)
@example(b'{"a":{"b":[{"c":1,"\\u0063":2}]}}')
@example(b"")
def test_any_bytes_are_one_value_or_malformed(raw):
    try:
        value = parse_json(raw)
    except Malformed:
        return
    again = canonical_json(value)
    assert parse_json(again) == value
    assert canonical_json(parse_json(again)) == again


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_is_json_is_accepted_as_it_is(value):
    assert parse_json(json.dumps(value).encode()) == value


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "\u00e9"]), min_size=2, max_size=5), st.integers(0, 30))
def test_a_name_twice_is_refused_at_every_depth(names, depth):
    members = ",".join(f"{json.dumps(name)}:1" for name in names)
    raw = ('{"x":[' * depth + "{" + members + "}" + "]}" * depth).encode()
    if len(set(names)) == len(names):
        parse_json(raw)
    else:
        with pytest.raises(Malformed, match="twice"):
            parse_json(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'"\\ud800"', b'{"\\udfff":1}', b"\xff", b"\xef\xbb\xbf{}", b"NaN", b"[Infinity]", b"-Infinity", b"1e400",
        b"-1e400", b"18446744073709551616", b"-9223372036854775809", b"1" * 5000, b"[" * 65 + b"]" * 65, b"[" * 100_000,
        b"{} {}", b"{}x", b"'a'", b"{a:1}", b"[1,]", b"01", b"+1", b".5", b"\x00", b"[" + b"1," * 100_001 + b"1]",
    ],
    ids=lambda raw: repr(raw[:24]),
)  # fmt: skip
def test_what_has_no_one_meaning_or_no_bound_is_refused(raw):
    with pytest.raises(Malformed):
        parse_json(raw)


# --- chat completions -------------------------------------------------------------------------------------------------

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
FIELDS = sorted(ChatRequest.__struct_fields__)


@settings(max_examples=600, deadline=None)
@given(st.dictionaries(st.sampled_from([*FIELDS, "api_base", "user"]), VALUES, max_size=5), st.booleans())
def test_any_value_is_a_chat_or_malformed(fields, whole):
    try:
        chat = parse_chat({**CHAT, **fields} if whole else fields)
    except Malformed:
        return
    assert set(msgspec.to_builtins(chat)) <= set(FIELDS)
    assert parse_chat(json.loads(msgspec.json.encode(chat))) == chat


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "name", "tool_calls", "x"]), VALUES), max_size=3))
def test_any_messages_are_a_chat_or_malformed(messages):
    with contextlib.suppress(Malformed):
        parse_chat({**CHAT, "messages": messages})


@given(st.text(min_size=1, max_size=20))
def test_an_unknown_field_is_refused_whatever_its_name(name):
    if name in FIELDS or name in STRIPPED:
        return
    with pytest.raises(Malformed):
        parse_chat({**CHAT, name: None})


# --- what an upstream says --------------------------------------------------------------------------------------------

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the provider turns into `BadReply`."""


@settings(max_examples=600, deadline=None)
@given(RAW)
@example(b'{"choices":[{"index":0,"message":{"role":"\xff"}}]}')
@example(b'{"choices":' + b"[" * 100_000)
def test_any_bytes_of_an_upstream_are_a_reply_or_unreadable(raw):
    for kind in (ChatReply, ChatChunk):
        try:
            reply = msgspec.json.decode(raw, type=kind)
        except UNREADABLE:
            continue
        assert set(msgspec.to_builtins(reply)) <= set(kind.__struct_fields__)


LINES = st.sampled_from(
    [b"data: a\n", b"data:b\n", b"data\n", b": c\n", b"event: x\n", b"\n", b"\r\n", b"data: d\r\n", b"\n\n", b"x"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(LINES, max_size=12).map(b"".join), st.lists(st.integers(0, 200), max_size=8))
def test_events_do_not_depend_on_how_their_bytes_were_cut(raw, cuts):
    whole = EventBuffer(10_000).feed(raw)
    buffer, found = EventBuffer(10_000), []
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(edges):
        found += buffer.feed(raw[begin:end])
    assert found == whole


def test_a_stream_and_an_event_have_an_end():
    with pytest.raises(BadReply):
        EventBuffer(10).feed(b"data: 12345\n\n")
    for piece in (b"data: " + b"x" * 10_000 + b"\n", b"x" * 10_000, b"data: y\n" * 1_300):
        buffer = EventBuffer(10 * EVENT_LIMIT_BYTES)
        pieces = 0
        with contextlib.suppress(BadReply):
            for pieces in range(200):  # noqa: B007  # how far it came
                buffer.feed(piece)
        assert 90 < pieces < 120


def test_events_of_every_ending():
    raw = b": hi\r\ndata: a\r\rdata:b\ndata: c\n\nevent: x\r\n\r\ndata: [DONE]\n\ndata: unfinished"
    for size in range(1, len(raw)):
        buffer = EventBuffer(1_000)
        found = [event for at in range(0, len(raw), size) for event in buffer.feed(raw[at : at + size])]
        assert found == [b"a", b"b\nc", b"[DONE]"]
