"""Against the real OPA: there is no input that our engine allows and OPA does not."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest
from tests.opa import Opa
from tests.policies import MODULES, example, module, mutate

from partywall.decision.policy import Answer, Policy
from partywall.decision.rego import PolicyFailed

CASES_EACH = 220
STRICT = "strict"  # ours refuses to answer


def verdict(policy: Policy, document: str) -> Answer | None:
    """Return both entry points' answer as the decider joins them; None when the policy fails."""
    try:
        granted = policy.grant(document)
        if granted.deny is not None:
            return granted
        asked = policy.arguments(document)
    except PolicyFailed:
        return None
    return Answer(asked.deny, asked.approve, granted.obligations + asked.obligations)


def allows(answer: Answer | None) -> bool:
    return answer is not None and answer.deny is None and answer.approve is None


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_is_allowed_that_opa_does_not_allow(name: str) -> None:
    draw = random.Random(f"differential {name}")
    ours, reference = Policy(module(name)), Policy(module(name), Opa)
    seen: Counter[str] = Counter()
    for number in range(CASES_EACH):
        document = example(draw)
        if number % 4:
            document = mutate(document, draw)
        text = msgspec.json.encode(document).decode()
        mine, theirs = verdict(ours, text), verdict(reference, text)
        assert not allows(mine) or allows(theirs), (name, document, mine, theirs)
        if allows(mine):
            assert mine is not None
            assert theirs is not None
            assert set(mine.obligations) == set(theirs.obligations), (document, mine, theirs)
        seen["agree" if allows(mine) == allows(theirs) else STRICT] += 1
        seen["both allow"] += allows(mine) and allows(theirs)
        seen["both deny"] += not allows(mine) and not allows(theirs)
        if mine is not None and theirs is not None:
            seen["same reason"] += (mine.deny, mine.approve) == (theirs.deny, theirs.approve)
            seen["both answer"] += 1
    assert seen["agree"] >= CASES_EACH * 0.7, seen
    assert seen["same reason"] >= seen["both answer"] * 0.97, seen
    assert seen["both allow"] >= 3, seen
    assert seen["both deny"] >= 20, seen


def test_enough_cases_are_compared() -> None:
    assert len(MODULES) >= 12
    assert len(MODULES) * CASES_EACH >= 2_000
