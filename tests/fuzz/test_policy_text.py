"""Any text is either a policy or has findings; nothing raises, hangs, or takes the process down."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policies import MODULES, module

from partywall.decision.policy import Policy, PolicyFailed, validate_module

TOKEN = re.compile(r'"[^"\n]*"|`[^`]*`|\w+|[^\w\s]+|\s+')
EXTRA = [
    "[", "{", "(", "]", "}", ")", "-", "1", "not ", "in ", "some x in ", "every x in input.y ", "with input as {}",
    "_", "else := 2", "default ", "if ", "contains ", "{x | x := ", "[y | some y in ", "f(f(", "a.b", "data.tenant.",
    "input", "=", ":=", "==", "|", "&", "+", "*", "%", "\n", "\n\n", '"\\u0000"', "1e99", "1.5", "# x\n",
    "import data.x\n", "deny", "x[y] := 1\n", "obj[k][j]", '$"{x}"', "\u202e", "\x00", "😀",
]  # fmt: skip


def mutated(draw: random.Random) -> str:
    """Return a policy with a few tokens inserted, repeated, removed or copied."""
    parts = TOKEN.findall(module(draw.choice(sorted(MODULES))))
    for _ in range(draw.randint(1, 6)):
        place, how = draw.randrange(len(parts) + 1), draw.random()
        if how < 0.5:
            parts.insert(place, draw.choice(EXTRA if how < 0.3 else parts or EXTRA))
        elif how < 0.75:
            del parts[place : place + draw.randint(1, 4)]
        elif how < 0.85:
            parts[place:place] = [draw.choice(EXTRA)] * draw.randint(2, 3000)
        else:
            other = draw.randrange(len(parts) + 1)
            parts[place:place] = parts[min(place, other) : max(place, other)][:50] * draw.randint(1, 20)
    return "".join(parts)


def try_all(seed: int, cases: int) -> Counter[str]:
    draw, seen = random.Random(seed), Counter[str]()
    for _ in range(cases):
        text = mutated(draw)
        findings = validate_module(text)
        seen.update(finding.id for finding in findings)
        if not findings:
            seen["accepted"] += 1
            try:
                Policy(text).arguments('{"payload": {"to": ["a", "b"], "amount": 3}}')
            except PolicyFailed:
                seen["failed"] += 1
    return seen


def test_mutated_policies() -> None:
    seen = try_all(2026, 700)
    assert seen["accepted"] >= 10, seen
    assert len(seen) >= 7, seen


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_mutated_policies(seed: int) -> None:
    try_all(seed, 3_000)


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    assert validate_module(text) or text.strip().startswith("package")
