"""The journal when the disk lies, fills up, fails or was cut: what was synced is there, or the start says it is not."""

import errno
import os

import pytest

from partywall.errors import Unavailable
from partywall.ledger import journal as module
from partywall.ledger.journal import ENTRY_BYTES, Journal

MARK_BYTES = ENTRY_BYTES + 8


def entries(*leaves):
    return [(b"platform", leaf) for leaf in leaves]


def leaves_of(folder, start=0):
    journal = Journal(folder)
    found = [leaf for _place, _log, leaf in journal.scan(start, mend=True)]
    journal.close()
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "00000000.journal"


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path)
    yield made
    made.close()


def failing(monkeypatch, name, number, *, after=0):
    """Let a system call fail from its `after`th use on; returns what makes it work again."""
    real, calls = getattr(os, name), [0]

    def fail(*arguments):
        calls[0] += 1
        if calls[0] > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments)

    monkeypatch.setattr(module.os, name, fail)
    return lambda: monkeypatch.setattr(module.os, name, real)


def test_what_was_written_is_read_back_from_its_place(journal):
    places = journal.append(entries(b"one", b"two" * 1000), durable=True)
    assert [journal.read(place) for place in places] == [b"one", b"two" * 1000]
    assert journal.append(entries(b"three"), durable=False)[0] > places[1]


@pytest.mark.parametrize("cut", range(1, MARK_BYTES + ENTRY_BYTES + 5, 7))
def test_a_torn_tail_of_any_length_is_cut_and_kept_aside(tmp_path, path, cut):
    journal = Journal(tmp_path)
    journal.append(entries(b"first"), durable=True)
    size = path.stat().st_size
    journal.append(entries(b"second"), durable=False)
    journal.close()
    os.truncate(path, size + cut)
    assert leaves_of(tmp_path) == [b"first"]
    assert leaves_of(tmp_path) == [b"first"]
    if cut < MARK_BYTES:
        assert next(tmp_path.glob("torn-*")).stat().st_size == cut


def test_a_batch_whose_pages_reached_the_disk_out_of_order_is_a_torn_tail_too(tmp_path, path):
    journal = Journal(tmp_path)
    journal.append(entries(b"first"), durable=True)
    size = path.stat().st_size
    journal.append(entries(b"lost", b"kept"), durable=False)
    journal.close()
    with path.open("r+b") as file:
        file.seek(size + 4)
        file.write(bytes(60))
    assert leaves_of(tmp_path) == [b"first"]


def test_damage_to_what_was_synced_stops_the_start_also_in_the_last_segment(tmp_path, path):
    journal = Journal(tmp_path)
    journal.append(entries(b"first"), durable=True)
    size = path.stat().st_size
    journal.append(entries(b"second"), durable=True)
    journal.append(entries(b"third"), durable=False)
    journal.close()
    with path.open("r+b") as file:
        file.seek(size + MARK_BYTES + ENTRY_BYTES)
        file.write(b"X")
    with pytest.raises(Unavailable, match="damaged") as caught:
        leaves_of(tmp_path)
    assert caught.value.code == "ledger-damaged"
    assert path.stat().st_size > size  # nothing was cut


def test_a_journal_that_ends_before_what_the_state_saw_stops_the_start(tmp_path, path):
    journal = Journal(tmp_path)
    journal.append(entries(b"first"), durable=True)
    place = journal.place
    journal.close()
    os.truncate(path, 0)
    with pytest.raises(Unavailable, match="ends before"):
        leaves_of(tmp_path, place)


def test_a_full_disk_leaves_nothing_behind_and_is_over_when_there_is_room(journal, path, monkeypatch):
    journal.append(entries(b"first"), durable=True)
    size = path.stat().st_size
    mend = failing(monkeypatch, "pwrite", errno.ENOSPC)
    with pytest.raises(Unavailable) as caught:
        journal.append(entries(b"refused"), durable=True)
    assert caught.value.code == "ledger-full"
    assert path.stat().st_size == size
    mend()
    place = journal.append(entries(b"second"), durable=True)[0]
    assert journal.read(place) == b"second"


def test_a_write_that_takes_only_a_part_is_taken_back(journal, path, monkeypatch):
    size = path.stat().st_size
    real, calls = os.pwrite, []

    def partial(descriptor, data, offset):
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "full")
        return real(descriptor, bytes(data[:10]), offset)

    monkeypatch.setattr(module.os, "pwrite", partial)
    with pytest.raises(Unavailable):
        journal.append(entries(b"refused"), durable=True)
    assert path.stat().st_size == size


def test_after_a_failed_sync_nothing_more_is_taken_until_the_journal_is_opened_anew(tmp_path, monkeypatch):
    """The kernel marks pages that it could not write as clean: a later sync that succeeds proves nothing."""
    journal = Journal(tmp_path)
    journal.append(entries(b"acknowledged"), durable=True)
    mend = failing(monkeypatch, "fdatasync", errno.EIO)
    with pytest.raises(Unavailable, match="failed"):
        journal.append(entries(b"refused"), durable=True)
    mend()
    for durable in (True, False):
        with pytest.raises(Unavailable) as caught:
            journal.append(entries(b"too late"), durable=durable)
        assert caught.value.code == "ledger-failed"
    with pytest.raises(Unavailable):
        journal.sync()
    journal.close()
    assert leaves_of(tmp_path) == [b"acknowledged"]


def test_segments_follow_each_other_and_a_missing_one_stops_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SEGMENT_LIMIT_BYTES", 300)
    journal = Journal(tmp_path)
    places = [journal.append(entries(b"%d" % n * 50), durable=False)[0] for n in range(20)]
    assert [journal.read(place) for place in places] == [b"%d" % n * 50 for n in range(20)]
    journal.close()
    assert len(list(tmp_path.glob("*.journal"))) > 5
    assert leaves_of(tmp_path, places[7]) == [b"%d" % n * 50 for n in range(7, 20)]
    (tmp_path / "00000003.journal").unlink()
    with pytest.raises(Unavailable, match="missing"):
        leaves_of(tmp_path)


def test_a_segment_that_cannot_be_made_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SEGMENT_LIMIT_BYTES", 10)
    journal = Journal(tmp_path)
    journal.append(entries(b"first"), durable=True)
    mend = failing(monkeypatch, "open", errno.ENOSPC)
    with pytest.raises(Unavailable) as caught:
        journal.append(entries(b"refused"), durable=True)
    assert caught.value.code == "ledger-full"
    mend()
    journal.append(entries(b"second"), durable=True)
    journal.close()
    assert leaves_of(tmp_path) == [b"first", b"second"]


def test_a_torn_tail_on_a_full_disk_does_not_stop_the_start(tmp_path, path, monkeypatch):
    journal = Journal(tmp_path)
    journal.append(entries(b"first"), durable=True)
    journal.close()
    with path.open("ab") as file:
        file.write(b"half of an entry")

    def full(_path, _data):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(type(path), "write_bytes", full)
    assert leaves_of(tmp_path) == [b"first"]


def test_a_damaged_leaf_is_not_given_out(journal, path):
    place = journal.append(entries(b"precious"), durable=True)[0]
    with path.open("r+b") as file:
        file.seek(place + ENTRY_BYTES)
        file.write(b"P")
    with pytest.raises(Unavailable, match="damaged"):
        journal.read(place)
