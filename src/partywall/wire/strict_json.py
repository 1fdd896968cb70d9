"""JSON as the doors accept it: one meaning only, and bounded.

Refused: a name twice in an object, NaN and infinities, numbers that do not fit (integers in 64 bits, floats finite),
lone surrogates, bytes that are not UTF-8, a byte order mark, and nesting deeper than the limit. What is accepted can
be written again as canonical JSON. Source: RFC 8259 section 4, RFC 7493 (I-JSON), architecture.md "The road".
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from partywall.errors import Malformed

DEPTH_LIMIT: Final = 64
NODE_LIMIT: Final = 100_000


def parse_json(raw: bytes, *, depth_limit: int = DEPTH_LIMIT, node_limit: int = NODE_LIMIT) -> Any:
    """Return the one value that raw means. raw: bounded by the caller. Raises: Malformed."""
    try:
        value = _decode(raw.decode("utf-8"))
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not JSON", code="malformed-json") from error
    if not _surely_bounded(raw, depth_limit, node_limit):
        check_bounds(value, depth_limit=depth_limit, node_limit=node_limit)
    return value


def _surely_bounded(raw: bytes, depth_limit: int, node_limit: int) -> bool:
    """Whether the bytes alone show what `check_bounds` would look for member by member.

    A member takes a byte at least, a level an opening bracket, and broken text an escape or a byte beyond ASCII.
    """
    return (
        len(raw) <= node_limit
        and raw.isascii()
        and b"\\u" not in raw
        and raw.count(b"{") + raw.count(b"[") < depth_limit
    )


def check_bounds(value: Any, *, depth_limit: int = DEPTH_LIMIT, node_limit: int = NODE_LIMIT) -> None:
    """Raises: Malformed when value is nested too deep, has too many members, or holds broken text."""
    stack = [(value, 1)]
    nodes = 0
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if depth > depth_limit or nodes > node_limit:
            raise Malformed("the JSON is too deep or has too many members", code="json-too-large")
        if isinstance(node, str):
            _check_text(node)
        elif isinstance(node, dict):
            for name in node:
                _check_text(name)
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Malformed("the JSON holds broken text", code="malformed-json") from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a name stands twice in one JSON object", code="duplicate-name")
    return members


def _integer(text: str) -> int:
    if len(text) <= 20 and -(2**63) <= (number := int(text)) < 2**64:
        return number
    raise Malformed("a number does not fit in 64 bits", code="number-too-large")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Malformed("a number does not fit in 64 bits", code="number-too-large")
    return number


def _constant(_text: str) -> Any:
    raise Malformed("NaN and infinities are not JSON", code="malformed-json")


_decode = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_constant
).decode
