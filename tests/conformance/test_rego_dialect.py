"""Every expression that a tenant's policy may hold means the same to our engine and to OPA, also under `not`.

`expressions.txt` has one a line. What `validate_module` refuses is not compared; what it accepts must agree on every
value, or ours must refuse the input. The list began as a search for differences: each rule of `dialect`, `builtins` and
`hazards` answers one that was found.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.opa import Opa
from tests.policies import HOSTILE

from partywall.decision.lint import validate_module
from partywall.decision.policy import Policy
from partywall.decision.rego import PolicyFailed
from partywall.decision.scan import Finding

EXPRESSIONS = Path(__file__).with_name("expressions.txt").read_text("utf-8").splitlines()
PARTS = 8
RULES = """package tenant

p := 1 if input.x == 1
q if input.x
r := 2 if { not input.x.a }
f(a) if a == 1
f(a) := 1 if a == "a"
g(a) := b if { b := a }
h(a) := "high" if a > 5
else := "low" if a > 0
else := "none"
part contains z if some z in input.x
obj := {z: 1 | some z in input.x}
e := "a" if input.x == 1
else := "b" if { input.x }
default dfl := 3
dfl := 1 if input.x.a
walkless(a) if { a == "agent" }
walkless(1) if true
k := {"a": input.x, "b": 2}
"""
NUMBERS = [5, 6, 0.5, -0.5, 2.5, 0.2, 0.3, 4.35, -0.1, 3, 7, 9007199254740993, 1e15, 1e-7]
TEXTS = ["a-b", "aa", "aab", "10.0.0.5", "abc", "ag", "t", "b", "1 ", "\n", "a\n"]
LETTERS = ["é1", "ﬀ", "ß", "😀b", "éb", "\uffff", "σ", "ς", "ſ", "Ⱥ", "Ა"]  # noqa: RUF001  # folded and counted apart
COMPOSITES = [
    {"a": {"b": 2}},
    [1, 2],
    [2],
    {"a": [1]},
    {"a": 1, "b": 2},
    ["b", "a"],
    [1, 1],
    [[True]],
    [1, "a"],
    [0.1, 0.2],
]
VALUES: list[Any] = [*HOSTILE, *NUMBERS, *TEXTS, *LETTERS, *COMPOSITES]


def variants(expression: str) -> list[str]:
    """Return an expression as it is, negated, and negated over a name that is surely defined."""
    if ";" in expression or ":=" in expression or expression.startswith(("not", "some", "every")):
        return [expression]
    return [expression, f"not {expression}", f"y := input.x; not {expression.replace('input.x', 'y')}"]


def accepted(expression: str) -> list[Finding]:
    """Return the findings of an expression, without the ones about the unused rules around it."""
    module = f'{RULES}deny contains "x" if {{ {expression} }}\n'
    return [finding for finding in validate_module(module) if finding.id != "PW109"]


def used(expression: str) -> str:
    """Return a whole module whose rules are all in use."""
    keep = "p; q; r; f(1); g(1); h(1); part; obj; e; dfl; walkless(1); k"
    return f'{RULES}deny contains "x" if {{ {expression} }}\ntest_use if {{ {keep} }}\n'


@pytest.mark.parametrize("part", range(PARTS))
def test_accepted_expressions_mean_the_same_to_both(part: int) -> None:
    draw = random.Random(part)
    seen: Counter[str] = Counter()
    for expression in [variant for one in EXPRESSIONS[part::PARTS] for variant in variants(one)]:
        if accepted(expression):
            seen["refused"] += 1
            continue
        seen["accepted"] += 1
        module = used(expression)
        compare(expression, Policy(module), Policy(module, Opa), draw, seen)
    assert seen["accepted"] >= 15, seen
    assert seen["refused"] >= 5, seen
    assert seen["agree"] >= 0.5 * (seen["agree"] + seen["strict"]), seen
    assert seen["denied"] >= 50, seen


def compare(expression: str, ours: Policy, reference: Policy, draw: random.Random, seen: Counter[str]) -> None:
    inputs: list[dict[str, Any]] = [{}, *({"x": value} for value in VALUES)]
    inputs += [{"x": draw.choice(VALUES), "y": draw.choice(VALUES)} for _ in range(30)]
    inputs += [{"x": value, "y": value} for value in draw.sample(VALUES, 10)]
    for one in inputs:
        document = msgspec.json.encode(one).decode()
        mine, theirs = fires(ours, document), fires(reference, document)
        if mine is None:
            seen["strict"] += 1
            continue
        assert mine == theirs, (expression, json.dumps(one), mine, theirs)
        seen["agree"] += 1
        seen["denied"] += mine


def fires(policy: Policy, document: str) -> bool | None:
    try:
        return policy.arguments(document).deny is not None
    except PolicyFailed:
        return None
