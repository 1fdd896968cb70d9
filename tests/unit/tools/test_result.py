"""What a tool server answers is rebuilt: known members within limits, and nothing else."""

import json

import pytest

from partywall.errors import BadReply, ProviderRefused
from partywall.providers.tools.exchange import EventParser
from partywall.providers.tools.result import rebuild


def answered(result, output_schema=None):
    return rebuild({"jsonrpc": "2.0", "id": 1, "result": result}, output_schema)


def text(said="hi", **more):
    return {"type": "text", "text": said, **more}


def test_only_known_members_come_through():
    result, failed = answered(
        {
            "content": [text(annotations={"audience": ["user"]}, _meta={"x": 1}, other=2)],
            "structuredContent": {"a": 1},
            "_meta": {"token": "x"},
            "surprise": True,
        }
    )
    assert result == {"content": [text()], "isError": False, "structuredContent": {"a": 1}}
    assert failed is False


def test_every_kind_of_content():
    parts = [
        {"type": "image", "data": "AA==", "mimeType": "image/png"},
        {"type": "audio", "data": "AA==", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": "file:///a", "name": "a", "icons": [{"src": "http://127.0.0.1:9"}]},
        {"type": "resource", "resource": {"uri": "file:///a", "text": "t", "_meta": {}}},
        {"type": "resource", "resource": {"uri": "file:///a", "blob": "AA=="}},
        {"type": "hologram", "data": "x"},
    ]
    result, _ = answered({"content": parts})
    kept = result["content"]
    assert kept[0] == parts[0]
    assert kept[2] == {"type": "resource_link", "uri": "file:///a", "name": "a"}
    assert kept[3] == {"type": "resource", "resource": {"uri": "file:///a", "text": "t"}}
    assert kept[5]["type"] == "text"


@pytest.mark.parametrize(
    "result",
    [
        None, 7, [], {"content": 7}, {"content": [7]}, {"content": [{"type": "text"}]}, {"content": [text(7)]},
        {"content": [], "isError": "no"}, {"content": [text()] * 257}, {"content": [{"type": "image", "data": "AA=="}]},
        {"content": [{"type": "resource", "resource": {"uri": "a", "text": "t", "blob": "b"}}]},
        {"content": [{"type": "resource", "resource": {"uri": "a"}}]}, {"content": [text()], "isError": 1},
    ],
)  # fmt: skip
def test_what_is_no_result_is_a_bad_reply(result):
    with pytest.raises(BadReply):
        answered(result)


def test_a_protocol_error_becomes_a_result_that_a_model_can_read():
    result, failed = rebuild({"error": {"code": -32602, "message": "Unknown tool", "data": {"stack": "…"}}}, None)
    assert failed is True
    assert result["isError"] is True
    assert result["content"] == [text("The tool server answered with error -32602: Unknown tool")]
    with pytest.raises(BadReply):
        rebuild({"error": "text"}, None)


def test_a_request_for_input_is_refused():
    with pytest.raises(ProviderRefused) as caught:
        answered({"resultType": "input_required", "inputRequests": {}})
    assert caught.value.code == "input-required"


def test_output_schemas_hold():
    schema = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    result, _ = answered({"content": [], "structuredContent": {"a": 1}}, schema)
    assert result["structuredContent"] == {"a": 1}
    for structured in ({"a": "x"}, {}, None):
        with pytest.raises(BadReply) as caught:
            answered({"content": [], "structuredContent": structured}, schema)
        assert caught.value.code == "bad-structured-content"
    failed, _ = answered({"content": [text("no")], "isError": True}, schema)
    assert failed["isError"] is True


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
def test_events_in_pieces(size, ending):
    lines = [
        b": ping",
        b"",
        b"event: message",
        b'data: {"a":',
        b"data:1}",
        b"id: 7",
        b"",
        b"data: two",
        b"",
        b"data: lost",
    ]
    stream = ending.join(lines)
    parser = EventParser()
    events = [event for at in range(0, len(stream), size) for event in parser.feed(stream[at : at + size])]
    assert events == [b'{"a":\n1}', b"two"]
