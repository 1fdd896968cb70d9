"""Hostile bytes at the MCP door's parsers give a value or a CallerFault, and nothing else."""

import itertools
import json

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partywall.decision.manifest import canonical_json
from partywall.errors import BadReply, Malformed, ProviderRefused
from partywall.providers.tools.drift import digests_of, prompt_digests_of
from partywall.providers.tools.exchange import EventParser, progress_of
from partywall.providers.tools.offers import offer_of
from partywall.providers.tools.reply import rebuild_reply
from partywall.providers.tools.result import rebuild
from partywall.providers.tools.schema import compile_schema
from partywall.providers.tools.upstream import request_body
from partywall.wire import mcp
from partywall.wire.strict_json import parse_json

SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
NAMES = st.text(max_size=12) | st.sampled_from(
    ["jsonrpc", "id", "method", "params", "_meta", "name", "arguments", "protocolVersion", "capabilities", "clientInfo",
     "content", "type", "text", "isError", "structuredContent", "result", "error", "code", "message", "resource", "uri",
     "ref", "argument", "value", "progressToken", "messages", "role", "contents", "blob", "completion", "values",
     "ref/prompt", "ref/resource", "required",
     "inputSchema", "description", "$ref", "properties", "items", "anyOf", mcp.META_VERSION, mcp.META_CAPABILITIES]
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=20
)
METHODS = st.sampled_from(
    ["initialize", "tools/call", "tools/list", "ping", "server/discover", "notifications/x", "x", "prompts/list",
     "prompts/get", "resources/list", "resources/read", "resources/templates/list", "completion/complete"]
)  # fmt: skip
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0") | SCALARS, "method": METHODS | SCALARS},
    optional={"id": SCALARS, "params": st.dictionaries(NAMES, JSON, max_size=4) | JSON, "extra": JSON},
)
HEADERS = st.dictionaries(st.sampled_from(mcp.ROUTING_HEADERS), st.text(max_size=20) | METHODS)


def dumped(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


@settings(max_examples=600, deadline=None)
@given(st.binary(max_size=200) | MESSAGES.map(dumped) | JSON.map(dumped), HEADERS, st.booleans())
@example(b"\xef\xbb\xbf{}", {}, False)
@example(b"[" * 100_000, {}, False)
@example(b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}', {}, True)
@example(b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', {}, False)
@example(b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', {}, False)
def test_messages(raw, headers, modern):
    try:
        message = mcp.parse_message(raw)
        if modern:
            mcp.check_envelope(message, headers)
        asked = mcp.parse_asked(message, modern=modern)
    except mcp.RpcFault as fault:
        canonical_json(mcp.error_reply(fault.request_id, fault.rpc_code, fault.public, fault.data))
        return
    assert isinstance(asked, mcp.Asked)
    if isinstance(asked, mcp.CallTool):
        body = request_body("tools/call", {"name": asked.name, "arguments": asked.arguments})
        assert parse_json(body)["params"]["arguments"] == asked.arguments


@settings(max_examples=400, deadline=None)
@given(JSON.map(dumped) | st.binary(max_size=100))
def test_what_is_accepted_can_be_written_again_with_one_meaning(raw):
    try:
        value = parse_json(raw)
    except Malformed:
        return
    assert parse_json(canonical_json(value)) == value


REPLIES = st.fixed_dictionaries({"result": st.dictionaries(NAMES, JSON, max_size=4) | JSON}) | st.fixed_dictionaries(
    {"error": JSON}
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["prompts/get", "resources/read", "completion/complete"]), REPLIES)
def test_replies_to_prompts_resources_and_completions(method, response):
    try:
        canonical_json(rebuild_reply(method, response))
    except (BadReply, ProviderRefused) as error:
        error.public.encode()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=4), JSON)
def test_listed_prompts_and_progress(listed, params):
    assert set(prompt_digests_of(listed)) <= {one.get("name") for one in listed if isinstance(one.get("name"), str)}
    progress = progress_of({"method": "notifications/progress", "params": params}, 1)
    assert progress is None or set(progress) <= {"progress", "total", "message"}


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.just("partywall/offers") | NAMES, JSON, max_size=3).map(dumped))
def test_offers(annotations):
    try:
        offer_of(annotations.decode("utf-8", "surrogatepass"))
    except (Malformed, msgspec.DecodeError, UnicodeError):
        return


@settings(max_examples=300, deadline=None)
@given(JSON.map(dumped), JSON)
def test_schemas_and_arguments(schema, value):
    try:
        compile_schema(schema.decode("utf-8", "surrogatepass"), strict=True).check(value)
    except Malformed as error:
        error.public.encode()


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_results(result):
    try:
        rebuilt, failed = rebuild({"result": result}, None)
    except (BadReply, ProviderRefused):
        return
    assert rebuilt["isError"] is failed


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON, max_size=5), max_size=4))
def test_manifests(listed):
    try:
        raw = dumped(listed)
        listed = parse_json(raw)
    except Malformed:
        return
    assert all(len(digest) == 64 for digest in digests_of(listed).values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_events_do_not_depend_on_how_they_are_cut(stream, cuts):
    whole = list(EventParser().feed(stream))
    parser = EventParser()
    edges = [0, *sorted(cuts), len(stream)]
    assert [event for at, to in itertools.pairwise(edges) for event in parser.feed(stream[at:to])] == whole


@given(st.text(max_size=60))
def test_header_values_survive(text):
    assert mcp.decode_header(mcp.encode_header(text)) == text
