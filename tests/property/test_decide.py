"""What must hold of every decision, whatever the world."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policies import MODULES, module
from tests.property.reference import reference
from tests.property.worlds import AGENT, HERE, NOW_S, THERE, USER, Drawn

from partywall.decision.action import ActionClass, ActionType
from partywall.decision.decide import Decider
from partywall.decision.envelope import Envelope
from partywall.decision.facts import Grant, PolicyFacts, TenantFacts
from partywall.decision.labels import Classification
from partywall.decision.policy import Policy, PolicyFailed
from partywall.decision.principal import Kind, Principal, narrow
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Verdict
from partywall.wire.ids import AgentId

seeds = st.integers(0, 2**32)
scopes = st.none() | st.frozensets(st.sampled_from(list(ActionType)), max_size=6)


def ask(
    decider: Decider, envelope: Envelope, facts: TenantFacts | None, now_s: float = NOW_S, *,
    payload: Any = None, known: bool = True, approved: bool = False,
) -> Verdict:  # fmt: skip
    return decider.decide(
        envelope, facts, payload={} if payload is None else payload, class_=ActionClass.EFFECT, known=known,
        approved=approved, now_s=now_s,
    )  # fmt: skip


def word(verdict: Verdict) -> str:
    if isinstance(verdict, Allow):
        return "allow"
    return "conceal" if isinstance(verdict, Deny) and verdict.conceal else "deny"


def test_every_answer_is_the_references() -> None:
    drawn, decider, seen = Drawn(2026), Decider(), Counter[str]()
    for number in range(6_000):
        if number % 6 == 0:
            envelope, facts = drawn.platform()
        else:
            if number % 10 == 1 or number < 2:
                tenants = [drawn.facts(), drawn.facts(tenant=drawn.odd(HERE, THERE))]
            envelope, facts = drawn.envelope(), drawn.any_of(*tenants)
        known = drawn.odd(True, False)
        now_s = NOW_S + drawn.any_of(0.0, 0.0, 5.0, 20.0)
        expected = reference(envelope, facts, known, now_s)
        verdict = ask(decider, envelope, facts, now_s, known=known)
        assert word(verdict) == expected, (envelope, facts, known, now_s, verdict)
        seen[expected] += 1
        if isinstance(verdict, Deny):
            seen[verdict.reason] += 1
    assert min(seen["allow"], seen["deny"], seen["conceal"]) >= 300, seen
    assert len(seen) >= 15, seen  # every check refused somebody
    assert not seen["policy-error"]


def test_a_subject_without_grants_may_do_nothing_to_content() -> None:
    drawn, decider = Drawn(1, oddity=0), Decider()
    content = {ActionType.TOOL_CALL, ActionType.MODEL_REQUEST, ActionType.MEMORY, ActionType.EMBED, ActionType.EGRESS}
    for _ in range(500):
        facts = drawn.facts()
        bare = {one: msgspec.structs.replace(facts.subjects[one], grants=()) for one in facts.subjects}
        envelope = drawn.envelope()
        if envelope.action.type in content:
            assert isinstance(ask(decider, envelope, msgspec.structs.replace(facts, subjects=bare)), Deny)


def test_an_unknown_action_resource_or_tenant_is_denied() -> None:
    assert isinstance(ask(Decider(), Drawn(5).envelope(), None), Deny)


@given(seeds, st.sampled_from(sorted(MODULES)))
@settings(max_examples=150, deadline=None)
def test_a_tenant_policy_never_widens(seed: int, name: str) -> None:
    """What a module allows, the base alone allows too, and the obligations are at least the base's."""
    drawn = Drawn(seed)
    facts, envelope = drawn.facts(module(name)), drawn.envelope()
    payload = {
        "amount": 5,
        "recipient": "x",
        "to": ["a@acme.example"],
        "items": [1],
        "path": "/srv/data/x",
        "messages": [],
    }
    narrowed = ask(Decider(), envelope, facts, payload=payload)
    base = ask(Decider(), envelope, msgspec.structs.replace(facts, policy=PolicyFacts()), payload=payload)
    if isinstance(narrowed, Allow):
        assert isinstance(base, Allow)
        assert set(base.obligations) <= set(narrowed.obligations)
    if isinstance(base, Deny):
        assert isinstance(narrowed, Deny)


