"""The part of Rego that regorus and OPA read alike; the rest is refused, with what to write instead.

Each rule here stands for a difference that was measured (tests/conformance/test_rego_dialect.py). It matters under
negation: where one engine leaves `f(input.x)` undefined and the other makes `not f(input.x)` true, a policy would
deny in one and allow in the other. Source: ADR-0004.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from partywall.decision.hazards import computes
from partywall.decision.scan import Finding
from partywall.decision.syntax import Definition, Node, bound_names, calls, line_of, variables, walk

ID: Final = "PW113"
_SCALARS: Final = frozenset({"String", "RawString", "Number", "Bool", "Null"})
_INFIX: Final = frozenset({"BoolExpr", "ArithExpr", "BinExpr", "Membership"})
_PATHS: Final = frozenset({"Var", "RefDot", "RefBrack"})
_CERTAIN: Final = _SCALARS | {"Var", "Array", "Set", "Object"}


def dialect(every: Sequence[Definition], named: Mapping[str, Sequence[Definition]]) -> Iterator[Finding]:
    """Yield a finding for each use of what the engines read differently."""
    if computes(every):
        for one in every:
            for line in _fractions(one):
                yield Finding(ID, line, "a policy that computes uses whole numbers only, cents for euros")
    certain = frozenset(name for name in named if _always_defined(named[name]))
    rules = frozenset(named)
    for one in every:
        if one.is_partial_object:
            yield Finding(ID, one.line, f"write {one.name} as a comprehension: `{one.name} := {{k: v | …}}`")
        if one.kind == "function" and any(kind not in _SCALARS | {"Var"} for kind, _ in walk(one.parts[1])):
            yield Finding(ID, one.line, "parameters are names or plain values; take them apart in the body")
        bound = bound_names(one) | rules | {"input", "data"}
        for kind, node in one.nodes():
            problem = _problem(kind, node, rules, certain)
            if problem is None and kind == "NotExpr":
                problem = _unbound(node["expr"], bound)
            if problem is not None:
                yield Finding(ID, line_of(node) or one.line, problem)


def _problem(kind: str, node: Node, rules: frozenset[str], certain: frozenset[str]) -> str | None:
    if kind in {"Every", "SomeIn", "AssignExpr"}:
        return _pattern(kind, node)
    if kind in _INFIX or kind == "UnaryExpr":
        return _operands(kind, node)
    return _negation(node["expr"], rules, certain) if kind == "NotExpr" else None


def _pattern(kind: str, node: Node) -> str | None:
    """Names alone are matched alike; objects are matched in part by one engine and whole by the other."""
    if kind == "Every":
        return None if node["key"] is None else "`every` takes the value alone"
    if kind == "SomeIn":
        plain = _kinds([node["key"], node["value"]]) <= {"Var"}
        return None if plain else "`some … in` takes names; take the value apart afterwards"
    matched = [node["lhs"]] if node["op"] == "ColEq" else [node["lhs"], node["rhs"]]
    return "objects are not matched by `=`; read their members" if "Object" in _kinds(matched) else None


def _operands(kind: str, node: Node) -> str | None:
    """Set operators and `in` bind differently beside other operators, in either engine; quotients are rounded so."""
    if node.get("op") == "Div":
        return "compare products instead of quotients: engines round them differently"
    parts = [part for part in (node.get(key) for key in ("lhs", "rhs", "value", "key", "collection", "expr")) if part]
    for part in parts:
        (inner, value), *_ = part.items()
        if (
            kind in {"BinExpr", "Membership"}
            and inner in _INFIX
            and not (kind == inner and value.get("op") == node.get("op"))
        ):
            return "give this operand a name first: `x := …`; what binds tighter is read differently"
        if inner in {"BinExpr", "Membership"} and kind not in {"BinExpr", "Membership"}:
            return "give this operand a name first: `x := …`; what binds tighter is read differently"
    return None


def _negation(expression: Node, rules: frozenset[str], certain: frozenset[str]) -> str | None:
    """`not` over a path is alike; over a call or comparison only when no part of it can be undefined."""
    (kind, node), *_ = expression.items()
    if kind in _PATHS:
        inner = [found for found in walk(_indexes(expression)) if found[0] not in _SCALARS | {"Var"}]
        return "name the index first: `i := …`" if inner else None
    operands = [node["params"]] if kind == "Call" else [node]
    for found, value in walk(operands):
        unsure = found not in _CERTAIN | _INFIX
        if found == "Var" and value["value"] in rules | {"input", "data"} and value["value"] not in certain:
            unsure = True
        if unsure:
            return "make it a rule and negate that: `ok if …`, then `not ok`; a missing part is read differently here"
    return None


def _unbound(expression: Node, bound: frozenset[str]) -> str | None:
    """A name that only stands under `not` is unsafe in OPA and a wildcard in regorus."""
    called = {call.name.partition(".")[0] for call in calls(expression)}
    loose = sorted(variables(expression) - bound - called)
    return f"{loose[0]} stands under `not` alone; bind it first, or make it a rule and negate that" if loose else None


def _indexes(reference: Node) -> list[Node]:
    found: list[Node] = []
    while "Var" not in reference:
        (kind, node), *_ = reference.items()
        if kind == "RefBrack":
            found.append(node["index"])
        if kind not in _PATHS:
            return [*found, reference]
        reference = node["refr"]
    return found


def _fractions(one: Definition) -> Iterator[int]:
    for kind, node in one.nodes():
        if kind == "Number" and not float(node["value"]).is_integer():
            yield line_of(node)


def _always_defined(each: Sequence[Definition]) -> bool:
    """Tell whether a rule has a value for every input: a set, a constant, or one with a default."""
    if all(one.kind == "set" for one in each):
        return True
    if any(one.kind == "default" for one in each):
        return True
    constant = len(each) == 1 and each[0].kind == "complete" and not each[0].has_body
    return constant and not {"Var", "Call"} & {kind for kind, _ in each[0].nodes()}


def _kinds(parts: Sequence[Node | None]) -> set[str]:
    return {kind for part in parts if part is not None for kind, _ in walk(part)}
