"""The writer process when its disk fails for good, and when a reader's request goes wrong inside."""

import asyncio

import msgspec
import pytest
from tests.ledger_process import A, B, record

from partywall.decision.record import Phase
from partywall.errors import Bug, Unavailable
from partywall.keys.file import FileKeys
from partywall.ledger import journal as journal_module
from partywall.ledger.logs import Logs
from partywall.ledger.messages import Append, Appended, LedgerReply, Status
from partywall.ledger.witness import Witness
from partywall.ledger.writer import LedgerServer, serve
from partywall.settings import Home, Settings
from partywall.telemetry.log import Log

_reply = msgspec.msgpack.Decoder(LedgerReply)
encode = msgspec.msgpack.encode


@pytest.fixture
def server(tmp_path):
    home = Home(tmp_path)
    logs = Logs(home.ledger, FileKeys(home.kek), reserve_bytes=4096)
    failed = []
    witness = Witness(home.ledger, home.public_keys, origin="test")
    made = LedgerServer(logs, witness, home, Log("ledger"), boot="b", failed=lambda: failed.append(True))
    made.logs, made.failed = logs, failed
    yield made
    logs.close()


def denial(n, log=A, **what):
    return record(Phase.DENIAL, n, log, **what)


async def test_requests_of_one_turn_get_each_its_own_answer(server):
    bodies = [
        encode(Append([denial(1), denial(2, "no log")], True)),
        b"junk",
        encode(Append([denial(3, B)], False)),
        encode(Status()),
    ]
    told = await asyncio.gather(*server.handle(0, bodies), return_exceptions=True)
    first, third = _reply.decode(told[0]), _reply.decode(told[2])
    assert (first.count, list(first.refused)) == (1, [1])
    assert third == Appended(1)
    assert server.logs.size(A) == server.logs.size(B) == 1


async def test_a_failed_sync_is_told_to_whoever_waited_and_ends_the_process(server, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "I/O error")

    monkeypatch.setattr(journal_module.os, "fdatasync", fail)
    replies = server.handle(0, [encode(Append([denial(1), denial(2, B)], True))])
    assert _reply.decode(await replies[0]).count == 0
    assert server.failed == [True]
    assert server.logs.size(A) == server.logs.size(B) == 0


async def test_a_read_that_fails_inside_is_an_answer_and_tells_nothing(server, monkeypatch):
    def fail():
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server, "_status", fail)
    with pytest.raises(Bug, match=r"^the ledger failed$"):
        await server.handle(0, [encode(Status())])[0]


async def test_a_process_whose_disk_failed_does_not_end_as_if_all_were_well(tmp_path, monkeypatch):
    home, stop = Home(tmp_path), asyncio.Event()
    monkeypatch.setattr(Logs, "is_failed", property(lambda _logs: True))
    stop.set()
    with pytest.raises(Unavailable) as caught:
        await serve(home, Settings(), Log("ledger"), stop, keys=FileKeys(home.kek))
    assert caught.value.code == "ledger-failed"
