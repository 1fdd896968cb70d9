"""Readiness: each part by name, slow and broken ones are out, and asking often asks the parts once."""

import asyncio
import json

from partywall.errors import Unavailable
from partywall.gateway.health import Readiness


class Part:
    def __init__(self, answer=None, *, slow_s=0.0):
        self.answer, self.slow_s, self.asked = answer, slow_s, 0

    async def __call__(self):
        self.asked += 1
        await asyncio.sleep(self.slow_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def told(readiness):
    ready, body = await readiness()
    return ready, json.loads(body)


async def test_all_parts_are_well():
    checks = {"facts": True, "ledger": True}
    assert await told(Readiness({"facts": Part(True), "ledger": Part()})) == (
        True,
        {"status": "ready", "checks": checks},
    )


async def test_each_part_that_is_not_is_named():
    parts = {"no": Part(False), "down": Part(Unavailable("x")), "slow": Part(slow_s=9), "well": Part(object())}
    ready, body = await told(Readiness(parts, limit_s=0.02))
    assert not ready
    assert body == {"status": "unready", "checks": {"no": False, "down": False, "slow": False, "well": True}}


async def test_a_thousand_callers_ask_each_part_once():
    part = Part(True, slow_s=0.01)
    readiness = Readiness({"one": part}, keep_s=60)
    await asyncio.gather(*(readiness() for _ in range(1000)))
    await readiness()
    assert part.asked == 1


async def test_an_answer_does_not_hold_for_long():
    part = Part(True)
    readiness = Readiness({"one": part}, keep_s=0.01)
    assert (await readiness())[0]
    part.answer = False
    await asyncio.sleep(0.02)
    assert not (await readiness())[0]


async def test_a_caller_that_leaves_takes_no_answer_from_the_others():
    readiness = Readiness({"one": Part(True, slow_s=0.02)})
    leaving, staying = (asyncio.ensure_future(readiness()) for _ in range(2))
    await asyncio.sleep(0.005)
    leaving.cancel()
    assert (await staying)[0]
