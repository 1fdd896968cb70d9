"""All logs together: no record's failure is another's, and whatever repeats the journal is mended from it."""

import errno
import os

import pytest
from tests.ledger_process import A, B, act, intent, record

from partywall.decision.record import Phase, Result
from partywall.errors import Malformed, NotFound, PartywallError, Unavailable
from partywall.keys.file import FileKeys
from partywall.ledger import logs as module
from partywall.ledger.logs import Logs
from partywall.ledger.witness import Witness
from partywall.wire.ids import TenantId, format_id


class Node:
    """The logs of one folder, opened again and again."""

    def __init__(self, folder):
        self.folder = folder
        self.now = 1_700_000_000.0
        self.open()

    def open(self):
        self.keys = FileKeys(self.folder / "kek")
        self.logs = Logs(self.folder / "ledger", self.keys, reserve_bytes=4096, clock=lambda: self.now)
        return self.logs

    def crash(self):
        """Go away without a word, as SIGKILL does; what was written stays."""
        os.close(self.logs._journal._fd)
        self.logs._reserve.close()

    def restart(self):
        self.crash()
        return self.open()

    def heads(self):
        return {log: (self.logs.size(log), self.logs.root(log)) for log in self.logs.names()}


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path)
    yield made
    made.crash()


def tenant(n):
    return TenantId(format_id("ten", n.to_bytes(16, "big")))


def denial(n, log=A, **what):
    return record(Phase.DENIAL, n, log, **what)


def outcome(n, log=A, **what):
    return record(Phase.OUTCOME, n, log, result=Result.COMPLETE, **what)


def test_each_record_is_taken_or_refused_by_itself(node):
    node.logs.append([denial(0, B)], durable=True)
    node.keys.destroy_now(B)
    node.logs.forget_keys(B)
    refused = node.logs.append_each(
        [
            denial(1),
            denial(2, B),
            denial(3, parameters={"x": object()}),
            denial(4, parameters={"x": "y" * 1_100_000}),
            denial(5, TenantId("../../etc/passwd")),
            denial(6, time_s=float("nan")),
            denial(7),
        ],
        durable=True,
    )
    kinds = {position: type(error) for position, error in refused.items()}
    assert kinds == {1: NotFound, 2: Malformed, 3: Malformed, 4: Malformed, 5: Malformed}
    assert [node.logs.open(A, leaf).act for leaf in node.logs.leaves(A, 0, 10)] == [act(1), act(7)]


def test_a_failed_write_leaves_every_log_as_it_was(node, monkeypatch):
    node.logs.append([intent(1), denial(2, B)], durable=True)
    before = node.heads()

    def fail(*_arguments, **_more):
        raise Unavailable("no", code="ledger-full")

    with monkeypatch.context() as patch:
        patch.setattr(node.logs._journal, "append", fail)
        patch.setattr(node.logs._reserve, "release", lambda: False)
        with pytest.raises(Unavailable):
            node.logs.append([outcome(1), denial(3, B), denial(4, tenant(9))], durable=True)
    assert node.heads() == before
    assert set(node.logs.open_intents) == {(A, act(1))}
    node.logs.append([outcome(1), denial(3, B), denial(4, tenant(9))], durable=True)
    after = node.heads()
    node.restart()
    assert node.heads() == after
    assert not node.logs.open_intents


def test_a_tree_that_cannot_be_opened_stops_its_log_before_anything_is_written(node, monkeypatch):
    node.logs.append([denial(1)], durable=True)
    real = node.logs._load_tree

    def fail(log):
        if log == B:
            raise OSError(errno.EIO, "no")
        return real(log)

    monkeypatch.setattr(node.logs, "_load_tree", fail)
    refused = node.logs.append_each([denial(2, B), denial(3)], durable=True)
    assert list(refused) == [0]
    assert node.restart().names() == [A]
    assert node.logs.size(A) == 2


