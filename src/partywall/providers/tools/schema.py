"""JSON Schemas of tools: compiled once, strict, no reference leaves the document, bounded in cost.

- No remote reference: only `$ref` to `#` or `#/…` is taken, and the compiler is offline.
- Strict at the top: a schema that says nothing of further members takes none (`unevaluatedProperties: false`, in older
  drafts `additionalProperties: false`); one that allows them in so many words is taken at its word.
- Patterns run on an engine without backtracking. What multiplies (references: a schema of thirty lines can ask for 2^30
  steps; a thousand branches for each of a thousand members), on every tenant's worker, is counted first, and refused
  past a limit.
Source: docs/adr/0009-mcp.md, attacks.md MCP-5.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import jsonschema_rs

from partywall.errors import Malformed
from partywall.wire.strict_json import check_bounds, parse_json

SCHEMA_LIMIT_BYTES: Final = 262_144
CACHE_LIMIT: Final = 1_024
ARGUMENT_DEPTH: Final = 32
ARGUMENT_NODES: Final = 20_000
STEP_LIMIT: Final = 20_000
REPORT_LIMIT: Final = 5

_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=1_048_576, dfa_size_limit=1_048_576)
_SCHEMES: Final = frozenset(
    {"$id", "id", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}
)
_DRAFTS: Final = frozenset(
    {
        "http://json-schema.org/draft-04/schema",
        "http://json-schema.org/draft-06/schema",
        "http://json-schema.org/draft-07/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "https://json-schema.org/draft/2020-12/schema",
    }
)
_IN_PLACE_LIST: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE: Final = ("not", "if", "then", "else")
_OLD_DRAFTS: Final = (jsonschema_rs.Draft4Validator, jsonschema_rs.Draft6Validator, jsonschema_rs.Draft7Validator)


class Schema:
    """One compiled schema. Construct with `compile_schema`."""

    def __init__(self, document: dict[str, Any], validator: jsonschema_rs.Validator, *, counted: bool) -> None:
        self._document = document
        self._validator = validator
        self._counted = counted
        self._size = _size(document)

    def check(self, value: Any) -> None:
        """Raises: Malformed, naming where and which keyword, and no value. value: JSON types, bounded here."""
        check_bounds(value, depth_limit=ARGUMENT_DEPTH, node_limit=ARGUMENT_NODES)
        # Without references, each part of the schema meets each part of the value at most once.
        if self._counted or self._size * _size(value) > STEP_LIMIT:
            _Steps(self._document).count(value)
        faults = [
            _describe(error) for error, _ in zip(self._validator.iter_errors(value), range(REPORT_LIMIT), strict=False)
        ]
        if faults:
            raise Malformed("; ".join(faults), code="invalid-arguments")


@lru_cache(maxsize=CACHE_LIMIT)
def compile_schema(text: str, *, strict: bool) -> Schema:
    """Return the compiled schema. text: its JSON, at most 256 KiB; strict: take no members that it does not name.

    Raises: Malformed when it is no schema, refers outside itself, or names things in ways that are not followed here.
    """
    if len(text) > SCHEMA_LIMIT_BYTES:
        raise Malformed("the schema is too long", code="bad-schema")
    document = parse_json(text.encode())
    if not isinstance(document, dict):
        raise Malformed("a tool's schema is an object", code="bad-schema")
    counted = _check_references(document)
    try:
        draft = jsonschema_rs.validator_cls_for(document)
        validator = draft(_closed(document, draft) if strict else document, offline=True, pattern_options=_PATTERNS)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Malformed("the tool's schema cannot be used", code="bad-schema") from error
    return Schema(document, validator, counted=counted)


def _closed(document: dict[str, Any], draft: type[jsonschema_rs.Validator]) -> dict[str, Any]:
    if "additionalProperties" in document or "unevaluatedProperties" in document:
        return document
    keyword = "additionalProperties" if draft in _OLD_DRAFTS else "unevaluatedProperties"
    return document | {keyword: False}


def _positions(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object below schema that may be read as a schema; objects that are data come along, which only costs."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _check_references(document: dict[str, Any]) -> bool:
    """Return whether the schema refers to itself anywhere. Raises: Malformed."""
    said = document.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    if not isinstance(said, str) or said.removesuffix("#") not in _DRAFTS:
        raise Malformed("$schema is no draft that is known here", code="bad-schema")
    found = False
    for node in _positions(document):
        for name in _SCHEMES & node.keys():
            # A property may be called `id`; a schema's own identifier is text.
            if isinstance(node[name], (str, bool)) and not (node is document and name == "$id"):
                raise Malformed(f"{name} is not followed in a tool's schema", code="bad-schema")
        reference = node.get("$ref")
        if isinstance(reference, str):
            if reference != "#" and not reference.startswith("#/"):
                raise Malformed("a tool's schema refers outside itself", code="bad-schema")
            found = True
    return found


class _Steps:
    """Counts how often a validator would visit (position of the schema, place in the value), without cutting short."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._steps = 0

    def count(self, value: Any) -> None:
        """Raises: Malformed past STEP_LIMIT."""
        stack: list[tuple[Any, Any, frozenset[int]]] = [(self._document, value, frozenset())]
        while stack:
            schema, place, entered = stack.pop()
            self._steps += _own_steps(schema)
            if self._steps > STEP_LIMIT:
                raise Malformed("the tool's schema asks for too many steps", code="schema-too-complex")
            if isinstance(schema, dict) and id(schema) not in entered:
                inside = entered | {id(schema)}  # a reference back to where we are: the validator stops there as well
                following = ((child, place, inside) for child in self._in_place(schema))
                stack.extend(islice(following, STEP_LIMIT + 1))  # more are too many already
                deeper = ((child, below, frozenset[int]()) for child, below in _below(schema, place))
                stack.extend(islice(deeper, STEP_LIMIT + 1))

    def _in_place(self, schema: dict[str, Any]) -> Iterator[Any]:
        for keyword in _IN_PLACE_LIST:
            if isinstance(branches := schema.get(keyword), list):
                yield from branches
        for keyword in _IN_PLACE:
            if keyword in schema:
                yield schema[keyword]
        for keyword in ("dependentSchemas", "dependencies"):
            if isinstance(branches := schema.get(keyword), dict):
                yield from branches.values()
        if isinstance(reference := schema.get("$ref"), str):
            yield _resolve(self._document, reference)