DENIALS = [
    'deny contains "no-{n}" if input.payload.n == {n}',
    'deny_grant contains "no-{n}" if input.principal.clearance == {n}',
    'approve contains "ask-{n}" if input.payload.n >= {n}',
    'obligations contains {{"tag": {n}}} if input.payload.n == {n}',
    'deny contains "broken-{n}" if startswith(input.payload.n, "{n}")',
    'deny contains {{"reason": "no", "advice": "{n}", "odd": true}} if input.payload.n == {n}',
]
ORDER = {"allow": 0, "approve": 1, "deny": 2, "conceal": 2}


@given(seeds, st.lists(st.tuples(st.sampled_from(DENIALS), st.integers(0, 3)), max_size=4), st.sampled_from(DENIALS))
@settings(max_examples=150, deadline=None)
def test_adding_a_rule_never_widens_and_deny_wins(seed: int, lines: list[tuple[str, int]], added: str) -> None:
    drawn = Drawn(seed, oddity=0.02)
    before = "package tenant\n" + "\n".join(line.format(n=n) for line, n in lines) + "\n"
    after = before + added.format(n=drawn.random.randrange(4)) + "\n"
    envelope, facts = drawn.envelope(), drawn.facts(before)
    payload, approved = {"n": drawn.random.randrange(4)}, drawn.any_of(True, False)
    less = ask(Decider(), envelope, facts, payload=payload, approved=approved)
    changed = msgspec.structs.replace(facts, policy=PolicyFacts(revision="2-def", module=after))
    more = ask(Decider(), envelope, changed, payload=payload, approved=approved)
    rank = [ORDER["approve" if isinstance(one, NeedsApproval) else word(one)] for one in (less, more)]
    assert rank[0] <= rank[1], (before, after, less, more)


@given(seeds, scopes, scopes, st.sampled_from(Classification), st.floats(0, 2e9))
@settings(max_examples=200, deadline=None)
def test_delegation_only_narrows(
    seed: int,
    outer: frozenset[ActionType] | None,
    inner: frozenset[ActionType] | None,
    clearance: Classification,
    end: float,
) -> None:
    drawn = Drawn(seed, oddity=0)
    user = msgspec.structs.replace(
        drawn.principal(), kind=Kind.USER, id=USER, on_behalf_of=None, scopes=outer, tenant=HERE
    )
    agent = user.delegate(AgentId(AGENT), scopes=inner, clearance=clearance, credential="tok", expires_at_s=end)
    assert agent.tenant == user.tenant
    assert agent.expires_at_s <= user.expires_at_s
    assert agent.clearance <= user.clearance
    for scope in (outer, inner):
        assert scope is None or (agent.scopes is not None and agent.scopes <= scope)
    assert narrow(outer, inner) == narrow(inner, outer)
    facts, envelope, decider = drawn.facts(), drawn.envelope(agent), Decider()
    if isinstance(ask(decider, envelope, facts), Allow) and envelope.action.type is not ActionType.OPERATOR_TOKEN:
        for alone in (as_agent(agent), user):
            assert isinstance(ask(decider, msgspec.structs.replace(envelope, principal=alone), facts), Allow)


def as_agent(principal: Principal) -> Principal:
    """The same agent, acting for nobody."""
    return msgspec.structs.replace(principal, on_behalf_of=None)


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_another_tenants_resource_is_always_concealed(seed: int) -> None:
    drawn = Drawn(seed)
    envelope, facts = drawn.envelope(), drawn.facts()
    resource = msgspec.structs.replace(envelope.action.resource, tenant=THERE)
    crossing = msgspec.structs.replace(envelope, action=msgspec.structs.replace(envelope.action, resource=resource))
    verdict = ask(Decider(), crossing, facts)
    assert isinstance(verdict, Deny)
    assert verdict.conceal
    assert ask(Decider(), crossing, drawn.facts(tenant=THERE)) == verdict or isinstance(verdict, Deny)


