"""The builtins that a tenant's policy may call: pure, bounded, and answered alike by regorus and OPA.

Absent on purpose: whatever reads the world (http, net lookups, opa.runtime, time.now_ns, rand, uuid), whatever can grow
its result without bound (numbers.range, replace with longer text), and whatever the two engines answer differently
(upper, ceil, floor, object.subset, to_number of odd texts, time parsing, glob). Source: ADR-0004, tests/conformance.
"""

from __future__ import annotations

import re
from typing import Final

from partywall.decision.syntax import Call, Node

ALLOWED: Final = frozenset(
    {
        "abs",
        "concat",
        "contains",
        "count",
        "endswith",
        "indexof",
        "lower",
        "max",
        "min",
        "replace",
        "set",
        "sort",
        "split",
    }
    | {"sprintf", "startswith", "substring", "sum", "trim", "trim_left", "trim_prefix", "trim_right", "trim_space"}
    | {"is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name", "trim_suffix"}
    | {"array.concat", "array.reverse", "array.slice", "object.filter", "object.get", "object.keys", "object.remove"}
    | {"object.union", "regex.match", "strings.any_prefix_match", "strings.any_suffix_match"}
)

_FORMAT: Final = re.compile(r"(?:[^%]|%[sdv%])*")
_PATTERN_PIECE: Final = re.compile(
    r"""\\[.\-/\\\[\](){}*+?|^$ntrAz]|\(\?:|\((?!\?)|[)|^$.]|\[\^?\]?(?:\[:\^?[a-z]{1,8}:\]|\\[.\-/\\\[\]^ntr]|[^\\\[\]&~-]|-)*\]
      |[*+?]\??(?![*+?{])|\{[0-9]{1,3}(?:,[0-9]{0,3})?\}\??(?![*+?{])|[^\\()\[\]{}*+?|^$.]""",
    re.VERBOSE,
)
"""What both engines read alike: no \\d \\w \\s \\b (Unicode in one, ASCII in the other), flags, or class arithmetic."""

_STEPS_OF_A_CALL: Final = 1 / 500
_STEPS_OF_A_COPY: Final = 1 / 60
_STEPS_OF_A_PLACE: Final = 1 / 200
_COPYING: Final = frozenset({"replace", "split", "sprintf", "concat", "sort", "set"})
_WIDE: Final = 5
"""Places of `.` and `[^…]`: every letter that is not ASCII is several."""


def check_call(call: Call) -> tuple[str, str] | None:
    """Return (finding id, message) when a builtin may not be called, or not so; None when it may."""
    if call.name not in ALLOWED:
        return "PW106", f"{call.name} may not be called; a policy computes from its input alone"
    if call.name == "regex.match":
        problem = _check_pattern(_literal(call, 0))
        return None if problem is None else ("PW107", problem)
    check = _CHECKS.get(call.name)
    problem = check(call) if check is not None else None
    return None if problem is None else ("PW106", problem)


def steps_a_character(call: Call) -> float:
    """Return what a builtin costs for each character of the texts it may be given, in steps of `cost`.

    A text is matched against every place in the pattern that it may be at: repetitions count as if written out.
    """
    if call.name == "regex.match":
        return _STEPS_OF_A_CALL + _STEPS_OF_A_PLACE * _places(_literal(call, 0) or "")
    return _STEPS_OF_A_COPY if call.name in _COPYING else _STEPS_OF_A_CALL


def _places(pattern: str) -> int:
    """Return how many characters and classes a pattern has, its repetitions written out."""
    totals, last, position = [0], 0, 0
    while piece := _PATTERN_PIECE.match(pattern, position):
        text, position = piece[0], piece.end()
        if text.startswith("("):
            totals.append(0)
        elif text == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif text.startswith("{"):
            times = max(1, *(int(number) for number in re.findall("[0-9]+", text)))
            totals[-1] += last * (times - 1)
            last *= times
        elif text[0] not in "*+?|^$)":
            last = _WIDE if text == "." or text.startswith("[^") else 1
            totals[-1] += last
    return sum(totals)


def _check_replace(call: Call) -> str | None:
    old, new = _literal(call, 1), _literal(call, 2)
    fits = old and new is not None and len(new) <= len(old)
    return None if fits else "replace takes literals, and nothing longer for what it replaces"


def _check_indexof(call: Call) -> str | None:
    return None if _literal(call, 1) else "indexof looks for a literal that is not empty"


def _check_offsets(call: Call) -> str | None:
    fits = all(_is_number(part) for part in call.parameters[1:])
    return None if fits else f"{call.name} takes literal numbers"


def _check_format(call: Call) -> str | None:
    fits = _FORMAT.fullmatch(_literal(call, 0) or "%?")
    return None if fits else "sprintf takes a literal format, of %s, %d and %v without widths"


def _is_number(part: Node) -> bool:
    return "Number" in part or ("UnaryExpr" in part and "Number" in part["UnaryExpr"]["expr"])


def _check_pattern(pattern: str | None) -> str | None:
    if pattern is None:
        return "the pattern of regex.match is a literal"
    position = 0
    while position < len(pattern):
        piece = _PATTERN_PIECE.match(pattern, position)
        if piece is None or not pattern.isascii() or ("--" in piece[0] and piece[0].startswith("[")):
            return f"write {pattern[position : position + 2]!r} another way: [0-9], [a-z], (?:…), no flags"
        position = piece.end()
    return None


_CHECKS: Final = {
    "replace": _check_replace,
    "indexof": _check_indexof,
    "substring": _check_offsets,
    "array.slice": _check_offsets,
    "sprintf": _check_format,
}


def _literal(call: Call, index: int) -> str | None:
    node: Node = call.parameters[index] if index < len(call.parameters) else {}
    value = node.get("String") or node.get("RawString")
    return None if value is None else str(value["value"])