def _own_steps(schema: Any) -> int:
    """Return what one visit costs: values to compare with are looked at one after the other."""
    if not isinstance(schema, dict):
        return 1
    return 1 + sum(_size(schema[keyword]) for keyword in ("enum", "const", "required") if keyword in schema)


def _size(value: Any) -> int:
    """Return how many values a JSON value holds, itself included."""
    size, stack = 0, [value]
    while stack:
        node = stack.pop()
        size += 1
        if isinstance(node, dict):
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return size


def _below(schema: dict[str, Any], place: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(place, dict):
        named = _mapping(schema.get("properties"))
        patterns = _mapping(schema.get("patternProperties"))
        for name, member in place.items():
            if name in named:
                yield named[name], member
            else:
                yield from _each(schema, ("additionalProperties", "unevaluatedProperties"), member)
            yield from ((pattern, member) for pattern in patterns.values())
            yield from _each(schema, ("propertyNames",), name)
    elif isinstance(place, list):
        for member in place:
            yield from _each(
                schema, ("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"), member
            )


def _each(schema: dict[str, Any], keywords: tuple[str, ...], member: Any) -> Iterator[tuple[Any, Any]]:
    for keyword in keywords:
        child = schema.get(keyword)
        if isinstance(child, list):
            yield from ((one, member) for one in child)
        elif child is not None:
            yield child, member


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _resolve(document: Any, reference: str) -> Any:
    """Follow `#` or `#/a/b`; a broken one leads nowhere (the compiler refused it already)."""
    node = document
    for part in reference[2:].split("/") if len(reference) > 1 else ():
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node


def _describe(error: jsonschema_rs.ValidationError) -> str:
    """Return where and what, in the schema's words; of the value only the names that its sender chose."""
    where = "/".join(str(part)[:64] for part in error.instance_path) or "arguments"
    detail = error.kind.as_dict()
    said = {name: detail[name] for name in ("unexpected", "property", "types", "limit") if name in detail}
    what = ", ".join(f"{name} {_short(value)}" for name, value in said.items())
    return f"{where}: {error.kind.name}" + (f" ({what})" if what else "")


def _short(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return " ".join(str(item)[:64] for item in values[:REPORT_LIMIT])
