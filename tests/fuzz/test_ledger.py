"""Every decoder of the ledger turns any bytes into a value or a CallerFault, and nothing else."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger_process import A, intent, record

from partywall.decision.record import Phase, Result
from partywall.errors import CallerFault, PartywallError, Unavailable
from partywall.ipc import decode_fault
from partywall.keys.file import FileKeys
from partywall.ledger.archive import PRIMITIVES, lines_of
from partywall.ledger.checkpoint import parse_note, parse_vkey
from partywall.ledger.journal import Journal
from partywall.ledger.leaf import parse_header
from partywall.ledger.logs import Logs
from partywall.ledger.verify import Report, verify_archive
from partywall.ledger.witness import Witness
from partywall.wire.frame import FrameBuffer

quick = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def _archive(folder):
    keys = FileKeys(folder / "kek")
    logs = Logs(folder / "ledger", keys, reserve_bytes=4096)
    witness = Witness(folder / "ledger", folder / "public", origin="test")
    for n in range(4):
        logs.append([intent(n), record(Phase.OUTCOME, n, result=Result.COMPLETE)], durable=False)
        witness.sign(logs, A)
    page = {
        "origin": witness.origin_of(A),
        "log": A,
        "vkey": witness.vkey,
        "leaves": [base64.b64encode(leaf).decode() for leaf in logs.leaves(A, 0, 8)],
        "keys": {"1": base64.b64encode(keys.data_key_now(A, "ledger", 1)[1]).decode()},
        "checkpoints": witness.kept(A),
    }
    logs.close()
    return [line.rstrip(b"\n") for line in lines_of([page])], witness.vkey, witness.kept(A)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return _archive(tmp_path_factory.mktemp("archive"))


def value_or_fault(parse, *arguments, **more):
    try:
        return parse(*arguments, **more)
    except CallerFault:
        return None


@st.composite
def mangled(draw, data):
    """Real bytes with a few of them changed, cut out, doubled or put in."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        piece = draw(
            st.binary(max_size=6) | st.sampled_from([b"\n", b"\n\n", b" ", b"+", b"\xff", b"9" * 30, b'"', b"[" * 50])
        )
        data[at : at + draw(st.integers(0, 8))] = piece
    return bytes(data)


@quick
@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(0, 100))
def test_frames(pieces, limit):
    buffer = FrameBuffer(limit)
    for piece in pieces:
        frames = value_or_fault(buffer.feed, piece)
        if frames is None:
            return
        assert all(len(frame) <= limit for frame in frames)


@quick
@given(st.binary(max_size=100))
def test_leaf_headers(data):
    value_or_fault(parse_header, data)


@quick
@given(st.text(max_size=300))
def test_notes_and_keys_of_any_text(text):
    value_or_fault(parse_note, text)
    value_or_fault(parse_vkey, text)


@quick
@given(data=st.data())
def test_notes_and_keys_almost_right(real, data):
    _lines, vkey, notes = real
    note = data.draw(mangled(notes[0].encode())).decode(errors="surrogateescape")
    key = data.draw(mangled(vkey.encode())).decode(errors="surrogateescape")
    value_or_fault(parse_note, note)
    parsed = value_or_fault(parse_vkey, key)
    assert parsed is None or key.strip() == vkey


@quick
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_archives_of_any_bytes(lines):
    value_or_fault(verify_archive, lines, PRIMITIVES)


@quick
@given(data=st.data())
def test_archives_almost_right_never_hold_but_as_they_were(real, data):
    lines, vkey, notes = real
    at = data.draw(st.integers(0, len(lines) - 1))
    changed = [*lines[:at], data.draw(mangled(lines[at])), *lines[at + 1 :]]
    report = value_or_fault(verify_archive, changed, PRIMITIVES, vkey=vkey, older=notes)
    assert report is None or isinstance(report, Report)
    if report is not None and report.holds:
        assert report.leaves == len(lines) - 1
        if at:  # a leaf: whatever was changed around it, it says the same
            assert base64.b64decode(json.loads(changed[at])["leaf"]) == base64.b64decode(json.loads(lines[at])["leaf"])


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@quick
@given(data=st.data())
def test_archive_headers_of_any_shape(real, data):
    lines, vkey, _notes = real
    head = json.loads(lines[0])
    for name in data.draw(st.lists(st.sampled_from(sorted(head)), min_size=1, unique=True)):
        head[name] = data.draw(junk)
    value_or_fault(
        verify_archive, [json.dumps(head).encode(), *lines[1:]], PRIMITIVES, vkey=data.draw(st.none() | st.just(vkey))
    )


@quick
@given(st.binary(max_size=80))
def test_faults_of_a_peer(data):
    assert isinstance(decode_fault(data), PartywallError)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_journals(tmp_path_factory, data):
    """A journal with any tail, or damaged anywhere: what is read was written, or the start is refused."""
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder)
    for n in range(4):
        journal.append([(A.encode(), b"leaf %d" % n)], durable=n < 3)
    journal.close()
    path = folder / "00000000.journal"
    path.write_bytes(data.draw(mangled(path.read_bytes())))
    again = Journal(folder)
    try:
        found = [leaf for _place, _log, leaf in again.scan(0, mend=True)]
    except Unavailable:
        return
    finally:
        again.close()
    assert found == [b"leaf %d" % n for n in range(4)][: len(found)]
