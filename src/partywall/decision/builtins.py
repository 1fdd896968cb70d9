"""The builtins that a tenant's policy may call: pure, bounded, and answered alike by regorus and OPA.

Absent on purpose: whatever reads the world (http, net lookups, opa.runtime, time.now_ns, rand, uuid), whatever can grow
its result without bound (numbers.range, replace with longer text), and whatever the two engines answer differently
(upper, format_int, to_number of odd texts, time parsing, glob). Source: ADR-0004, tests/conformance.
"""

from __future__ import annotations

import re
from typing import Final

from partywall.decision.syntax import Call, Node

ALLOWED: Final = frozenset(
    {
        "abs",
        "ceil",
        "concat",
        "contains",
        "count",
        "endswith",
        "floor",
        "indexof",
        "intersection",
        "lower",
        "max",
        "min",
    }
    | {"is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name"}
    | {"replace", "round", "sort", "split", "sprintf", "startswith", "substring", "sum", "union"}
    | {"trim", "trim_left", "trim_prefix", "trim_right", "trim_space", "trim_suffix"}
    | {"array.concat", "array.reverse", "array.slice", "object.filter", "object.get", "object.keys", "object.remove"}
    | {"object.subset", "object.union", "regex.match", "strings.any_prefix_match", "strings.any_suffix_match"}
    | {"net.cidr_contains", "set"}
)

_PATTERN_PIECE: Final = re.compile(
    r"""\\[.\-/\\\[\](){}*+?|^$ntrAz]|\(\?:|[()|^$.]|\[\^?\]?(?:\[:\^?[a-z]{1,8}:\]|\\[.\-/\\\[\]^ntr]|[^\\\[\]&~-]|-)*\]
      |[*+?]\??(?![*+?{])|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}\??(?![*+?{])|[^\\()\[\]{}*+?|^$.]""",
    re.VERBOSE,
)
"""What both engines read alike: no \\d \\w \\s \\b (Unicode in one, ASCII in the other), flags, or class arithmetic."""


def check_call(call: Call) -> tuple[str, str] | None:
    """Return (finding id, message) when a builtin may not be called, or not so; None when it may."""
    if call.name not in ALLOWED:
        return "PW106", f"{call.name} may not be called; a policy computes from its input alone"
    if call.name == "regex.match":
        return _check_pattern(_literal(call, 0))
    if call.name == "replace":
        old, new = _literal(call, 1), _literal(call, 2)
        if old is None or new is None or not old or len(new) > len(old):
            return "PW106", "replace takes literals, and nothing longer for what it replaces"
    return None


def _check_pattern(pattern: str | None) -> tuple[str, str] | None:
    if pattern is None:
        return "PW107", "the pattern of regex.match is a literal"
    position = 0
    while position < len(pattern):
        piece = _PATTERN_PIECE.match(pattern, position)
        if piece is None or not pattern.isascii() or ("--" in piece[0] and piece[0].startswith("[")):
            return "PW107", f"write {pattern[position : position + 2]!r} another way: [0-9], [a-z], (?:…), no flags"
        position = piece.end()
    return None


def _literal(call: Call, index: int) -> str | None:
    node: Node = call.parameters[index] if index < len(call.parameters) else {}
    value = node.get("String") or node.get("RawString")
    return None if value is None else str(value["value"])
