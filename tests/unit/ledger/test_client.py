"""A worker's end of the ledger: what one caller's record is like never touches another's."""

import asyncio

import msgspec
import pytest

from partywall.decision.action import ActionClass, ActionType
from partywall.decision.record import Phase, Record
from partywall.errors import Unavailable
from partywall.ipc import Server, one_by_one
from partywall.ledger.client import LedgerClient
from partywall.ledger.messages import Append, Appended, LedgerRequest
from partywall.wire.openai import ChatChunk, ChatReply

_request = msgspec.msgpack.Decoder(LedgerRequest)


def record(act, **what):
    return Record(
        phase=Phase.OUTCOME, log="ten_a", act=act, time_s=0.0, action=ActionType.MODEL_REQUEST,
        action_class=ActionClass.INTERNAL_READ, resource="r", principal_kind="agent", principal_id="a", trace_id="t",
        region="local", **what,
    )  # fmt: skip


@pytest.fixture
async def ledger(tmp_path):
    taken = []

    async def answer(_uid, body):
        request = _request.decode(body)
        assert isinstance(request, Append)
        taken.extend(one.act for one in request.records)
        return msgspec.msgpack.encode(Appended(len(request.records)))

    server = Server(tmp_path / "l.sock", one_by_one(answer), allowed_uids=None)
    await server.start()
    client = LedgerClient(tmp_path / "l.sock", timeout_s=2.0)
    yield client, taken
    await client.close()
    await server.close()


async def test_a_record_that_cannot_be_written_fails_alone(ledger):
    client, taken = ledger
    await client.append(record("act_first"), durable=False)
    async with asyncio.timeout(3.0):
        told = await asyncio.gather(
            client.append(record("act_before"), durable=False),
            client.append(record("act_bad", usage={"prompt_tokens": 10**30}), durable=False),
            client.append(record("act_after"), durable=False),
            return_exceptions=True,
        )
    assert [type(one) for one in told] == [type(None), Unavailable, type(None)]
    assert taken == ["act_first", "act_before", "act_after"]


@pytest.mark.parametrize("shape", [ChatReply, ChatChunk])
@pytest.mark.parametrize("count", [10**30, 2**64, -1])
def test_an_upstream_cannot_claim_a_usage_that_no_record_holds(shape, count):
    reply = msgspec.json.encode({"choices": []}).decode()[:-1] + f',"usage":{{"prompt_tokens":{count}}}}}'
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(reply, type=shape)
