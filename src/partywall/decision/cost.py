"""A bound on the work of one evaluation, proved from the syntax tree: the engine itself has no time limit.

Each definition gets a degree d and bits b: it takes at most elements^d x 2^b steps and its value has at most so many
parts, where `elements` counts the values in the input. Iterating over the input raises d; iterating over the module's
own constants, and building texts and arrays out of several others, raise b. Source: ADR-0004.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2
from typing import Any, Final

import msgspec

from partywall.decision.builtins import steps_a_character
from partywall.decision.syntax import Definition, Node, bound_names, calls, references, variables, walk

DEGREE_LIMIT: Final = 4
BITS_LIMIT: Final = 20.0
GROWING: Final = frozenset({"concat", "sprintf", "array.concat", "object.union", "strings.replace_n"})
"""Builtins whose result can be as large as all their arguments together."""
SPLITTING: Final = frozenset({"split", "regex.find_n", "indexof_n", "regex.split"})
"""Builtins that make many elements out of one text."""

_STRUCTURAL: Final = frozenset('{}[],:"')
_BYTES_A_STEP: Final = 1_000


class Cost(msgspec.Struct, frozen=True):
    """A module's bound. degree, bits: as above. splits: texts count by their characters.

    scans: steps for each character of the input that builtins read, by the degree of what calls them.
    """

    degree: int = 0
    bits: float = 0.0
    splits: bool = False
    reads: bool = False
    scans: tuple[float, ...] = ()

    def work(self, document: str) -> float:
        """Return the bound in steps (about half a microsecond each) for an input document."""
        reading = 1 + len(document) / _BYTES_A_STEP if self.reads else 1
        elements = len(document) if self.splits else document.count(",") + document.count(":") + 2
        # Read one after the other, the parts of the input are no longer than the input.
        scanned = sum(
            steps * elements ** (degree if self.reads else max(0, degree - 1))
            for degree, steps in enumerate(self.scans)
        )
        own = 2**self.bits if self.degree == 0 else elements**self.degree * 2**self.bits * reading
        return float(own + scanned * len(document))


class _Bound(msgspec.Struct, frozen=True):
    degree: int = 0
    bits: float = 0.0


def cost_of(named: Mapping[str, Sequence[Definition]], entries: Sequence[str]) -> Cost:
    """Return the bound over all entry points. named: definitions by rule, without recursion."""
    bounds: dict[str, _Bound] = {}
    sizes = {name: _size([one.parts for one in each]) for name, each in named.items()}
    for name in _callees_first(named, entries):
        each = [_definition(one, named, sizes, bounds) for one in named[name]]
        bounds[name] = _Bound(max(one.degree for one in each), max(one.bits for one in each) + log2(len(each)))
    reached = [bounds[name] for name in entries if name in bounds]
    splits = any(call.name in SPLITTING for name in bounds for one in named[name] for call in calls(one.parts))
    reads = any(_reads_again(one, sizes) for name in bounds for one in named[name])
    degree = max((one.degree for one in reached), default=0)
    bits = max((one.bits for one in reached), default=0.0) + log2(max(1, len(reached)))
    every = [one for name in bounds for one in named[name]]
    return Cost(degree, bits, splits, reads, _scans(every, named, sizes, _Bound(degree, bits)))


def _scans(
    every: Sequence[Definition],
    named: Mapping[str, Sequence[Definition]],
    sizes: Mapping[str, int | None],
    whole: _Bound,
) -> tuple[float, ...]:
    """Return the steps a character of all builtins, by degree. A function is called as often as the whole allows."""
    steps = [0.0] * (DEGREE_LIMIT + 1)
    for one in every:
        here = sum(steps_a_character(call) for call in calls(one.parts) if call.name not in named)
        degree, bits = (whole.degree, whole.bits) if one.kind == "function" else _iterations(one, sizes)
        if here:
            steps[min(degree, DEGREE_LIMIT)] += here * 2.0 ** min(bits, BITS_LIMIT)
    return tuple(steps)


def find_cycle(named: Mapping[str, Sequence[Definition]]) -> str | None:
    """Return a rule that depends on itself, or None. regorus overflows its stack on a recursive function."""
    names, done = frozenset(named), set[str]()
    edges = {name: sorted(_refers(named[name], names)) for name in named}
    for start in named:
        trail: list[tuple[str, list[str]]] = [(start, list(edges[start]))] if start not in done else []
        open_names = {start}
        while trail:
            name, rest = trail[-1]
            if not rest:
                done.add(name)
                open_names.discard(name)
                trail.pop()
                continue
            following = rest.pop()
            if following in open_names:
                return following
            if following not in done:
                open_names.add(following)
                trail.append((following, list(edges[following])))
    return None


def reachable(named: Mapping[str, Sequence[Definition]], entries: Sequence[str]) -> set[str]:
    """Return every rule that the entries depend on, and they themselves."""
    return set(_callees_first(named, entries))


def _callees_first(named: Mapping[str, Sequence[Definition]], entries: Sequence[str]) -> list[str]:
    names, order, seen = frozenset(named), list[str](), set[str]()
    stack = [(name, False) for name in entries if name in named]
    while stack:
        name, finished = stack.pop()
        if finished:
            order.append(name)
        elif name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack.extend((one, False) for one in _refers(named[name], names) if one not in seen)
    return order


def _refers(each: Sequence[Definition], names: frozenset[str]) -> set[str]:
    return set().union(*(references(one.parts, names) for one in each))


def _definition(
    one: Definition,
    named: Mapping[str, Sequence[Definition]],
    sizes: Mapping[str, int | None],
    bounds: Mapping[str, _Bound],
) -> _Bound:
    """Return the bound of one definition: its own iterations over what it refers to, times what it calls."""
    referred = references(one.parts, frozenset(named))
    functions = {name for name in referred if any(each.kind == "function" for each in named[name])}
    over = [bounds[name] for name in referred - functions]
    called = [bounds[call.name] for call in calls(one.parts) if call.name in functions]
    base_degree = max((bound.degree for bound in over), default=0)
    base_bits = max((bound.bits for bound in over), default=0.0)
    call_degree = max((bound.degree for bound in called), default=0) * max(1, base_degree)
    sites, bits = _iterations(one, sizes)
    bits += _growth(one.parts) + sum(bound.bits for bound in called) + log2(1 + len(called))
    again = max(1, sites)
    if called or _builds(one):  # what is built here may be iterated here
        bits *= again
    degree = sites * max(1, base_degree, call_degree) + call_degree
    return _Bound(max(degree, base_degree), bits + again * base_bits)


def _builds(one: Definition) -> bool:
    return any(kind in {"ArrayCompr", "SetCompr", "ObjectCompr"} for kind, _ in one.nodes())


def _reads_again(one: Definition, sizes: Mapping[str, int | None]) -> bool:
    """Tell whether each step of an iteration may read a value that is not that step's own part of the input."""
    own = {name for kind, node in one.nodes() if kind == "SomeIn" for name in variables([node["key"], node["value"]])}
    given = [parameter for call in calls(one.parts) for parameter in call.parameters]
    given += [node["collection"] for kind, node in one.nodes() if kind == "Membership"]
    constant = {name for name, size in sizes.items() if size is not None}
    return _iterations(one, sizes)[0] > 0 and not variables(given) <= own | constant


