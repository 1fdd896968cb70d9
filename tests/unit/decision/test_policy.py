"""Answers and their shapes, approvals, obligations, and the engines that are kept."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from typing import Any

import msgspec
import pytest
from tests.property.worlds import AGENT, HERE, NOW_S, SERVER, Drawn

from partywall.decision.action import ActionClass, ActionType
from partywall.decision.decide import Decider
from partywall.decision.facts import Grant, PolicyFacts, TenantFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.policy import Answer, Policy, PolicyFailed, Reason
from partywall.decision.principal import Kind
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Redact, Tag, Truncate, Verdict

HEAD = "package tenant\n"


def world(module: str | None, revision: str = "1-abc") -> tuple[Any, TenantFacts]:
    """Return an agent's granted tool call, in a tenant with this policy."""
    drawn = Drawn(7, oddity=0)
    facts = drawn.facts(module)
    if module is not None:
        facts = msgspec.structs.replace(facts, policy=PolicyFacts(revision=revision, module=module))
    agent = msgspec.structs.replace(
        facts.subjects[AGENT], grants=(Grant(action=ActionType.TOOL_CALL, resource=f"tool/{SERVER}/*"),)
    )
    facts = msgspec.structs.replace(facts, subjects={**facts.subjects, AGENT: agent})
    principal = msgspec.structs.replace(
        drawn.principal(), kind=Kind.AGENT, id=AGENT, on_behalf_of=None, scopes=None, tenant=HERE
    )
    envelope = drawn.envelope(principal)
    resource = msgspec.structs.replace(envelope.action.resource, kind="tool", id=f"{SERVER}/send")
    action = msgspec.structs.replace(envelope.action, type=ActionType.TOOL_CALL, resource=resource)
    return msgspec.structs.replace(envelope, action=action, label=None), facts


def decide(module: str | None, payload: Any = None, *, approved: bool = False, **changes: Any) -> Verdict:
    envelope, facts = world(module)
    return Decider().decide(
        msgspec.structs.replace(envelope, **changes), facts, payload={} if payload is None else payload,
        class_=ActionClass.EFFECT, known=True, approved=approved, now_s=NOW_S,
    )  # fmt: skip


def test_reasons_are_words_or_become_advice() -> None:
    said = {
        '"too-large"': Deny("too-large", "1-abc"),
        '"Please do not."': Deny("denied-by-policy", "1-abc", "Please do not."),
        '{"reason": "no", "advice": "Ask."}': Deny("no", "1-abc", "Ask."),
        '{"reason": "No!", "advice": "Ask."}': Deny("denied-by-policy", "1-abc", "Ask."),
        "1": Deny("policy-error", "1-abc", "The policy could not be evaluated; a tenant administrator must mend it."),
        '{"reason": "no", "else": 1}': None,
        "null": None,
    }
    for text, expected in said.items():
        verdict = decide(f"{HEAD}deny contains {text} if input.payload.a\n", {"a": True})
        assert isinstance(verdict, Deny)
        assert expected is None or verdict == expected
        assert expected is not None or verdict.reason == "policy-error"


def test_of_many_reasons_the_same_is_given() -> None:
    text = HEAD + 'deny contains "b" if true\ndeny contains "a" if true\n'
    assert decide(text) == Deny("a", "1-abc")


def test_obligations_of_both_entry_points_add_up() -> None:
    text = HEAD + (
        'obligations_grant contains {"redact": ["iban", "email"]} if input.resource.name == "bank/send"\n'
        'obligations contains {"truncate": 10} if input.payload.a == 1\n'
        'obligations contains {"tag": 2} if input.context.class == "effect"\n'
    )
    verdict = decide(text, {"a": 1})
    assert isinstance(verdict, Allow)
    assert set(verdict.obligations) == {Redact(("email", "iban")), Truncate(10), Tag(2)}


@pytest.mark.parametrize(
    "wrong",
    ["{}", '{"redact": []}', '{"redact": "iban"}', '{"truncate": 0}', '{"tag": 4}', '{"tag": 1, "truncate": 1}',
     '"redact"', '{"allow": true}', '{"truncate": "9"}'],
)  # fmt: skip
def test_an_obligation_of_another_shape_denies(wrong: str) -> None:
    verdict = decide(f"{HEAD}obligations contains {wrong} if true\n")
    assert isinstance(verdict, Deny)
    assert verdict.reason == "policy-error"


def test_an_approval_binds_action_resource_and_payload() -> None:
    text = HEAD + 'approve contains "large" if input.payload.amount > 100\n'
    payload = {"amount": 200, "to": "é"}
    verdict = decide(text, payload)
    assert isinstance(verdict, NeedsApproval)
    assert verdict.reason == "large"
    envelope, _ = world(text)
    canonical = msgspec.json.encode(["tool.call", str(envelope.action.resource), payload], order="sorted")
    assert verdict.digest == hashlib.sha256(canonical).hexdigest()
    assert decide(text, dict(reversed(payload.items()))) == verdict
    others = decide(text, {**payload, "amount": 201}), decide(text, {**payload, "to": "e"})
    assert all(isinstance(other, NeedsApproval) and other.digest != verdict.digest for other in others)
    assert isinstance(decide(text, payload, approved=True), Allow)
    denied = text + 'deny contains "never" if true\n'
    assert decide(denied, payload, approved=True) == Deny("never", "1-abc")


