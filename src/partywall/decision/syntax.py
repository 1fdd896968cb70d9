"""A module's syntax tree, as the engine itself parsed it: definitions, what they refer to, what they call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from partywall.decision.rego import RegoEngine

Node = dict[str, Any]

EXPRESSIONS: Final = frozenset(
    {"Var", "RefDot", "RefBrack", "String", "RawString", "Number", "Bool", "Null", "Array", "Set", "Object"}
    | {
        "ArrayCompr",
        "SetCompr",
        "ObjectCompr",
        "Call",
        "BoolExpr",
        "ArithExpr",
        "BinExpr",
        "AssignExpr",
        "UnaryExpr",
        "Membership",
    }
)
LITERALS: Final = frozenset({"Expr", "NotExpr", "SomeVars", "SomeIn", "Every"})
HEADS: Final = frozenset({"Spec", "Compr", "Func", "Set", "Default"})
KINDS: Final = EXPRESSIONS | LITERALS | HEADS
"""Every node that is understood; a module with any other is refused."""

PACKAGE: Final = ("data", "tenant")


class Call(msgspec.Struct, frozen=True):
    """One call. name: `count`, `regex.match`, or a function of the module."""

    name: str
    line: int
    parameters: list[Node]


class Definition(msgspec.Struct, frozen=True):
    """One definition of a rule; a rule may have many. kind: set, complete, function or default."""

    name: str
    kind: str
    line: int
    parameters: frozenset[str]
    parts: tuple[Any, ...]
    plain: bool = True
    has_body: bool = True

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """Yield every (kind, node) of its head and bodies, except its own name."""
        return walk(self.parts)

    @property
    def is_partial_object(self) -> bool:
        """Whether its name is more than one word: `limits[k] := …`, `a.b := …`."""
        return not self.plain

    @property
    def is_test(self) -> bool:
        """Whether only `partywall policy test` ever evaluates it."""
        return self.name.startswith("test_")


def parse(text: str) -> Node:
    """Return the tree of a module that `scan` has passed. Raises: PolicyFailed, EnginePanicked; DecodeError, deep."""
    trees: list[dict[str, Any]] = msgspec.json.decode(RegoEngine({"tenant.rego": text}).syntax())
    return dict(trees[0]["ast"])


def walk(part: Any) -> Iterator[tuple[str, Node]]:
    """Yield every (kind, node) below part, each once; a stack, so that no depth of the tree is a depth of ours."""
    stack = [part]
    while stack:
        here = stack.pop()
        if type(here) is dict:
            for key, value in here.items():
                if key in {"span", "eidx"}:
                    continue
                if key[0].isupper():
                    yield key, value
                stack.append(value)
        elif type(here) is list or type(here) is tuple:
            stack.extend(here)


def line_of(node: Node) -> int:
    """Return the line that a node begins in."""
    span = node.get("span") or {}
    return int(span.get("line", 0))


def path_of(reference: Node) -> tuple[str, ...] | None:
    """Return `("data", "tenant", "x")` for the reference `data.tenant.x`; None when a part is computed."""
    parts: list[str] = []
    while "RefDot" in reference:
        parts.append(str(reference["RefDot"]["field"][1]))
        reference = reference["RefDot"]["refr"]
    if "Var" not in reference:
        return None
    parts.append(str(reference["Var"]["value"]))
    return tuple(reversed(parts))


def root_of(reference: Node) -> str | None:
    """Return the name that a reference begins with."""
    while True:
        if "RefDot" in reference:
            reference = reference["RefDot"]["refr"]
        elif "RefBrack" in reference:
            reference = reference["RefBrack"]["refr"]
        else:
            return str(reference["Var"]["value"]) if "Var" in reference else None


def definitions(tree: Node) -> list[Definition]:
    """Return all definitions of a module, in order."""
    return [_definition(rule) for rule in tree["rules"]]


def _definition(rule: Node) -> Definition:
    if "Default" in rule:
        default = rule["Default"]
        name = root_of(default["refr"]) or ""
        told = (default["args"], default["value"])
        return Definition(name, "default", line_of(default), frozenset(), told, "Var" in default["refr"])
    spec = rule["Spec"]
    (form, head), *_ = spec["head"].items()
    kind = {"Set": "set", "Func": "function"}.get(form, "complete")
    parameters = head.get("args") or []
    names = frozenset(node["value"] for found, node in walk(parameters) if found == "Var")
    parts = (_computed(head["refr"]), parameters, head.get("key"), head.get("assign"), spec["bodies"])
    name, plain = root_of(head["refr"]) or "", "Var" in head["refr"]
    return Definition(name, kind, line_of(spec), names, parts, plain, bool(spec["bodies"]))


def _computed(reference: Node) -> list[Node]:
    """Return the computed parts of a rule's own name: `k` of `limits[k] := …`."""
    found = []
    while "Var" not in reference:
        (kind, node), *_ = reference.items()
        if kind == "RefBrack":
            found.append(node["index"])
        if kind not in {"RefBrack", "RefDot"}:
            return [*found, reference]
        reference = node["refr"]
    return found


def bound_names(one: Definition) -> frozenset[str]:
    """Return the names that parameters, `:=` and `some … in` bind to values."""
    found: set[str] = set(one.parameters)
    for kind, node in one.nodes():
        if kind == "AssignExpr" and node["op"] == "ColEq":
            found |= variables(node["lhs"])
        elif kind == "SomeIn":
            found |= variables([node["key"], node["value"]])
    return frozenset(found - {"_"})


def variables(part: Any) -> set[str]:
    """Return the names below part."""
    return {str(node["value"]) for kind, node in walk(part) if kind == "Var"}


def calls(part: Any) -> Iterator[Call]:
    """Yield every call below part; a name that is computed is "?"."""
    for kind, node in walk(part):
        if kind == "Call":
            path = path_of(node["fcn"])
            if path is not None and path[:2] == PACKAGE and len(path) == 3:
                path = path[2:]
            yield Call(".".join(path) if path else "?", line_of(node), node["params"])


def references(part: Any, rules: frozenset[str]) -> set[str]:
    """Return the rules of the module that are named below part, as `x` or as `data.tenant.x`."""
    found: set[str] = set()
    for kind, node in walk(part):
        if kind == "Var" and node["value"] in rules:
            found.add(node["value"])
        if kind == "RefDot":
            path = path_of({"RefDot": node})
            if path is not None and path[:2] == PACKAGE and len(path) > 2 and path[2] in rules:
                found.add(path[2])
    return found


def foreign_data(part: Any) -> Iterator[int]:
    """Yield the line of each use of `data` that is not `data.tenant.<rule>`."""
    own: set[int] = set()
    for kind, node in walk(part):
        if kind == "RefDot":
            path = path_of({"RefDot": node})
            if path is not None and path[:2] == PACKAGE and len(path) == 3:
                own.add(id(node["refr"]["RefDot"]["refr"]["Var"]))
    for kind, node in walk(part):
        if kind == "Var" and node["value"] == "data" and id(node) not in own:
            yield line_of(node)
