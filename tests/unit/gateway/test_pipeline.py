"""The road, step by step: what it records, in which order, and what it refuses. Ports are small and in memory."""

import asyncio

import pytest

from partywall.decision.action import ActionType, Resource
from partywall.decision.decide import Decider
from partywall.decision.facts import Grant, ModelFacts, State, SubjectFacts, TenantFacts
from partywall.decision.ports import Call, Delta, Effect, Prepared
from partywall.decision.principal import Kind, Principal
from partywall.decision.record import Phase, Result
from partywall.errors import Denied, LimitExceeded, Malformed, NotFound, ProviderRefused, ProviderTimeout, Unavailable
from partywall.gateway.pipeline import Pipeline
from partywall.gateway.worker import IdSource
from partywall.settings import GatewaySettings
from partywall.telemetry.log import Log
from partywall.wire.ids import format_id, is_id

TENANT, AGENT, MODEL = (format_id(prefix, bytes(16)) for prefix in ("ten", "agt", "mdl"))
NOW = 1_000.0


def tenant_facts(**what):
    grant = Grant(action=ActionType.MODEL_REQUEST, resource=f"model/{MODEL}")
    agent = SubjectFacts(id=AGENT, slug="scout", kind=Kind.AGENT, grants=(grant,))
    model = ModelFacts(id=MODEL, slug="m", upstream="http://127.0.0.1:1", upstream_model="m")
    fields = {
        "id": TENANT,
        "slug": "acme",
        "organisation": "org",
        "region": "local",
        "state": State.ACTIVE,
        "revision": 1,
    }
    return TenantFacts(**{**fields, "subjects": {AGENT: agent}, "models": {MODEL: model}, **what})


class Directory:
    revision = 1

    def __init__(self):
        self.facts, self.old_s, self.revoked, self.listeners = tenant_facts(), 0.0, set(), []

    def age_s(self):
        return self.old_s

    def tenant(self, tenant):
        return self.facts if tenant == TENANT else None

    def is_revoked(self, credential):
        return credential in self.revoked

    def on_change(self, callback):
        self.listeners.append(callback)


class Ledger:
    def __init__(self):
        self.records, self.fails_at = [], None

    async def append(self, record, *, durable):
        if record.phase is self.fails_at:
            raise Unavailable("the ledger is out of reach")
        self.records.append((record, durable))

    def phases(self):
        return [record.phase for record, _ in self.records]

    def last(self):
        return self.records[-1][0]


class Provider:
    kind = "model"
    actions = frozenset({ActionType.MODEL_REQUEST})

    def __init__(self, ledger):
        self.ledger, self.effect, self.seen, self.road, self.malformed = ledger, Effect(body=b'{"a":1}'), [], None, None

    def prepare(self, call, facts):
        if call.name not in facts.models:
            raise NotFound("there is no such model here")
        resource = Resource("local", facts.id, "model", call.name)
        if self.malformed:
            self.malformed.about = resource
            raise self.malformed
        return Prepared(resource=resource, payload=b"payload", note="note")

    async def perform(self, permit, payload, road):
        self.seen.append((permit.redeem(ActionType.MODEL_REQUEST, payload, NOW), permit.note, self.ledger.phases()))
        self.road = road
        if isinstance(self.effect, BaseException):
            raise self.effect
        if callable(self.effect):
            return await self.effect(road)
        return self.effect


class Road:
    def __init__(self, **settings):
        self.directory, self.ledger = Directory(), Ledger()
        self.provider = Provider(self.ledger)
        self.pipeline = Pipeline(
            directory=self.directory,
            ledger=self.ledger,
            decider=Decider(),
            providers={"model": self.provider},
            settings=GatewaySettings(**settings),
            region="local",
            clock=lambda: NOW,
            new_id=IdSource(),
            log=Log("test"),
        )

    def principal(self, **what):
        fields = {"kind": Kind.AGENT, "id": AGENT, "region": "local", "tenant": TENANT, "credential": "key_x"}
        return Principal(**{**fields, "expires_at_s": NOW + 900, **what})

    async def go(self, name=MODEL, principal=None, **what):
        call = Call(action=ActionType.MODEL_REQUEST, kind="model", name=name, payload={}, trace_id="0" * 32, **what)
        return await self.pipeline.submit(principal or self.principal(), call)


