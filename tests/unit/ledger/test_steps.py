"""Long work in the ledger's loop is done in steps, and no step of one tenant's is longer for what another has."""

import asyncio
import base64
import itertools
import tracemalloc

import msgspec
import pytest
from tests.ledger_process import A, B, act, intent, record

from partywall.decision.record import Phase, Result
from partywall.errors import Unavailable
from partywall.keys.file import FileKeys
from partywall.ledger import archive as archive_module
from partywall.ledger import journal as journal_module
from partywall.ledger import logs as logs_module
from partywall.ledger.archive import lines_of
from partywall.ledger.checkpoint import parse_note
from partywall.ledger.journal import Journal
from partywall.ledger.leaf import leaf_hash
from partywall.ledger.logs import Logs
from partywall.ledger.merkle import root_of
from partywall.ledger.messages import Append, ReadQuery
from partywall.ledger.witness import Witness
from partywall.ledger.writer import LedgerServer
from partywall.settings import Home
from partywall.telemetry.log import Log
from partywall.wire.ids import TenantId, format_id


def tenant(n):
    return TenantId(format_id("ten", n.to_bytes(16, "big")))


def denial(n, log=A):
    return record(Phase.DENIAL, n, log)


@pytest.fixture
def restart(tmp_path):
    """Close the logs that are open, and open the same ones again."""
    opened = []

    def again():
        if opened:
            opened.pop().close()
        opened.append(Logs(tmp_path / "ledger", FileKeys(tmp_path / "kek"), reserve_bytes=4096))
        return opened[-1]

    yield again
    if opened:
        opened.pop().close()


@pytest.fixture
def logs(restart):
    return restart()


@pytest.fixture
def witness(logs, tmp_path):
    return Witness(tmp_path / "ledger", tmp_path / "public", origin="test")


@pytest.fixture
def server(logs, witness, tmp_path):
    return LedgerServer(logs, witness, Home(tmp_path), Log("ledger"), boot="b", failed=lambda: None)


# --- reads ----------------------------------------------------------------------------------------------------------


def reads(server, mode, count, log=A):
    """Begin reads as `_read` does once the permit was found good."""
    query = ReadQuery(log=log, mode=mode, limit=1_000)
    page = server._show if mode == "show" else server._export
    return [asyncio.ensure_future(page(query)) for _ in range(count)]


@pytest.mark.parametrize("mode", ["show", "export"])
async def test_an_append_waits_for_a_step_of_anothers_reads_and_for_no_page(server, logs, mode):
    logs.append([denial(n) for n in range(1_000)], durable=False)
    under_way = reads(server, mode, 8)
    await asyncio.sleep(0)
    for n in range(20):
        body = msgspec.msgpack.encode(Append([denial(n, B)], False))
        await server.handle(0, [body])[0]
    assert not any(page.done() for page in under_way)
    for reply in await asyncio.gather(*under_way):
        assert len(msgspec.json.decode(reply.body)["leaves"]) == 1_000
        assert reply.next_start is None


async def test_a_short_read_is_not_behind_the_long_ones_that_were_asked_first(server, logs):
    logs.append([denial(n) for n in range(1_000)], durable=False)
    logs.append([denial(n, B) for n in range(10)], durable=False)
    long, (short,) = reads(server, "show", 4), reads(server, "show", 1, log=B)
    await short
    assert not any(page.done() for page in long)
    await asyncio.gather(*long)


async def test_a_read_that_fails_halfway_holds_up_no_other(server, logs, monkeypatch):
    logs.append([denial(n) for n in range(200)], durable=False)
    real, calls = logs.leaves, itertools.count()

    def fail(*arguments):
        if next(calls) == 2:
            raise Unavailable("a leaf on disk is damaged", code="ledger-damaged")
        return real(*arguments)

    monkeypatch.setattr(logs, "leaves", fail)
    told = await asyncio.wait_for(asyncio.gather(*reads(server, "show", 3), return_exceptions=True), 10)
    assert sorted(type(one).__name__ for one in told) == ["ReadReply", "ReadReply", "Unavailable"]


async def test_a_cancelled_read_holds_up_no_other(server, logs):
    logs.append([denial(n) for n in range(200)], durable=False)
    first, second, third = reads(server, "show", 3)
    await asyncio.sleep(0)
    first.cancel()
    second.cancel()
    reply = await asyncio.wait_for(third, 10)
    assert len(msgspec.json.decode(reply.body)["leaves"]) == 200


async def test_an_export_that_ends_a_log_is_signed_to_its_very_end_though_the_log_grew_meanwhile(server, logs):
    logs.append([denial(n) for n in range(300)], durable=False)
    (under_way,) = reads(server, "export", 1)
    for n in range(5):
        await asyncio.sleep(0)
        logs.append([denial(1_000 + n)], durable=False)
    page = msgspec.json.decode((await under_way).body)
    newest = parse_note(page["checkpoints"][-1])[0]
    assert newest.size == len(page["leaves"]) == logs.size(A) == 305


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_checkpoints_are_signed_a_log_at_a_time_while_logs_grow(logs, witness):
    logs.append([denial(n, tenant(n)) for n in range(20)], durable=False)
    for step, _ in enumerate(witness.sign_each(logs)):
        logs.append([denial(100 + step, tenant(step % 20)), denial(200 + step, tenant(50 + step))], durable=False)
    for n in range(20):
        (note,) = witness.kept(tenant(n))
        checkpoint = parse_note(note)[0]
        assert checkpoint.root == logs.tree(tenant(n)).root(checkpoint.size)
    witness.sign_all(logs)
    assert {parse_note(witness.kept(log)[-1])[0].size == logs.size(log) for log in logs.names()} == {True}