@given(seeds, st.lists(st.floats(-50, 50), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_a_warm_cache_answers_as_a_cold_one_at_every_time(seed: int, moments: list[float]) -> None:
    """Grants and credentials end; a decider that has seen everything before says the same as a new one."""
    drawn = Drawn(seed)
    facts, envelopes, warm = drawn.facts(), [drawn.envelope() for _ in range(4)], Decider()
    for moment in moments:
        for envelope in envelopes:
            now_s = NOW_S + moment
            assert ask(warm, envelope, facts, now_s) == ask(Decider(), envelope, facts, now_s)


@given(seeds)
@settings(max_examples=100, deadline=None)
def test_changed_facts_are_never_answered_from_the_cache(seed: int) -> None:
    """Also when the revision number is the same, as after a restored database."""
    drawn, warm = Drawn(seed), Decider()
    envelopes = [drawn.envelope() for _ in range(4)]
    for _ in range(3):
        facts = msgspec.structs.replace(drawn.facts(), revision=7)
        for envelope in envelopes:
            assert ask(warm, envelope, facts) == ask(Decider(), envelope, facts)


def test_a_grant_ends_on_the_second() -> None:
    drawn, decider = Drawn(3, oddity=0), Decider()
    facts = drawn.facts()
    grant = Grant(action=ActionType.MEMORY, resource="memory/notes", expires_at_s=NOW_S + 5)
    agent = msgspec.structs.replace(facts.subjects[AGENT], grants=(grant,))
    facts = msgspec.structs.replace(facts, subjects={**facts.subjects, AGENT: agent})
    principal = msgspec.structs.replace(drawn.principal(), kind=Kind.AGENT, id=AGENT, on_behalf_of=None, scopes=None)
    envelope = drawn.envelope(principal)
    resource = msgspec.structs.replace(envelope.action.resource, kind="memory", id="notes")
    action = msgspec.structs.replace(envelope.action, type=ActionType.MEMORY, resource=resource)
    envelope = msgspec.structs.replace(envelope, action=action, label=None)
    assert isinstance(ask(decider, envelope, facts, NOW_S + 4.999), Allow)
    assert isinstance(ask(decider, envelope, facts, NOW_S + 5), Deny)
    assert isinstance(decider.redecide(envelope, facts, NOW_S + 4.9), Allow)
    assert isinstance(decider.redecide(envelope, facts, NOW_S + 5.1), Deny)


class Broken:
    """An engine that fails in a way of its own."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    def evaluate(self, rule: str, document: str) -> str:
        raise self.failure


class Panic(BaseException):
    """As pyo3's PanicException: no Exception."""


@given(seeds, st.sampled_from([PolicyFailed("x"), RuntimeError("x"), MemoryError(), RecursionError(), Panic("x")]))
@settings(max_examples=60, deadline=None)
def test_an_engine_that_fails_denies(seed: int, failure: BaseException) -> None:
    drawn = Drawn(seed, oddity=0)
    decider = Decider(lambda text: Policy(text, lambda _: Broken(failure)))
    assert isinstance(ask(decider, drawn.envelope(), drawn.facts()), Deny)


class Says:
    """An engine that answers with a fixed text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def evaluate(self, rule: str, document: str) -> str:
        return self.text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "allow", "base"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["base", "allow", "deny_grant", "reason"]), inner)
    ),
    max_leaves=6,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_an_answer_of_another_shape_denies(value: Any) -> None:
    drawn = Drawn(1, oddity=0)
    decider = Decider(lambda text: Policy(text, lambda _: Says(msgspec.json.encode(value).decode())))
    verdict = ask(decider, drawn.envelope(), drawn.facts())
    right = isinstance(value, dict) and isinstance(value.get("base"), dict) and value["base"].get("allow") is True
    assert isinstance(verdict, Deny) or (right and isinstance(value["base"]["reason"], str))