def _iterations(one: Definition, sizes: Mapping[str, int | None]) -> tuple[int, float]:
    """Return how many collections are iterated that the input may size, and the bits of those of constant size."""
    bound = bound_names(one)
    sites, bits = 0, 0.0
    for kind, node in one.nodes():
        collection = _iterated(kind, node, bound)
        constant = 1 if collection is None else _constant_size(collection, sizes)
        if constant is None:
            sites += 1
        elif kind != "Membership":
            bits += log2(constant)
    return sites, bits


def _iterated(kind: str, node: Node, bound: frozenset[str]) -> Node | None:
    if kind in {"SomeIn", "Membership"}:
        return dict(node["collection"])
    if kind == "Every":
        return dict(node["domain"])
    if kind == "RefBrack" and "Var" in node["index"] and node["index"]["Var"]["value"] not in bound:
        return dict(node["refr"])
    if kind == "RefBrack" and not {"Var", "String", "RawString", "Number"} & node["index"].keys():
        return dict(node["refr"])  # `x[[a, b]]` may bind a and b
    return None


def _constant_size(collection: Node, sizes: Mapping[str, int | None]) -> int | None:
    """Return how many parts a collection of the module's own text has; None when the input may size it."""
    if "Var" in collection:
        return sizes.get(collection["Var"]["value"])
    return _size(collection) if collection.keys() & {"Array", "Set", "Object"} else None


def _size(part: Any) -> int | None:
    """Return how many nodes a constant has; None for what depends on anything."""
    kinds = [kind for kind, _ in walk(part)]
    return None if {"Var", "Call"} & set(kinds) else len(kinds)


def _growth(part: Any) -> float:
    """Return the bits by which values built here can outgrow what they are built of."""
    bits = sum(log2(max(1, _leaves(call.parameters))) for call in calls(part) if call.name in GROWING)
    for kind, node in walk(part):
        if kind in {"Array", "Object", "Set"}:
            bits += log2(max(1, _leaves(node)))
        elif (kind == "ArithExpr" and node["op"] == "Mul") or (kind == "BinExpr" and node["op"] == "Union"):
            bits += 1.0
    return bits


def _leaves(part: Any) -> int:
    return sum(kind == "Var" for kind, _ in walk(part))