def test_arguments_see_label_time_depth_and_class() -> None:
    text = HEAD + (
        'deny contains "tainted" if { input.context.label.trust == "untrusted"; input.context.class == "effect" }\n'
        'deny contains "deep" if input.context.depth == 3\n'
        'deny contains "friday" if { input.context.time.weekday == 4; input.context.time.hour == 8 }\n'
    )
    assert NOW_S == 1_800_000_000  # a Friday, 08:00:00 UTC
    assert decide(text, depth=1) == Deny("friday", "1-abc")
    label = Label(tenant=HERE, classification=Classification.PUBLIC, trust=Trust.UNTRUSTED)
    assert decide(text.replace('"friday"', '"zzz"'), label=label, depth=1) == Deny("tainted", "1-abc")
    assert decide(text.replace('"friday"', '"zzz"'), depth=3) == Deny("deep", "1-abc")


def test_grant_rules_do_not_see_the_payload() -> None:
    text = HEAD + 'deny_grant contains "seen" if input.payload\ndeny_grant contains "context" if input.context\n'
    assert isinstance(decide(text, {"a": 1}), Allow)
    assert isinstance(decide(HEAD + 'deny contains "grants" if input.principal.grants\n', {"a": 1}), Allow)


@pytest.mark.parametrize("payload", [{"a": object()}, {"a": "\ud800"}, {1.5: "x"}])
def test_a_payload_that_is_no_json_denies(payload: Any) -> None:
    verdict = decide(HEAD + 'deny contains "x" if input.payload.b\n', payload)
    assert isinstance(verdict, Deny)


def test_a_deep_payload_denies_rather_than_overflows() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    verdict = decide(HEAD + 'deny contains "x" if input.payload.b\n', {"a": deep})
    assert isinstance(verdict, Deny)
    assert verdict.reason == "policy-error"
    while isinstance(deep, list):  # take it apart here: freeing it at once recurses too
        deep = deep.pop()


def test_a_policy_that_does_not_hold_denies_everything() -> None:
    for text in (HEAD + "deny :=", HEAD + 'deny contains "x" if http.send({})', "package other\n"):
        verdict = decide(text)
        assert isinstance(verdict, Deny)
        assert verdict.reason == "policy-error"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pyo3 frees no engine elsewhere
def test_another_threads_engine_panics_and_denies_then_recovers() -> None:
    decider = Decider()
    envelope, facts = world(HEAD + 'deny contains "x" if input.payload.b\n')

    def ask() -> Verdict:
        return decider.decide(
            envelope, facts, payload={}, class_=ActionClass.EFFECT, known=True, approved=False, now_s=NOW_S
        )

    assert isinstance(ask(), Allow)
    found: list[Verdict] = []
    thread = threading.Thread(target=lambda: found.extend([ask(), ask()]))
    thread.start()
    thread.join()
    assert isinstance(found[0], Deny)
    assert found[0].reason == "policy-error"
    assert isinstance(found[1], Allow)
    gc.collect()


def test_a_policys_engine_is_compiled_once_a_revision() -> None:
    compiled: list[str | None] = []

    def compile_policy(text: str | None) -> Policy:
        compiled.append(text)
        return Policy(text)

    decider, text = Decider(compile_policy), HEAD + 'deny contains "x" if input.payload.b\n'
    for revision in ("1-a", "2-a"):
        envelope, facts = world(text, revision)
        for _ in range(5):
            verdict = decider.decide(
                envelope, facts, payload={"b": 1}, class_=ActionClass.EFFECT, known=True, approved=False, now_s=NOW_S
            )
            assert verdict == Deny("x", revision)
    assert compiled == [text]


def test_an_interrupt_is_no_failure_of_the_policy() -> None:
    class Interrupted:
        def evaluate(self, rule: str, document: str) -> str:
            raise KeyboardInterrupt

    envelope, facts = world(None)
    decider = Decider(lambda text: Policy(text, lambda _: Interrupted()))
    with pytest.raises(KeyboardInterrupt):
        decider.redecide(envelope, facts, NOW_S)


def test_the_base_alone_has_no_arguments() -> None:
    policy = Policy()
    assert not policy.has_arguments
    assert policy.arguments("{}") == Answer()
    with pytest.raises(PolicyFailed):
        policy.grant("not json")
    assert policy.grant("{}").deny == Reason(
        "not-granted", "Ask a tenant administrator for a grant of this action on this resource."
    )


@pytest.mark.parametrize(
    "condition",
    [
        r"regex.match(`(?:a|b)*a(?:a|b){300}c`, input.payload.text)",
        r"regex.match(`a[^c]{60}c`, input.payload.text)",
        r'replace(input.payload.text, "a", "") == "x"',
    ],
)
def test_builtins_that_read_a_long_text_again_and_again_are_refused_before_they_cost(condition):
    rules = "\n".join(f'deny contains "x{number}" if {{ {number} != 77; {condition} }}' for number in range(20))
    policy = Policy(f"package tenant\nimport rego.v1\n{rules}")
    short, long = ('{"payload":{"text":"%s"}}' % ("ab" * count) for count in (200, 450_000))
    policy.arguments(short)
    began_s = time.process_time()
    with pytest.raises(PolicyFailed, match="too large"):
        policy.arguments(long)
    assert time.process_time() - began_s < 0.5


def test_a_policy_with_a_few_patterns_judges_a_long_text():
    patterns = (r"^[A-Z]{2}[0-9]{2}", r"(?:[0-9]{4}[ -]?){4}", r"[a-z0-9.]+@[a-z0-9.]+")
    rules = "\n".join(
        f'deny contains "p{number}" if regex.match(`{pattern}`, input.payload.text)'
        for number, pattern in enumerate(patterns)
    )
    policy = Policy(f"package tenant\nimport rego.v1\n{rules}")
    assert policy.arguments('{"payload":{"text":"%s"}}' % ("word " * 60_000)).deny is None
