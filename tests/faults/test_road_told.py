"""What is done to a tenant from outside is in its own log first; break or cancel that anywhere, and nothing lies."""

import asyncio
import contextlib

import msgspec
import pytest
from tests.unit.gateway.test_pipeline import Ledger, Road

from partywall.decision.record import Phase, Result
from partywall.errors import NotFound, PartywallError, ProviderRefused, Unavailable
from partywall.wire.ids import format_id

THEIRS = format_id("ten", b"\x01" * 16)
OWN = format_id("ten", bytes(16))
TURNS = 40


class Slow(Ledger):
    """Takes two turns to answer; what it was handed is written, whoever listens. refusing: (log, phase) -> error."""

    def __init__(self):
        super().__init__()
        self.refusing = {}

    async def append(self, record, *, durable):
        if (record.log, record.phase) in self.refusing:
            raise self.refusing[record.log, record.phase]
        await super().append(record, durable=durable)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def of(self, log):
        return [record for record, _durable in self.records if record.log == log]


@pytest.fixture
def road():
    made = Road()
    made.ledger = made.provider.ledger = made.pipeline._ledger = Slow()
    prepare = made.provider.prepare
    made.provider.prepare = lambda call, facts: msgspec.structs.replace(prepare(call, facts), also_log=THEIRS)
    return made


def check(road):
    """Of each log: no outcome without its intent, one of each; and no effect that the tenant was not told of."""
    for log in (OWN, THEIRS):
        phases = [record.phase for record in road.ledger.of(log)]
        assert phases in ([], [Phase.INTENT], [Phase.INTENT, Phase.OUTCOME])
    if road.provider.seen:
        assert road.ledger.of(THEIRS)[0].phase is Phase.INTENT


async def test_the_tenant_is_told_on_disk_before_it_is_done(road):
    await road.go()
    _claims, _note, phases_then = road.provider.seen[0]
    assert phases_then == [Phase.INTENT, Phase.INTENT]
    durable = {record.log: durable for record, durable in road.ledger.records if record.phase is Phase.INTENT}
    assert durable[THEIRS]
    ours, theirs = road.ledger.of(OWN), road.ledger.of(THEIRS)
    for one, copy in zip(ours, theirs, strict=True):
        assert copy == msgspec.structs.replace(one, log=THEIRS, credential=None)
    assert theirs[1].result is Result.COMPLETE


@pytest.mark.parametrize("why", [Unavailable("out of reach"), NotFound("its key was destroyed")])
async def test_a_tenant_that_cannot_be_told_is_left_alone(road, why):
    road.ledger.refusing[THEIRS, Phase.INTENT] = why
    with pytest.raises(Unavailable):
        await road.go()
    check(road)
    assert road.provider.seen == []
    assert [(record.phase, record.reason) for record in road.ledger.of(OWN)][1:] == [(Phase.OUTCOME, "tenant-not-told")]


async def test_what_is_not_in_our_own_log_is_told_to_nobody(road):
    road.ledger.refusing[OWN, Phase.INTENT] = Unavailable("out of reach")
    with pytest.raises(Unavailable):
        await road.go()
    assert road.ledger.records == []
    assert road.provider.seen == []


async def test_a_failure_is_told_as_one(road):
    road.provider.effect = ProviderRefused("no", code="refused")
    with pytest.raises(ProviderRefused):
        await road.go()
    check(road)
    assert [record.result for record in (road.ledger.of(THEIRS)[1], road.ledger.of(OWN)[1])] == [Result.FAILED] * 2


@pytest.mark.parametrize("log", [OWN, THEIRS])
async def test_an_outcome_that_cannot_be_told_withholds_the_reply(road, log):
    road.ledger.refusing[log, Phase.OUTCOME] = Unavailable("out of reach")
    with pytest.raises(Unavailable) as caught:
        await road.go()
    assert caught.value.code == "outcome-unrecorded"
    check(road)


@pytest.mark.parametrize("turns", range(TURNS))
async def test_a_caller_that_leaves_at_any_turn_leaves_nothing_untrue(road, turns):
    task = asyncio.ensure_future(road.go())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, PartywallError):
        await task
    for _ in range(TURNS):
        await asyncio.sleep(0)
    check(road)
    for log in (OWN, THEIRS):
        assert len(road.ledger.of(log)) in {0, 2}, "an intent that nobody closed"


async def test_a_denied_call_is_no_business_of_the_tenant(road):
    with pytest.raises(NotFound):
        await road.go("mdl_" + "b" * 26)
    assert road.ledger.of(THEIRS) == []
