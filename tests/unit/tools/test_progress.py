"""A call that tells of its progress: only growing, bounded, its failure its own, and ended with its listener."""

import asyncio

import pytest

from partywall.decision.ports import Delta
from partywall.errors import ProviderRefused
from partywall.providers.tools.progress import TOLD_LIMIT, WAITING_LIMIT, render_event, told


async def heard(call):
    return [delta.event async for delta in told(call)]


async def test_progress_and_then_the_result():
    async def call(tell):
        for made in (0, 50, 50, 20, 100):
            tell({"progress": made})
            await asyncio.sleep(0)
        return {"content": []}

    assert await heard(call) == [{"progress": {"progress": made}} for made in (0, 50, 100)] + [
        {"result": {"content": []}}
    ]


async def test_a_server_that_says_too_much_is_not_heard():
    async def burst(tell):
        for made in range(10_000):
            tell({"progress": made})
        return {}

    assert len(await heard(burst)) == WAITING_LIMIT + 1

    async def patient(tell):
        for made in range(TOLD_LIMIT * 2):
            tell({"progress": made})
            await asyncio.sleep(0)
        return {}

    assert len(await heard(patient)) <= TOLD_LIMIT + 1


async def test_a_failing_call_fails():
    async def call(tell):
        tell({"progress": 1})
        await asyncio.sleep(0)
        raise ProviderRefused("no", code="manifest-changed")

    events = told(call)
    assert (await anext(events)).event == {"progress": {"progress": 1}}
    with pytest.raises(ProviderRefused):
        await anext(events)


async def test_nobody_listens_and_the_call_ends():
    ended = asyncio.Event()

    async def call(tell):
        tell({"progress": 1})
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    events = told(call)
    await anext(events)
    await events.aclose()
    assert ended.is_set()


def test_events_are_rendered_as_the_door_reads_them():
    assert render_event(Delta(event={"progress": {"progress": 1}})) == b'{"progress":{"progress":1}}'
    assert render_event(Delta(event=None, fault="revoked")) == b'{"fault":"revoked"}'
