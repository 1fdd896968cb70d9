"""How records become messages: at once when nothing is under way, else in growing groups, and never late."""

import asyncio

import msgspec
import pytest
from tests.unit.ledger.test_client import record

from partywall.errors import Unavailable
from partywall.ipc import Server, one_by_one
from partywall.ledger.client import HOLD_S, LedgerClient
from partywall.ledger.messages import Appended, LedgerRequest

_request = msgspec.msgpack.Decoder(LedgerRequest)


class Writer:
    """A ledger that answers when it is let."""

    def __init__(self):
        self.groups, self.open = [], asyncio.Event()
        self.open.set()

    async def answer(self, _uid, body):
        request = _request.decode(body)
        self.groups.append([one.act for one in request.records])
        await self.open.wait()
        return msgspec.msgpack.encode(Appended(len(request.records)))


@pytest.fixture
async def ledger(tmp_path):
    writer = Writer()
    server = Server(tmp_path / "l.sock", one_by_one(writer.answer), allowed_uids=None)
    await server.start()
    client = LedgerClient(tmp_path / "l.sock", timeout_s=0.5)
    await client.append(record("act_first"), durable=True)
    writer.groups.clear()
    yield client, writer, server
    writer.open.set()
    await client.close()
    await server.close()


def send(client, *acts, durable=False):
    return [asyncio.ensure_future(client.append(record(act), durable=durable)) for act in acts]


async def test_one_turn_is_one_message_and_durable_ones_are_their_own(ledger):
    client, writer, _server = ledger
    await asyncio.gather(*send(client, "a", "b"), *send(client, "c", durable=True))
    assert sorted(writer.groups) == [["a", "b"], ["c"]]


async def test_what_comes_while_a_message_is_under_way_joins_the_next(ledger):
    client, writer, _server = ledger
    writer.open.clear()
    first = send(client, "a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = []
    for act in ("b", "c", "d"):
        later += send(client, act)
        await asyncio.sleep(0)
    writer.open.set()
    await asyncio.gather(*first, *later)
    assert writer.groups[0] == ["a"]
    assert [act for group in writer.groups[1:] for act in group] == ["b", "c", "d"]


async def test_nothing_is_held_for_longer_than_the_limit(ledger):
    client, writer, _server = ledger
    writer.open.clear()
    waiting = send(client, "a")
    await asyncio.sleep(0.01)
    waiting += send(client, "b")
    await asyncio.sleep(HOLD_S + 0.05)
    assert writer.groups == [["a"], ["b"]], "it waits for an answer that may never come"
    writer.open.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize("how", ["silent", "gone"])
async def test_every_record_fails_when_the_ledger_does_and_the_next_ones_work(ledger, how):
    client, writer, server = ledger
    writer.open.clear()
    waiting = send(client, "a")
    await asyncio.sleep(0.01)
    waiting += send(client, "b") + send(client, "c", durable=True)
    if how == "gone":
        for connection in list(server.connections):
            connection.close()
    async with asyncio.timeout(2):
        told = await asyncio.gather(*waiting, return_exceptions=True)
    if how == "silent":
        assert [type(one) for one in told] == [Unavailable] * 3
    else:
        assert type(told[0]) is Unavailable
    writer.open.set()
    await client.append(record("act_after"), durable=True)
    assert writer.groups[-1] == ["act_after"]
