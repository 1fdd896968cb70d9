"""What a manifest is made of: bounds, schemas that are refused, and digests that change when a tool does."""

import pytest

from partywall.control.servers import ANNOTATIONS_LIMIT_CHARACTERS, TOOLS_LIMIT, check_schemas, manifest_of
from partywall.decision.manifest import canonical_json, manifest_digest, tool_digest
from partywall.errors import Malformed
from partywall.providers.tools.drift import digests_of
from partywall.wire.operations import ToolSpec

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def tool(name="t", schema=SCHEMA, **fields):
    return ToolSpec(name=name, input_schema=schema, **fields)


def test_entries_are_ordered_and_digested_as_the_tool_provider_digests_them():
    tools = [
        tool("b", description="B", annotations={"readOnlyHint": True}),
        tool("a", output_schema={"type": "object"}),
        tool("c", annotations={"title": None}),
    ]
    entries = manifest_of(tools)
    assert [entry.name for entry in entries] == ["a", "b", "c"]
    listed = [
        {"name": "a", "inputSchema": SCHEMA, "outputSchema": {"type": "object"}},
        {"name": "b", "description": "B", "inputSchema": SCHEMA, "annotations": {"readOnlyHint": True, "title": None}},
        {"name": "c", "description": None, "inputSchema": SCHEMA, "title": "not digested"},
    ]
    assert {entry.name: entry.digest for entry in entries} == digests_of(listed)


def test_every_part_of_a_tool_changes_its_digest():
    variants = [
        ("t", "d", SCHEMA, None, None),
        ("u", "d", SCHEMA, None, None),
        ("t", "e", SCHEMA, None, None),
        ("t", "d", {"type": "object"}, None, None),
        ("t", "d", SCHEMA, {}, None),
        ("t", "d", SCHEMA, SCHEMA, None),
        ("t", "d", SCHEMA, None, {"readOnlyHint": True}),
        ("t", "d", SCHEMA, None, {"readOnlyHint": False}),
        ("t", "d", SCHEMA, None, SCHEMA),
    ]
    digests = [tool_digest(*variant) for variant in variants]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)


def test_the_order_of_members_and_of_tools_does_not_matter():
    flipped = {"properties": {"n": {"type": "integer"}}, "type": "object"}
    assert tool_digest("t", "", SCHEMA) == tool_digest("t", "", flipped)
    assert manifest_digest({"a": "1", "b": "2"}) == manifest_digest({"b": "2", "a": "1"})
    assert manifest_digest({"a": "1"}) != manifest_digest({"a": "1", "b": "2"}) != manifest_digest({"a": "2", "b": "1"})
    assert canonical_json({"b": [1, 2.5, None], "a": "ä"}) == '{"a":"ä","b":[1,2.5,null]}'.encode()


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"type": ["object"]},
        {"type": "object", "properties": {"x": {"$ref": "http://169.254.169.254/latest"}}},
        {"type": "object", "properties": {"x": {"$ref": "file:///etc/passwd"}}},
        {"type": "object", "properties": {"x": {"$ref": "other.json#/x"}}},
        {"type": "object", "$dynamicRef": "http://h/"},
        {"type": "object", "$schema": "http://h/own-draft"},
        {"type": "object", "properties": {"x": {"type": "nonsense"}}},
        {"type": "object", "properties": {"x": {"pattern": "("}}},
        {"type": "object", "minProperties": -1},
        {"type": "object", "description": "x" * 70_000},
    ],
    ids=str,
)
def test_schemas_that_cannot_be_used_are_refused(schema):
    with pytest.raises(Malformed):
        check_schemas([tool(schema=schema)])
    if schema:
        with pytest.raises(Malformed):
            check_schemas([tool(output_schema=schema)])


def test_a_schema_nested_too_deep_is_refused():
    schema = {"type": "object"}
    for _ in range(40):
        schema = {"type": "object", "properties": {"x": schema}}
    with pytest.raises(Malformed):
        check_schemas([tool(schema=schema)])


def test_references_inside_and_properties_named_like_keywords_are_fine():
    schema = {
        "type": "object",
        "$defs": {"money": {"type": "number"}},
        "properties": {"amount": {"$ref": "#/$defs/money"}, "$ref": {"type": "string"}, "id": {"type": "string"}},
    }
    check_schemas([tool(schema=schema)])


@pytest.mark.parametrize(
    "tools",
    [
        [tool(), tool()],
        [tool(f"t{n}") for n in range(TOOLS_LIMIT + 1)],
        [tool(f"t{n}", {"type": "object", "description": "x" * 60_000}) for n in range(20)],
        [tool(description="a\x00b")],
        [tool(annotations={"x": "y" * ANNOTATIONS_LIMIT_CHARACTERS})],
    ],
    ids=["twice", "too many", "too much", "null character", "long annotations"],
)
def test_manifests_are_bounded(tools):
    with pytest.raises(Malformed):
        manifest_of(tools)
