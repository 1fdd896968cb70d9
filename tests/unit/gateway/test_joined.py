"""What a protocol writes apart leaves together, in order, and none of it later than its turn."""

import asyncio

from partywall.gateway.joined import Joined


class Transport:
    def __init__(self):
        self.did = []

    def write(self, data):
        self.did.append(data)

    def close(self):
        self.did.append("close")

    def abort(self):
        self.did.append("abort")


def joined():
    inner = Transport()
    return Joined(inner, asyncio.get_running_loop()), inner


async def test_head_and_body_are_one_write_at_once():
    transport, inner = joined()
    transport.write(b"head ")
    assert inner.did == []
    transport.write(b"body")
    assert inner.did == [b"head body"]
    await asyncio.sleep(0)
    assert inner.did == [b"head body"]


async def test_one_piece_leaves_with_the_turn():
    transport, inner = joined()
    transport.write(b"chunk")
    await asyncio.sleep(0)
    assert inner.did == [b"chunk"]


async def test_closing_sends_what_waits_and_aborting_drops_it():
    transport, inner = joined()
    transport.write(b"last words")
    transport.close()
    assert inner.did == [b"last words", "close"]
    transport, inner = joined()
    transport.write(b"last words")
    transport.abort()
    await asyncio.sleep(0)
    assert inner.did == ["abort"]
