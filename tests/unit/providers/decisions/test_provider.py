"""Who is asked about, what that needs, and how much one request may cost."""

import asyncio

import msgspec
import pytest
from tests.fuzz.test_authzen import Front
from tests.matrix.test_coverage import classes

from partywall import providers
from partywall.control.grants import GRANTABLE
from partywall.decision.action import ActionType
from partywall.decision.decide import Decider
from partywall.decision.facts import SubjectFacts
from partywall.decision.ports import Call
from partywall.decision.principal import Kind, Principal
from partywall.errors import Malformed
from partywall.providers.decisions import provider as module
from partywall.providers.decisions.naming import COMMON
from partywall.providers.decisions.provider import DecisionProvider
from partywall.wire.authzen import parse_evaluation, parse_evaluations, parse_search

WORKER = {"type": "agent", "id": "a"}
USE = {"subject": WORKER, "action": {"name": "use"}, "resource": {"type": "model", "id": "small"}}


@pytest.fixture
def front():
    return Front()


def provider_of(front, *, cpu=lambda: 0.0):
    road = front.app._doors[0][1]._pipeline
    made = DecisionProvider(
        front.world.facts, Decider(), lambda: road._providers, clock=lambda: front.world.now, cpu=cpu
    )  # fmt: skip
    road._providers["decision"] = made
    return made, road


def prepared(front, question, *, asker=None, action=ActionType.DECISION_EVALUATE):
    call = Call(
        action=action, kind="decision", name=asker or front.world.agent, payload=question, trace_id="0" * 32
    )  # fmt: skip
    return provider_of(front)[0].prepare(call, front.world.facts.tenants[front.world.tenant]).resource.id


def submit(front, road, question, action=ActionType.DECISION_EVALUATE):
    admin = Principal(
        kind=Kind.TENANT_ADMIN, id=front.world.admin, region="local", tenant=front.world.tenant, credential="key_a",
        expires_at_s=front.world.now + 60,
    )  # fmt: skip
    call = Call(action=action, kind="decision", name=admin.id, payload=question, trace_id="0" * 32)
    effect = asyncio.run(road.submit(admin, call))
    return msgspec.json.decode(effect.body), effect.parameters


def test_a_question_about_oneself_is_ones_own_resource(front):
    agent = front.world.agent
    assert prepared(front, parse_evaluation(USE)) == agent
    assert prepared(front, parse_evaluation(USE | {"subject": {"type": "agent", "id": agent}})) == agent
    assert prepared(front, parse_search(USE, "resource"), action=ActionType.DECISION_SEARCH) == agent
    assert prepared(front, parse_evaluations(USE | {"evaluations": [{}, {}]})) == agent


@pytest.mark.parametrize(
    "subject", [{"type": "user", "id": "u"}, {"type": "agent", "id": "nobody"}, {"type": "user", "id": "a"}]
)
def test_a_question_about_anybody_else_or_nobody_is_everybodys(front, subject):
    assert prepared(front, parse_evaluation(USE | {"subject": subject})) == "*"
    assert prepared(front, parse_evaluations(USE | {"evaluations": [{}, {"subject": subject}]})) == "*"
    assert prepared(front, parse_search(USE | {"subject": subject}, "action"), action=ActionType.DECISION_SEARCH) == "*"
    assert prepared(front, parse_search(USE, "subject"), action=ActionType.DECISION_SEARCH) == "*"


def test_a_payload_of_another_action_is_refused(front):
    for question, action in (
        (parse_evaluation(USE), ActionType.DECISION_SEARCH),
        (parse_search(USE, "subject"), ActionType.DECISION_EVALUATE),
        (USE, ActionType.DECISION_EVALUATE),
    ):
        with pytest.raises(Malformed):
            prepared(front, question, action=action)


def test_what_takes_too_long_is_answered_with_no(front):
    ticks = iter(range(10_000))
    _made, road = provider_of(front, cpu=lambda: next(ticks) * 0.05)
    said, parameters = submit(front, road, parse_evaluations(USE | {"evaluations": [{}] * 20}))
    reasons = [one["context"].get("reason") for one in said["evaluations"]]
    assert len(reasons) == 20
    assert reasons[-1] == "too-slow"
    assert parameters["evaluated"] == reasons.index("too-slow")
    assert not any(one["decision"] for one in said["evaluations"][parameters["evaluated"] :])


def test_a_search_that_takes_too_long_ends_its_page_and_goes_on(front, monkeypatch):
    monkeypatch.setattr(module, "WORK_LIMIT", 3)
    subjects = dict(front.world.facts.tenants[front.world.tenant].subjects)
    for number in range(10):
        id_ = f"agt_{'b' * 25}{'abcdefghij'[number]}"
        subjects[id_] = SubjectFacts(id=id_, slug=f"s{number}", kind=Kind.AGENT)
    front.world.set_tenant(subjects=subjects)
    _made, road = provider_of(front)
    body = {"subject": {"type": "agent"}, "action": {"name": "list"}, "resource": {"type": "model", "id": "*"}}
    found, page, requests = [], {}, 0
    while requests < 20:
        requests += 1
        said, _parameters = submit(
            front, road, parse_search(body | {"page": page}, "subject"), ActionType.DECISION_SEARCH
        )  # fmt: skip
        found += [one["id"] for one in said["results"]]
        page = {"token": said["page"]["next_token"]}
        if not page["token"]:
            break
    assert found == ["a", *(f"s{number}" for number in range(10))]
    assert requests == 4


def test_the_record_names_subjects_and_resources_in_our_own_words(front):
    _made, road = provider_of(front)
    secret = USE | {"resource": {"type": "model", "id": "my secret words", "properties": {"x": "more of them"}}}
    _said, parameters = submit(front, road, parse_evaluations({"evaluations": [USE, secret, {"subject": 7}]}))
    assert "secret" not in str(parameters)
    assert "more of" not in str(parameters)
    assert parameters["permitted"] == "000"
    assert [one["verdict"] for one in parameters["decisions"]] == [
        "deny not-granted", "deny not-found", "deny not-found",
    ]  # fmt: skip


def test_whatever_can_be_granted_can_be_asked_about():
    kinds = {one.kind: one for one in classes(providers) if hasattr(one, "prepare") and hasattr(one, "kind")}
    granted = {kind for kind in GRANTABLE.values() if kind in kinds} - {"decision"}
    assert {"model", "tool", "memory"} <= granted
    assert {kind for kind in granted if not hasattr(kinds[kind], "locate")} == set()


def test_the_usual_words_mean_actions_of_their_kind():
    assert COMMON["tool"]["call"] is ActionType.TOOL_CALL
    assert all(isinstance(action, ActionType) for words in COMMON.values() for action in words.values())


def test_questions_leave_the_roads_memory_alone(front):
    _made, road = provider_of(front)
    submit(front, road, parse_evaluations(USE | {"evaluations": [{}, {"action": {"name": "list"}}]}))
    remembered = road._decider._cells[front.world.tenant].grants
    assert {key[6] for key in remembered} == {ActionType.DECISION_EVALUATE}
