"""The search index killed midway, cut, flipped, swapped and taken from elsewhere: rebuilt, and never believed."""

import asyncio
import shutil
import time

import pytest
from tests.ledger_process import A, B, LedgerProcess, record
from tests.property.test_ledger_search import Ledger, drive, expected, ids

from partywall.decision.record import Phase
from partywall.errors import NotFound
from partywall.keys.file import FileKeys
from partywall.ledger import index as index_module
from partywall.ledger.index_page import PAGE_LEAVES
from partywall.ledger.logs import Logs
from partywall.wire.audit import Filters

QUESTION = Filters(phase="denial", principal=ids("agt", 3))
PAGES = 4


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    ledger = Ledger(folder)
    ledger.fill(A, PAGES * PAGE_LEAVES + 5)
    ledger.fill(B, PAGES * PAGE_LEAVES + 5, seed=2)
    for log in (A, B):
        drive(ledger.searcher.catch_up(log, 99))
    ledger.logs.close()
    return folder


@pytest.fixture
def ledger(filled, tmp_path):
    shutil.copytree(filled, tmp_path / "ledger")
    made = Ledger(tmp_path / "ledger")
    yield made
    made.logs.close()


def index_file(ledger, name, log=A):
    return ledger.folder / "index" / f"{log}.{name}"


def flip(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def check(ledger, *, damaged):
    """The answer is right, and whether damage was seen is as it should be."""
    found = ledger.find(A, QUESTION, limit=500)
    assert [seq for seq, _leaf in found.leaves] == sorted(expected(ledger, A, QUESTION), reverse=True)[:500]
    assert found.searched == found.head
    assert bool(ledger.damaged) is damaged
    ledger.damaged.clear()
    ledger.find(A, QUESTION)
    assert ledger.damaged == []  # it was mended, not looked over
    assert ledger.searcher.behind(A) == 0


@pytest.mark.parametrize("page", range(PAGES))
@pytest.mark.parametrize("at", [0, 1, 9, 40, 60, 3000, index_module.RECORD_BYTES - 1])
def test_a_flipped_bit_in_any_part_of_a_head_is_seen(ledger, page, at):
    flip(index_file(ledger, "heads"), page * index_module.RECORD_BYTES + at)
    check(ledger, damaged=True)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_in_the_columns_is_seen(ledger, share):
    path = index_file(ledger, "columns")
    flip(path, int(path.stat().st_size * share))
    check(ledger, damaged=True)


@pytest.mark.parametrize("name", ["heads", "columns"])
@pytest.mark.parametrize("left", [0, 1, 0.3, 0.5, 0.999])
def test_a_torn_file_is_made_whole(ledger, name, left):
    path = index_file(ledger, name)
    size = int(path.stat().st_size * left) if isinstance(left, float) else left
    with path.open("r+b") as file:
        file.truncate(size)
    check(ledger, damaged=name == "columns")  # heads that are missing are no damage: there are fewer pages


def test_lost_files_are_made_anew(ledger):
    shutil.rmtree(ledger.folder / "index")
    (ledger.folder / "index").mkdir()
    check(ledger, damaged=False)


def test_pages_that_changed_places_are_seen(ledger):
    path = index_file(ledger, "heads")
    data, size = path.read_bytes(), index_module.RECORD_BYTES
    path.write_bytes(data[size : 2 * size] + data[:size] + data[2 * size :])
    check(ledger, damaged=True)


def test_another_tenants_index_is_not_believed(ledger):
    for name in ("heads", "columns"):
        shutil.copy(index_file(ledger, name, B), index_file(ledger, name, A))
    check(ledger, damaged=True)


def test_an_index_of_another_history_is_not_believed(ledger, filled, tmp_path):
    """The log came back from an old copy and went on differently, under the same keys."""
    shutil.copytree(filled / "kek", tmp_path / "other" / "kek")
    other = Ledger(tmp_path / "other")
    other.fill(A, PAGES * PAGE_LEAVES + 5, seed=9)
    shutil.rmtree(other.folder / "index")
    shutil.copytree(ledger.folder / "index", other.folder / "index")
    check(other, damaged=True)


def test_destroying_the_key_erases_what_could_be_found(ledger):
    heads = index_file(ledger, "heads").read_bytes()
    assert ids("agt", 3).encode() not in heads + index_file(ledger, "columns").read_bytes()
    ledger.keys.destroy_now(A)
    with pytest.raises(NotFound):
        ledger.find(A, QUESTION)
    assert not index_file(ledger, "heads").exists()
    assert not index_file(ledger, "columns").exists()
    assert ledger.find(B, QUESTION).leaves  # the neighbour's is untouched


def test_a_disk_that_takes_no_index_still_gets_an_answer(ledger, monkeypatch):
    shutil.rmtree(ledger.folder / "index")
    (ledger.folder / "index").mkdir()

    def full(*_what):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(index_module, "_append", full)
    found = ledger.find(A, QUESTION)
    assert found.leaves == []
    assert (found.searched, found.head) == (0, PAGES * PAGE_LEAVES + 5)  # and it says how far it looked


# --- the real process -------------------------------------------------------------------------------------------------


def fill(home, pages):
    logs = Logs(home.ledger, FileKeys(home.kek), reserve_bytes=64)
    for start in range(0, pages * PAGE_LEAVES, 1024):
        logs.append([record(Phase.DENIAL, start + n, A, trace_id=f"{n:032x}") for n in range(1024)], durable=False)
    logs.close()


async def test_kill_9_while_it_indexes_leaves_an_index_that_goes_on(tmp_path):
    pages = 60
    process = LedgerProcess(tmp_path / "home")
    process.home.path.mkdir()
    fill(process.home, pages)
    heads = process.home.ledger / "index" / f"{A}.heads"

    def indexed():
        return heads.stat().st_size / index_module.RECORD_BYTES if heads.exists() else 0

    deadline = time.monotonic() + 60
    for wanted in (1, 30, pages):
        await process.start()
        while indexed() < wanted:
            assert process.process.poll() is None, process.last_words()
            assert time.monotonic() < deadline, indexed()
            await asyncio.sleep(0.002)
        await process.kill()
    ledger = Ledger(process.home.ledger)
    found = ledger.find(A, Filters(trace_id=f"{700:032x}"), limit=100)
    assert [seq for seq, _leaf in found.leaves] == [page * PAGE_LEAVES + 700 for page in reversed(range(pages))]
    assert ledger.damaged == []
    ledger.logs.close()