def test_the_operators_checkpoint_is_of_signed_heads_and_padded(logs, witness):
    logs.append([denial(n, tenant(n)) for n in range(5)], durable=False)
    witness.sign_all(logs)
    first = parse_note(witness.kept("operator")[-1])[0]
    assert first.size == 8
    witness.sign_all(logs)
    assert len(witness.kept("operator")) == 1  # nothing grew
    logs.append([denial(9, tenant(n)) for n in range(9)], durable=False)
    witness.sign_all(logs)
    second = parse_note(witness.kept("operator")[-1])[0]
    assert second.size == 16
    assert second.root not in {first.root, root_of(list(witness._blinded.values()))}


def test_the_root_of_a_tree_that_was_put_away_needs_no_file(logs, monkeypatch):
    monkeypatch.setattr(logs_module, "TREE_LIMIT", 3)
    for turn in range(3):
        logs.append([denial(turn * 100 + n, tenant(n)) for n in range(10)], durable=False)
    assert len(logs._trees) <= 3

    def fail(log):
        raise AssertionError(log)

    with monkeypatch.context() as patch:
        patch.setattr(logs, "_load_tree", fail)
        roots = {log: logs.root(log) for log in logs.names()}
    assert {log: logs.tree(log).frontier.root() for log in logs.names()} == roots


def test_the_root_of_a_log_that_grew_since_it_was_written_down_is_the_new_one(logs, witness):
    logs.append([denial(1)], durable=False)
    logs.flush()
    logs.append([denial(2)], durable=False)
    checkpoint = parse_note(witness.sign(logs, A))[0]
    assert checkpoint.root == root_of([leaf_hash(leaf) for leaf in logs.leaves(A, 0, 2)])


def test_a_tree_that_grew_and_was_put_away_between_two_steps_is_not_written_as_it_was(logs, restart, monkeypatch):
    monkeypatch.setattr(logs_module, "TREE_LIMIT", 2)
    logs.append([denial(n, tenant(n)) for n in range(2)], durable=False)
    steps = logs.flush_each()
    next(steps)
    logs.append([denial(10 + n, tenant(n)) for n in range(6)], durable=False)
    assert tenant(1) not in logs._trees
    assert list(steps) == []
    logs.flush()
    heads = {log: (logs.size(log), logs.tree(log).frontier.root()) for log in logs.names()}
    assert {log: logs.root(log) for log in logs.names()} == {log: root for log, (_size, root) in heads.items()}
    monkeypatch.setattr(Logs, "_rebuilt", lambda *_: pytest.fail("a tree was not as it was written"))
    again = restart()
    assert {log: (again.size(log), again.tree(log).frontier.root()) for log in again.names()} == heads


# --- one log's intents ----------------------------------------------------------------------------------------------


def test_the_same_act_in_two_logs_is_two_intents(logs, restart):
    logs.append([intent(1, A), intent(1, B), intent(2, A)], durable=True)
    logs.append([record(Phase.OUTCOME, 1, A, result=Result.COMPLETE)], durable=True)
    assert set(logs.open_intents) == {(B, act(1)), (A, act(2))}
    again = restart()
    assert set(again.open_intents) == {(B, act(1)), (A, act(2))}
    assert again.sweep(-1, region="local") == 2
    assert [again.open(B, leaf).result for leaf in again.leaves(B, 0, 9)] == [None, "unknown"]


# --- memory ---------------------------------------------------------------------------------------------------------


def peak_bytes(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_start_reads_a_long_journal_in_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "CHUNK_BYTES", 64 * 1024)
    journal = Journal(tmp_path)
    for _ in range(20):
        journal.append([(b"platform", bytes(100_000))] * 5, durable=False)
    journal.close()
    with (tmp_path / "00000000.journal").open("ab") as file:
        file.write(b"torn")
    found = []

    def start():
        again = Journal(tmp_path)
        found.append(sum(len(leaf) for _place, _log, leaf in again.scan(0, mend=True)))
        again.close()

    assert peak_bytes(start) < 2_000_000
    assert found == [10_000_000]


def test_an_archive_is_put_together_in_little_memory(monkeypatch):
    monkeypatch.setattr(archive_module, "SPOOL_BYTES", 64 * 1024)
    leaf = base64.b64encode(bytes(30_000)).decode()

    def pages():
        for n in range(100):
            names = {"origin": "o", "log": "l", "vkey": "v", "checkpoints": [], "keys": {str(n % 2): "k"}}
            yield names | {"leaves": [leaf] * 5}

    lengths = []
    assert peak_bytes(lambda: lengths.extend(map(len, lines_of(pages())))) < 3_000_000
    assert len(lengths) == 501