@pytest.mark.parametrize("mishap", ["state-missing", "state-behind", "rows-short", "rows-zeroed", "trees-missing"])
def test_what_repeats_the_journal_is_mended_from_it(node, mishap):
    node.logs.append([intent(n, log) for log in (A, B) for n in range(700)], durable=True)
    node.logs.append([outcome(n, log) for log in (A, B) for n in range(0, 700, 2)], durable=False)
    state = node.folder / "ledger" / "state"
    node.logs.flush()
    old = state.read_bytes()
    node.logs.append([denial(n, log) for log in (A, B) for n in range(300)], durable=True)
    node.logs.flush()
    heads, still_open = node.heads(), set(node.logs.open_intents)
    assert still_open
    rows = node.folder / "ledger" / "trees" / f"{A}.0"
    if mishap == "state-missing":
        state.unlink()
    elif mishap == "state-behind":
        state.write_bytes(old)
    elif mishap == "rows-short":
        os.truncate(rows, rows.stat().st_size - 45)
    elif mishap == "rows-zeroed":
        with rows.open("r+b") as file:
            file.seek(-400, os.SEEK_END)
            file.write(bytes(400))
    else:
        for path in (node.folder / "ledger" / "trees").iterdir():
            path.unlink()
    node.restart()
    assert node.heads() == heads
    assert set(node.logs.open_intents) == still_open
    assert len(node.logs.leaves(A, 0, 10_000)) == heads[A][0]
    node.logs.append([denial(9999)], durable=True)
    assert node.logs.size(A) == heads[A][0] + 1


def test_more_logs_than_trees_are_kept_open(node, monkeypatch):
    monkeypatch.setattr(module, "TREE_LIMIT", 3)
    for turn in range(4):
        node.logs.append([denial(turn * 100 + n, tenant(n)) for n in range(10)], durable=False)
        assert len(node.logs._trees) <= 3
    heads = node.heads()
    assert {size for size, _root in heads.values()} == {4}
    node.restart()
    assert node.heads() == heads


def test_a_full_disk_costs_no_tree_its_rows(node, monkeypatch):
    monkeypatch.setattr(module, "TREE_LIMIT", 1)

    def full(_tree):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(module.Tree, "flush", full)
        for n in range(5):
            node.logs.append([denial(n, tenant(n % 3))], durable=True)
        heads = node.heads()
        with pytest.raises(OSError, match="full"):
            node.logs.flush()
    node.logs.append([denial(9, tenant(0))], durable=True)
    node.restart()
    assert node.heads()[tenant(1)] == heads[tenant(1)]
    assert node.logs.size(tenant(0)) == 3


def test_a_tree_file_that_a_full_disk_cut_short_goes_on_where_it_ends(node, monkeypatch):
    node.logs.append([denial(n) for n in range(300)], durable=True)
    real = module.Tree.flush

    def some(tree):
        with tree._rows.open("ab", buffering=0) as file:
            written = file.write(tree._pending_rows[:77])
        del tree._pending_rows[:written]
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(module.Tree, "flush", some)
        with pytest.raises(OSError, match="full"):
            node.logs.flush()
    assert len(node.logs.leaves(A, 0, 300)) == 300
    monkeypatch.setattr(module.Tree, "flush", real)
    node.logs.flush()
    heads = node.heads()
    node.restart()
    assert node.heads() == heads


@pytest.mark.parametrize("bounds", [(0, 0), (5, 3), (10**15, 10**15 + 10), (19, 50)])
def test_reading_past_the_end_is_an_empty_page(node, bounds):
    node.logs.append([denial(n) for n in range(20)], durable=False)
    assert len(node.logs.leaves(A, *bounds)) == len(range(20)[bounds[0] : bounds[1]])
    assert node.logs.leaves(B, *bounds) == []
    assert list((node.folder / "ledger" / "trees").glob(f"{B}*")) == []


def test_a_page_is_bounded_in_bytes_but_never_empty(node):
    node.logs.append([denial(n, parameters={"x": "y" * 10_000}) for n in range(20)], durable=False)
    assert len(node.logs.leaves(A, 0, 20, 35_000)) == 3
    assert len(node.logs.leaves(A, 0, 20, 1)) == 1


def test_the_sweeper_closes_the_others_when_one_is_damaged_or_shredded(node):
    node.logs.append([intent(1), intent(2), intent(3, B), intent(4)], durable=True)
    node.keys.destroy_now(B)
    place = node.logs.open_intents[(A, act(2))].place
    with (node.folder / "ledger" / "journal" / "00000000.journal").open("r+b") as file:
        file.seek(place + 60)
        file.write(b"\x00\xff\x00")
    node.now += 1000
    assert node.logs.sweep(600, region="local") == 2
    assert set(node.logs.open_intents) == {(A, act(2))}
    assert node.logs.sweep(600, region="local") == 0


