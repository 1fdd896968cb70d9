"""Arguments against approved schemas: strict, closed to the outside, and cheap."""

import json
import time

import pytest

from partywall.errors import Malformed
from partywall.providers.tools.schema import compile_schema


def check(schema, value, *, strict=True):
    compile_schema(json.dumps(schema), strict=strict).check(value)


def refused(schema, value=None, *, strict=True):
    with pytest.raises(Malformed) as caught:
        check(schema, {} if value is None else value, strict=strict)
    return caught.value


SEND = {"type": "object", "properties": {"to": {"type": "string"}, "amount": {"type": "number"}}, "required": ["to"]}


def test_members_that_a_schema_does_not_name_are_refused():
    check(SEND, {"to": "a", "amount": 2})
    error = refused(SEND, {"to": "a", "also": 1})
    assert error.code == "invalid-arguments"
    assert "also" in error.public


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-04/schema#"]
)
def test_older_drafts_are_closed_too(draft):
    check(SEND | {"$schema": draft}, {"to": "a"})
    refused(SEND | {"$schema": draft}, {"to": "a", "also": 1})


def test_a_schema_that_allows_more_in_so_many_words_is_taken_at_its_word():
    check(SEND | {"additionalProperties": True}, {"to": "a", "also": 1})
    check(SEND | {"additionalProperties": {"type": "integer"}}, {"to": "a", "also": 1})
    refused(SEND | {"additionalProperties": {"type": "integer"}}, {"to": "a", "also": "x"})


def test_composed_schemas_know_their_own_members():
    schema = {"allOf": [SEND], "properties": {"note": {"type": "string"}}}
    check(schema, {"to": "a", "note": "n"})
    refused(schema, {"to": "a", "note": "n", "also": 1})


def test_a_refusal_says_where_and_what_and_no_value():
    error = refused(SEND, {"to": "CANARY-1", "amount": "CANARY-2"})
    assert "amount: type" in error.public
    assert "CANARY" not in error.public


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "other.json#/a"}}},
        {"$dynamicRef": "http://127.0.0.1:9/x"},
        {"$id": "http://127.0.0.1:9/", "properties": {"a": {"$id": "b", "$ref": "c"}}},
        {"$schema": "http://127.0.0.1:9/meta"},
        {"$anchor": "x", "$ref": "#x"},
    ],
)
def test_nothing_outside_the_schema_is_followed(schema):
    assert refused(schema).code == "bad-schema"


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '{"type": "nothing"}', '{"a":1,"a":2}', '{"pattern": "(?=a)b"}', "{" * 99]
)
def test_what_is_no_schema_is_refused(text):
    with pytest.raises(Malformed):
        compile_schema(text, strict=True)


def test_references_inside_the_schema_hold():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    schema = {"$defs": {"node": node}, "properties": {"head": {"$ref": "#/$defs/node"}}}
    check(schema, {"head": {"next": {"next": {}}}})
    refused(schema, {"head": {"next": {"other": 1}}})


def test_references_that_multiply_are_refused_at_once():
    definitions = {"a0": {"type": "integer"}}
    for index in range(1, 61):
        twice = {"$ref": f"#/$defs/a{index - 1}"}
        definitions[f"a{index}"] = {"anyOf": [twice, twice]}
    started = time.process_time()
    error = refused({"$defs": definitions, "properties": {"x": {"$ref": "#/$defs/a60"}}}, {"x": "y"})
    assert error.code == "schema-too-complex"
    itself = {"properties": {"b": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    value = {}
    for _ in range(30):
        value = {"b": value}
    assert refused(itself, value).code == "schema-too-complex"
    assert time.process_time() - started < 5


def test_a_recursive_json_schema_is_not_taken_for_a_bomb():
    anything = {
        "anyOf": [
            {"type": ["string", "number"]},
            {"type": "array", "items": {"$ref": "#/$defs/any"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/any"}},
        ]
    }
    schema = {"$defs": {"any": anything}, "properties": {"v": {"$ref": "#/$defs/any"}}}
    check(schema, {"v": {f"k{index}": [1, "a", {"q": [1, 2, 3]}] for index in range(200)}})


def test_catastrophic_patterns_take_linear_time():
    started = time.process_time()
    refused({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 50_000 + "b"})
    assert time.process_time() - started < 2


def test_depth_and_size_are_bounded():
    deep = {}
    for _ in range(40):
        deep = {"a": deep}
    assert refused({"additionalProperties": True}, deep).code == "json-too-large"
    assert refused({"additionalProperties": True}, {"a": [0] * 30_000}).code == "json-too-large"


@pytest.mark.parametrize(
    ("items", "member"),
    [
        ({"anyOf": [{"type": "string"}] * 400}, 1),
        ({"oneOf": [{"properties": {"a": {"type": "string"}}}] * 400}, {"a": 1}),
        ({"enum": [f"x{number}" for number in range(4_000)]}, "y"),
        ({"enum": [{"a": number} for number in range(2_000)]}, {"a": -1}),
    ],
)
def test_branches_that_multiply_with_members_are_refused_before_they_cost(items, member):
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": items}}}
    began_s = time.process_time()
    assert refused(schema, {"a": [member] * 2_000}).code == "schema-too-complex"
    assert time.process_time() - began_s < 0.5
    refused(schema, {"a": [member]})


def test_a_long_list_of_plain_members_is_taken():
    check({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}}, {"a": [1] * 10_000})


def test_patterns_that_multiply_with_names_are_refused_before_they_cost():
    patterns = {f"^a{{{number}}}b?c$": {"type": "string"} for number in range(300)}
    began_s = time.process_time()
    error = refused({"type": "object", "patternProperties": patterns}, {f"a{number}": 1 for number in range(15_000)})
    assert error.code == "schema-too-complex"
    assert time.process_time() - began_s < 1.0
