"""Inputs that regorus and OPA read differently, for a module that uses what reads them: such an input is refused.

Measured by tests/conformance/test_rego_dialect.py; every other difference is kept out of the module itself (`dialect`,
`builtins`). Source: ADR-0004.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from partywall.decision.syntax import Call, Definition, Node, calls, walk

_LOWERED_APART: Final = re.compile("[\u0130\u03a3]")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_FRACTION: Final = re.compile(r"[0-9]\.[0-9]|[0-9][eE]-")
_COLLECTIONS: Final = frozenset({"Array", "Set", "Object", "ArrayCompr", "SetCompr", "ObjectCompr"})
_COLLECTING: Final = frozenset({"split", "object.keys", "array.concat", "array.slice", "sort", "set"})


class Hazards(msgspec.Struct, frozen=True):
    """What a module does that not every input allows.

    lowers: dotted capital I and capital sigma have a simple and a full lower case. counts: letters of a text outside
    the basic plane are one or two. computes: sums of fractions are rounded differently in the last bit.
    """

    lowers: bool = False
    counts: bool = False
    computes: bool = False

    def found_in(self, document: str) -> str | None:
        """Return why this input cannot be judged by this module, or None."""
        if not document.isascii():
            if self.lowers and _LOWERED_APART.search(document):
                return "the input holds letters whose lower case engines disagree on"
            if self.counts and _ASTRAL.search(document):
                return "the input holds letters that engines count differently"
        if self.computes and _FRACTION.search(document) and _has_fraction(msgspec.json.decode(document)):
            return "the input holds fractions, and the policy computes: use whole units"
        return None


def hazards_of(every: Sequence[Definition], named: Mapping[str, Sequence[Definition]]) -> Hazards:
    """Return what a module's definitions do."""
    made = [call for one in every for call in calls(one.parts)]
    return Hazards(
        lowers=any(call.name == "lower" for call in made),
        counts=any(call.name == "count" and not _is_collection(call, named) for call in made),
        computes=computes(every),
    )


def computes(every: Sequence[Definition]) -> bool:
    """Tell whether a module adds, subtracts or multiplies numbers."""
    return any(
        (kind == "ArithExpr" and not _is_difference(node)) or (kind == "Call" and _called(node) == "sum")
        for one in every
        for kind, node in one.nodes()
    )


def _is_difference(node: Node) -> bool:
    """Tell whether a `-` takes one set from another."""
    sides = (side for key in ("lhs", "rhs") for side in walk([node[key]]))
    sets = any(
        kind in {"Set", "SetCompr"} or (kind == "Call" and _called(node) == "object.keys") for kind, node in sides
    )
    return bool(node["op"] == "Sub" and sets)


def _called(node: Node) -> str:
    return next(calls({"Call": node})).name


def _is_collection(call: Call, named: Mapping[str, Sequence[Definition]]) -> bool:
    """Tell whether what is counted can be no text."""
    if not call.parameters:
        return False
    (kind, node), *_ = call.parameters[0].items()
    if kind == "Var":
        each = named.get(node["value"], ())
        return bool(each) and all(one.kind == "set" for one in each)
    if kind == "Call":
        return _called(node) in _COLLECTING
    return kind in _COLLECTIONS


def _has_fraction(value: Any) -> bool:
    return any(isinstance(one, float) and not one.is_integer() for one in _values(value))


def _values(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            stack.extend(here.values())
        elif isinstance(here, list):
            stack.extend(here)
        else:
            yield here