@pytest.fixture
def road():
    return Road()


async def test_intent_before_effect_and_outcome_after(road):
    effect = await road.go()
    assert effect.body == b'{"a":1}'
    claims, note, phases_then = road.provider.seen[0]
    assert phases_then == [Phase.INTENT]
    assert (claims.tenant, note) == (TENANT, "note")
    assert road.ledger.phases() == [Phase.INTENT, Phase.OUTCOME]
    assert road.ledger.last().result is Result.COMPLETE
    assert road.ledger.last().emitted_bytes == 7
    assert {record.act for record, _ in road.ledger.records} == {claims.act}


async def test_no_intent_no_effect(road):
    road.ledger.fails_at = Phase.INTENT
    with pytest.raises(Unavailable):
        await road.go()
    assert road.provider.seen == []


async def test_a_denial_is_on_disk_before_it_is_told_and_nothing_happens(road):
    road.directory.facts = tenant_facts(subjects={AGENT: SubjectFacts(id=AGENT, slug="scout", kind=Kind.AGENT)})
    with pytest.raises(Denied):
        await road.go()
    record, durable = road.ledger.records[0]
    assert (record.phase, record.verdict, durable) == (Phase.DENIAL, "deny", True)
    assert road.provider.seen == []
    road.ledger.fails_at = Phase.DENIAL
    with pytest.raises(Unavailable):
        await road.go()


async def test_what_is_not_in_the_cell_is_not_found_and_recorded_without_the_callers_words(road):
    with pytest.raises(NotFound):
        await road.go("SECRET-looking-name")
    assert road.ledger.phases() == [Phase.DENIAL]
    assert "SECRET" not in road.ledger.last().resource


async def test_old_facts_deny(road):
    road.directory.old_s = 6.0
    with pytest.raises(Unavailable) as caught:
        await road.go()
    assert caught.value.code == "facts-stale"
    assert road.ledger.records == []


async def test_bad_arguments_are_judged_only_after_the_right_to_ask(road):
    road.provider.malformed = Malformed("text must be a string", code="invalid-arguments")
    with pytest.raises(Malformed):
        await road.go()
    assert (road.ledger.last().phase, road.ledger.last().reason) == (Phase.DENIAL, "invalid-arguments")
    road.directory.facts = tenant_facts(subjects={AGENT: SubjectFacts(id=AGENT, slug="scout", kind=Kind.AGENT)})
    with pytest.raises(Denied):
        await road.go()
    assert road.ledger.last().reason == "not-granted"


@pytest.mark.parametrize(
    ("failure", "told", "result"),
    [
        (ProviderRefused("no"), ProviderRefused, Result.FAILED),
        (ProviderTimeout("late"), ProviderTimeout, Result.UNKNOWN),
        (RuntimeError("secret"), Exception, Result.UNKNOWN),
    ],
)
async def test_every_failure_after_the_intent_is_an_outcome(road, failure, told, result):
    road.provider.effect = failure
    with pytest.raises(told) as caught:
        await road.go()
    assert "secret" not in str(caught.value)
    assert road.ledger.phases() == [Phase.INTENT, Phase.OUTCOME]
    assert road.ledger.last().result is result


async def test_the_deadline_ends_the_effect_as_unknown(road):
    async def forever(_road):
        await asyncio.sleep(60)

    road.provider.effect = forever
    with pytest.raises(ProviderTimeout):
        await road.go(timeout_s=0.05)
    assert (road.ledger.last().result, road.ledger.last().reason) == (Result.UNKNOWN, "timeout")


