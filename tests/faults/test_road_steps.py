"""Break the road at each of its steps, and cancel it at each of its turns: no effect without an intent, none silent."""

import asyncio
import contextlib
import itertools

import pytest
from tests.unit.gateway.test_pipeline import MODEL, Ledger, Road

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Delta, Effect
from partywall.decision.record import Phase, Result
from partywall.errors import BadReply, Bug, PartywallError, ProviderRefused, ProviderTimeout, Unavailable

TURNS = 40


class Slow(Ledger):
    """Takes two turns of the loop to answer. What it was handed is written, whoever listens, as by the real client."""

    async def append(self, record, *, durable):
        await super().append(record, durable=durable)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def results(self):
        return [record.result for record, _ in self.records if record.phase is Phase.OUTCOME]


def slow_road(**settings):
    road = Road(**settings)
    road.ledger = road.provider.ledger = road.pipeline._ledger = Slow()
    return road


def crash(*_args, **_kwargs):
    raise RuntimeError("secret")


def check(road):
    """No effect without its intent; and at most one of each for one act."""
    for _claims, _note, phases_then in road.provider.seen:
        assert Phase.INTENT in phases_then
    phases = road.ledger.phases()
    assert phases.count(Phase.INTENT) <= 1
    assert phases.count(Phase.OUTCOME) <= phases.count(Phase.INTENT)


# --- a step that breaks -----------------------------------------------------------------------------------------------

BEFORE = {
    "the facts' age": lambda road: setattr(road.directory, "age_s", crash),
    "the facts": lambda road: setattr(road.directory, "tenant", crash),
    "prepare": lambda road: setattr(road.provider, "prepare", crash),
    "decide": lambda road: setattr(road.pipeline._decider, "decide", crash),
    "ids": lambda road: setattr(road.pipeline, "_new_id", crash),
    "the clock": lambda road: setattr(road.pipeline, "_clock", crash),
    "the ledger": lambda road: setattr(road.ledger, "fails_at", Phase.INTENT),
    "the ledger's code": lambda road: setattr(road.ledger, "append", crash),
}


@pytest.mark.parametrize("step", BEFORE)
async def test_a_step_that_breaks_before_the_effect_lets_nothing_happen(step):
    road = slow_road()
    BEFORE[step](road)
    with pytest.raises((RuntimeError, Unavailable)):
        await road.go()
    assert road.provider.seen == []
    assert road.ledger.records == []


@pytest.mark.parametrize("failing", [Unavailable("x"), BadReply("x"), Bug("x")])
async def test_a_ledger_that_refuses_in_any_way_lets_nothing_happen(failing):
    road = slow_road()

    async def append(_record, *, durable):
        raise failing

    road.ledger.append = append
    with pytest.raises(Unavailable):
        await road.go()
    assert road.provider.seen == []


async def test_a_refusal_that_cannot_be_recorded_is_not_told():
    road = slow_road()
    road.ledger.fails_at = Phase.DENIAL
    with pytest.raises(Unavailable):
        await road.go("mdl_" + "b" * 26)
    assert road.provider.seen == []


AFTER = {
    "a refusal": (ProviderRefused("no"), ProviderRefused, Result.FAILED),
    "a bad reply": (BadReply("no"), BadReply, Result.FAILED),
    "time": (ProviderTimeout("no"), ProviderTimeout, Result.UNKNOWN),
    "a crash": (RuntimeError("secret"), Bug, Result.UNKNOWN),
    "no JSON": (Effect(body=b"eyJ no"), Bug, Result.FAILED),
    "too deep": (Effect(body=b'"eyJ"' + b"[" * 5_000), Bug, Result.FAILED),
    "not UTF-8": (Effect(body=b'"eyJ\xff"'), Bug, Result.FAILED),
}


@pytest.mark.parametrize("what", AFTER)
@pytest.mark.parametrize("recorded", [True, False])
async def test_a_provider_that_fails_is_told_as_that_whether_or_not_it_can_be_recorded(what, recorded):
    road = slow_road()
    road.provider.effect, told, result = AFTER[what]
    if not recorded:
        road.ledger.fails_at = Phase.OUTCOME
    with pytest.raises(told):
        await road.go()
    check(road)
    assert road.ledger.results() == ([result] if recorded else [])


async def test_a_stream_whose_outcome_cannot_be_recorded_is_sent_to_its_end():
    road = slow_road()

    async def deltas():
        yield Delta(text="one ")

    road.provider.effect = Effect(body=deltas())
    body = (await road.go()).body
    road.ledger.fails_at = Phase.OUTCOME
    assert [chunk async for chunk in body] == [b"one "]
    check(road)


# --- a caller that leaves ---------------------------------------------------------------------------------------------


async def until_cancelled(work, turns):
    """Run work for so many turns of the loop, cancel it, and return whether it had ended before."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    ended = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, PartywallError):
        await task
    for _ in range(10):
        await asyncio.sleep(0)
    return ended


async def test_cancelled_at_any_turn_an_effect_has_its_intent_and_its_outcome():
    results = set()
    for turns in range(TURNS):
        road = slow_road()

        async def slow_effect(_road):
            for _ in range(5):
                await asyncio.sleep(0)
            return Effect(body=b"{}")

        road.provider.effect = slow_effect
        ended = await until_cancelled(road.go(), turns)
        check(road)
        if road.provider.seen:
            assert len(road.ledger.results()) == 1, f"cancelled after {turns} turns: an effect without an outcome"
        results |= set(road.ledger.results())
        if ended:
            break
    assert ended
    assert results == {Result.CANCELLED, Result.COMPLETE}


async def test_cancelled_at_any_turn_a_stream_has_one_outcome_and_lets_its_upstream_go():
    results = set()
    for turns in itertools.count():
        road, closed = slow_road(), []

        async def deltas(closed=closed):
            try:
                for number in range(3):
                    await asyncio.sleep(0)
                    yield Delta(text=f"{number} ")
            finally:
                await asyncio.sleep(0)
                closed.append(True)

        async def read(road=road):
            body = (await road.go()).body
            try:
                async for _chunk in body:
                    await asyncio.sleep(0)
            finally:
                await body.aclose()

        road.provider.effect = Effect(body=deltas())
        ended = await until_cancelled(read(), turns)
        check(road)
        if closed:
            assert len(road.ledger.results()) == 1, f"cancelled after {turns} turns"
        assert len(road.pipeline.streams) == 0
        results |= set(road.ledger.results())
        if ended:
            break
    assert results == {Result.CANCELLED, Result.COMPLETE}


async def test_a_nested_call_ends_with_its_parent():
    road = slow_road()
    inner_began = asyncio.Event()

    async def outer(bound):
        async def inner(_road):
            inner_began.set()
            await asyncio.sleep(60)

        road.provider.effect = inner
        return await bound.submit(nested())

    road.provider.effect = outer
    task = asyncio.ensure_future(road.go(timeout_s=0.05))
    await inner_began.wait()
    with pytest.raises(ProviderTimeout):
        await task
    inner_result, outer_result = road.ledger.results()
    assert inner_result in {Result.CANCELLED, Result.UNKNOWN}, "whichever of the two timers comes first"
    assert outer_result is Result.UNKNOWN
    assert road.ledger.phases() == [Phase.INTENT, Phase.INTENT, Phase.OUTCOME, Phase.OUTCOME]


def nested():
    return Call(action=ActionType.MODEL_REQUEST, kind="model", name=MODEL, payload={}, trace_id="1" * 32)
