"""What a tenant's policy module must be before it is ever evaluated: the rules of `validate_module`, each with an id.

| id | refused |
|---|---|
| PW101 | too large; characters that hide text |
| PW102 | not Rego |
| PW103 | nested or chained more deeply than the parser is trusted with |
| PW104 | another package than `tenant` |
| PW105 | imports other than `rego.v1`; `data` outside `data.tenant`; names of the language used as one's own |
| PW106 | a builtin that is not allowed: anything that reads the world, or that two engines answer differently |
| PW107 | a regular expression that is no literal, or that two engines read differently |
| PW108 | an entry point of another form than `<name> contains <value>` |
| PW109 | a rule that nothing uses: a typing error in `deny` must not pass as no rule |
| PW110 | recursion; more work than the bound; `with` outside tests |
| PW111 | syntax that is not understood |
| PW112 | it fails on a harmless input |
| PW113 | what the engine and OPA read differently (`dialect`) |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from partywall.decision.builtins import ALLOWED, check_call
from partywall.decision.cost import BITS_LIMIT, DEGREE_LIMIT, Cost, cost_of, find_cycle, reachable
from partywall.decision.dialect import dialect
from partywall.decision.hazards import Hazards, hazards_of
from partywall.decision.rego import EnginePanicked, PolicyFailed, RegoEngine
from partywall.decision.scan import Finding, scan
from partywall.decision.syntax import (
    KINDS,
    Definition,
    Node,
    bound_names,
    calls,
    definitions,
    foreign_data,
    line_of,
    parse,
    path_of,
    walk,
)

ENTRIES: Final = ("deny_grant", "obligations_grant", "deny", "approve", "obligations")
RULES_LIMIT: Final = 500
_IMPORTS: Final = {("rego", "v1")}
_RESERVED: Final = frozenset({"input", "data", "rego", "future", "tenant", "partywall"})
_PLACE: Final = re.compile(r"--> [^:\n]*:(\d+):\d+")
_ERROR: Final = re.compile(r"error: ([^\n]*)")
_SAMPLE: Final = """{"action":{"type":"tool.call"},"context":{"class":"effect","depth":0,"label":null,
"time":{"hour":9,"unix_s":1800000000,"weekday":2}},"payload":{},"principal":{"clearance":1,"id":"agt_a","kind":"agent",
"on_behalf_of":null,"scopes":null,"slug":"scout","tenant":"ten_a"},"resource":{"classification":1,
"id":"mcp_a/tool","kind":"tool","name":"server/tool","region":"local","tenant":"ten_a"},"revision":"1-0"}"""


class Inspected(msgspec.Struct, frozen=True):
    """What is known of a module. rules: the entry points it defines. names: all its rules."""

    findings: tuple[Finding, ...]
    rules: frozenset[str] = frozenset()
    cost: Cost = Cost()
    hazards: Hazards = Hazards()
    names: tuple[str, ...] = ()


def validate_module(text: str) -> list[Finding]:
    """Return everything that keeps a module from being activated, in order of lines; empty when nothing does.

    text: one module, `package tenant`, at most 64 KiB. Invariant: a module without findings only narrows, reads
    nothing but its input, ends, and answers as OPA does or refuses. Source: ADR-0004.
    """
    inspected = inspect_module(text)
    findings = list(inspected.findings) or list(_smoke(text, inspected.rules))
    return sorted(findings, key=lambda finding: finding.line)


def inspect_module(text: str) -> Inspected:
    """Return what is known of a module without evaluating it."""
    refused = scan(text)
    if refused is not None:
        return Inspected((refused,))
    try:
        tree = parse(text)
    except (PolicyFailed, EnginePanicked) as error:
        return Inspected((located(str(error)),))
    except (msgspec.DecodeError, RecursionError):
        return Inspected((Finding("PW103", 0, "expressions nest too deeply; name the parts as rules"),))
    strange = next((node for node in walk(tree["rules"]) if node[0] not in KINDS), None)
    if strange is not None:
        return Inspected((Finding("PW111", line_of(strange[1]), f"{strange[0]} is not understood here"),))
    return _inspect(tree)


def _inspect(tree: Node) -> Inspected:
    every = definitions(tree)
    named: dict[str, list[Definition]] = {}
    for one in every:
        named.setdefault(one.name, []).append(one)
    findings = [*_package(tree), *_names(tree, every), *_calls(every, named), *_entries(every)]
    findings += [*dialect(every, named), *_regular(named, every)]
    rules = frozenset(named) & frozenset(ENTRIES)
    if findings:
        return Inspected(tuple(findings), rules)
    cost = cost_of(named, [name for name in ENTRIES if name in rules])
    if cost.degree > DEGREE_LIMIT or cost.bits > BITS_LIMIT:
        findings.append(Finding("PW110", 0, "it may take too long: iterate over fewer things at once in one rule"))
    return Inspected(tuple(findings), rules, cost, hazards_of(every, named), tuple(named))


def _package(tree: Node) -> Iterator[Finding]:
    if path_of(tree["package"]["refr"]) != ("tenant",):
        yield Finding("PW104", line_of(tree["package"]), "a tenant's policy is `package tenant`")
    for one in tree["imports"]:
        if path_of(one["refr"]) not in _IMPORTS or one.get("as"):
            yield Finding("PW105", line_of(one), "only `import rego.v1` is allowed; a policy sees its input alone")
    if len(tree["rules"]) > RULES_LIMIT:
        yield Finding("PW101", 0, f"a policy has at most {RULES_LIMIT} rules")


def _names(tree: Node, every: Sequence[Definition]) -> Iterator[Finding]:
    for line in foreign_data(tree["rules"]):
        yield Finding("PW105", line, "`data` is only `data.tenant.<rule>` here; a policy sees its input alone")
    taken = _RESERVED | {name.partition(".")[0] for name in ALLOWED}
    for one in every:
        for name in sorted({one.name, *bound_names(one)} & taken):
            yield Finding("PW105", one.line, f"{name} is a name of the language; choose another")


def _calls(every: Sequence[Definition], named: Mapping[str, Sequence[Definition]]) -> Iterator[Finding]:
    for one in every:
        for call in calls(one.parts):
            problem = None if call.name in named else check_call(call)
            if problem is not None:
                yield Finding(problem[0], call.line, problem[1])
        if not one.is_test and any(part for part in _withs(one.parts)):
            yield Finding("PW110", one.line, "`with` belongs in test_ rules only")


def _withs(part: Any) -> Iterator[Any]:
    stack = [part]
    while stack:
        here = stack.pop()
        if isinstance(here, dict):
            yield from here.get("with_mods") or ()
            stack.extend(here.values())
        elif isinstance(here, list | tuple):
            stack.extend(here)


def _entries(every: Sequence[Definition]) -> Iterator[Finding]:
    for one in every:
        if one.name in ENTRIES and (one.kind != "set" or not one.plain):
            yield Finding("PW108", one.line, f"write `{one.name} contains <value> if {{ … }}`: it is a set")


def _regular(named: Mapping[str, Sequence[Definition]], every: Sequence[Definition]) -> Iterator[Finding]:
    cycle = find_cycle(named)
    if cycle is not None:
        yield Finding("PW110", named[cycle][0].line, f"{cycle} depends on itself")
        return
    used = reachable(named, [*ENTRIES, *(one.name for one in every if one.is_test)])
    for name in named.keys() - used:
        known = ", ".join(ENTRIES)
        yield Finding("PW109", named[name][0].line, f"nothing uses {name}; the rules that are asked are {known}")


def _smoke(text: str, rules: frozenset[str]) -> Iterator[Finding]:
    """Evaluate every entry point once: scheduling errors show only then."""
    try:
        engine = RegoEngine({"tenant.rego": text})
        for name in sorted(rules):
            engine.evaluate(f"data.tenant.{name}", _SAMPLE)
    except (PolicyFailed, EnginePanicked) as error:
        found = located(str(error))
        yield Finding("PW112", found.line, f"{found.message} (on an agent's call with an empty payload)")


def located(error: str) -> Finding:
    """Return the engine's own error with its line."""
    place, message = _PLACE.search(error), _ERROR.search(error)
    text = message[1] if message else error.splitlines()[-1] if error else "it does not compile"
    return Finding("PW102", int(place[1]) if place else 0, text)