async def test_a_cancelled_caller_is_an_outcome_too(road):
    async def forever(_road):
        await asyncio.sleep(60)

    road.provider.effect = forever
    task = asyncio.ensure_future(road.go())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert road.ledger.last().result is Result.CANCELLED


async def test_an_outcome_that_cannot_be_recorded_withholds_the_reply(road):
    road.ledger.fails_at = Phase.OUTCOME
    with pytest.raises(Unavailable) as caught:
        await road.go()
    assert caught.value.code == "outcome-unrecorded"


async def test_a_reply_over_the_limit_is_cut():
    road = Road(reply_limit_bytes=3)
    with pytest.raises(LimitExceeded):
        await road.go()
    assert road.ledger.last().result is Result.CUT


async def test_nested_actions_name_their_parent_and_go_at_most_eight_deep(road):
    async def again(inner):
        call = Call(action=ActionType.MODEL_REQUEST, kind="model", name=MODEL, payload={}, trace_id="1" * 32)
        return await inner.submit(call)

    road.provider.effect = again
    with pytest.raises(Denied) as caught:
        await road.go()
    assert caught.value.code == "denied-too-deep"
    intents = [record for record, _ in road.ledger.records if record.phase is Phase.INTENT]
    assert len(intents) == 9
    assert [record.parent for record in intents[1:]] == [record.act for record in intents[:-1]]
    outcomes = [record for record, _ in road.ledger.records if record.phase is Phase.OUTCOME]
    assert len(outcomes) == 9


def streaming(*pieces, hang=False):
    async def deltas():
        for piece in pieces:
            yield Delta(text=piece)
        if hang:
            await asyncio.sleep(60)

    return Effect(body=deltas(), usage={"total_tokens": 3})


async def test_a_whole_stream_is_complete_with_what_was_really_sent(road):
    road.provider.effect = streaming("Hello ", "world. ")
    sent = b"".join([chunk async for chunk in (await road.go()).body])
    assert sent == b"Hello world. "
    last = road.ledger.last()
    assert (last.result, last.emitted_bytes, last.usage) == (Result.COMPLETE, len(sent), {"total_tokens": 3})


async def test_a_caller_that_leaves_is_cancelled(road):
    road.provider.effect = streaming("one ", "two ", hang=True)
    body = (await road.go()).body
    assert await anext(body) == b"one "
    await body.aclose()
    assert road.ledger.last().result is Result.CANCELLED
    assert len(road.pipeline.streams) == 0


@pytest.mark.parametrize("what", ["revoked", "suspended", "grant", "stale"])
async def test_a_stream_is_cut_when_its_right_ends(road, what):
    road.provider.effect = streaming("one ", hang=True)
    body = (await road.go()).body
    assert await anext(body) == b"one "
    if what == "revoked":
        road.directory.revoked.add("key_x")
    elif what == "suspended":
        road.directory.facts = tenant_facts(state=State.SUSPENDED, revision=2)
    elif what == "grant":
        road.directory.facts = tenant_facts(
            subjects={AGENT: SubjectFacts(id=AGENT, slug="s", kind=Kind.AGENT)}, revision=2
        )
    else:
        road.directory.old_s = 9.0
    for listener in road.directory.listeners:
        listener()
    async with asyncio.timeout(2):
        assert b"".join([chunk async for chunk in body]) == b""
    assert road.ledger.last().result is Result.DENIED_MIDWAY


async def test_drain_and_deadline_cut_a_stream(road):
    for how, reason in (("drain", "draining"), ("deadline", "request-timeout")):
        road.provider.effect = streaming("one ", hang=True)
        body = (await road.go(timeout_s=0.1)).body
        assert await anext(body) == b"one "
        if how == "drain":
            road.pipeline.streams.drain()
        async with asyncio.timeout(2):
            assert [chunk async for chunk in body] == [b""]
        assert (road.ledger.last().result, road.ledger.last().reason) == (Result.CUT, reason)


def test_ids_from_the_batch_have_the_frozen_shape():
    source = IdSource(batch=3)
    made = [source("act") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(is_id(one, "act") for one in made)