def test_a_sweep_is_bounded(node, monkeypatch):
    monkeypatch.setattr(module, "SWEEP_LIMIT", 10)
    node.logs.append([intent(n) for n in range(25)], durable=True)
    node.now += 1000
    assert [node.logs.sweep(600, region="local") for _ in range(4)] == [10, 10, 5, 0]


# --- checkpoints ----------------------------------------------------------------------------------------------------


def test_a_log_that_was_rolled_back_is_not_signed_a_second_time(node, tmp_path):
    node.logs.append([denial(1)], durable=True)
    journal = node.folder / "ledger" / "journal" / "00000000.journal"
    backup = journal.read_bytes()
    node.logs.append([denial(2)], durable=True)
    witness = Witness(node.folder / "ledger", tmp_path / "public", origin="test")
    witness.sign(node.logs, A)
    node.crash()
    journal.write_bytes(backup)
    (node.folder / "ledger" / "state").unlink(missing_ok=True)
    node.open()
    node.logs.append([denial(7, B)], durable=True)
    again = Witness(node.folder / "ledger", tmp_path / "public", origin="test")
    with pytest.raises(Unavailable) as caught:
        again.sign_all(node.logs)
    assert caught.value.code == "ledger-rolled-back"
    assert len(again.kept(A)) == 1
    assert len(again.kept(B)) == 1  # another log's trouble is not its own
    node.logs.append([denial(3)], durable=True)
    with pytest.raises(Unavailable):
        again.sign(node.logs, A)  # of the same size, and with other content


def test_a_restart_signs_nothing_that_is_signed_already(node, tmp_path):
    node.logs.append([denial(1)], durable=True)
    for _ in range(3):
        Witness(node.folder / "ledger", tmp_path / "public", origin="test").sign_all(node.logs)
    assert len(Witness(node.folder / "ledger", tmp_path / "public", origin="test").kept(A)) == 1


def test_a_checkpoint_that_a_crash_tore_spoils_no_other(node, tmp_path):
    node.logs.append([denial(1)], durable=True)
    witness = Witness(node.folder / "ledger", tmp_path / "public", origin="test")
    witness.sign(node.logs, A)
    with (node.folder / "ledger" / "checkpoints" / f"{A}.jsonl").open("ab") as file:
        file.write(b'"half of a no')
    node.logs.append([denial(2)], durable=True)
    witness.sign(node.logs, A)
    assert len(witness.kept(A)) == 2


def test_only_what_is_on_disk_is_signed(node, tmp_path, monkeypatch):
    node.logs.append([denial(1)], durable=False)
    witness = Witness(node.folder / "ledger", tmp_path / "public", origin="test")

    def fail():
        raise Unavailable("no", code="ledger-failed")

    monkeypatch.setattr(node.logs._journal, "sync", fail)
    with pytest.raises(PartywallError):
        witness.sign(node.logs, A)
    assert witness.kept(A) == []


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_that_a_crash_left_half_written_is_in_nobodys_way(node):
    node.logs.append([denial(1)], durable=True)
    (node.folder / "kek" / A / "ledger.1.partial").write_bytes(b"half")
    node.restart()
    node.logs.append([denial(2)], durable=True)
    assert node.logs.size(A) == 2


def test_a_destruction_that_a_crash_interrupted_is_one(node):
    node.keys.data_key_now(A, "ledger")
    (node.folder / "kek" / A / "destroyed").touch()
    again = FileKeys(node.folder / "kek")
    for purpose in ("ledger", "data"):
        with pytest.raises(NotFound):
            again.data_key_now(A, purpose)
    again.destroy_now(A)
    assert not (node.folder / "kek" / A / "kek").exists()


def test_a_destroyed_tenant_gets_no_new_key_for_any_purpose(node):
    node.keys.data_key_now(A, "ledger")
    node.keys.destroy_now(A)
    for _ in range(2):
        for purpose in ("ledger", "data"):
            with pytest.raises(NotFound):
                node.keys.data_key_now(A, purpose)
        node.keys = FileKeys(node.folder / "kek")
