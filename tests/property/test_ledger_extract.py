"""A filtered export proves each leaf that it holds, shows every tampering, and claims nothing of what it leaves out."""

import base64
import itertools
import json

import pytest
from tests.ledger_process import A, B, record
from tests.property.test_ledger_search import Ledger, expected, ids

from partywall.decision.record import Phase
from partywall.errors import Malformed, NotFound
from partywall.ledger.archive import PRIMITIVES, extract_lines
from partywall.ledger.extract import verify_export
from partywall.wire.audit import Filters

FILTERS = Filters(phase="denial", principal=ids("agt", 3))


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    made = Ledger(tmp_path_factory.mktemp("extract"))
    made.fill(A, 2600)
    made.fill(B, 1100, seed=4)
    return made


def lines(ledger, log=A, filters=FILTERS, *, grow=False, keys=True, limit=10):
    """The lines of an extract, in pages of ten; grow: the log goes on meanwhile."""

    def fetch(cursor):
        if grow:
            ledger.logs.append([record(Phase.DENIAL, 9, log, principal_id=ids("agt", 3))], durable=False)
        return ledger.ask(log, "extract", filters=filters, order="oldest", limit=limit, cursor=cursor)

    return list(extract_lines(fetch, {"phase": "denial"}, keys=keys))


def test_every_leaf_is_proven_and_completeness_is_not_claimed(ledger):
    made = lines(ledger)
    report = verify_export(made, PRIMITIVES, vkey=ledger.witness.vkey)
    assert report.holds, report.findings
    want = list(expected(ledger, A, FILTERS))
    assert [json.loads(line)["seq"] for line in made[1:]] == want
    assert report.proven == report.opened == report.leaves == report.denials == len(want) > 50
    assert not report.complete
    assert report.covered == ledger.logs.size(A)


def test_leaves_that_come_while_it_is_taken_are_not_in_it(ledger):
    before = ledger.logs.size(A)
    made = lines(ledger, grow=True)
    report = verify_export(made, PRIMITIVES, vkey=ledger.witness.vkey)
    assert report.holds, report.findings
    assert report.covered == before + 1  # the first page signs, after one more has come
    assert all(json.loads(line)["seq"] <= before for line in made[1:])


def test_without_its_keys_it_is_proven_and_stays_shut(ledger):
    made = lines(ledger, keys=False)
    report = verify_export(made, PRIMITIVES, vkey=ledger.witness.vkey)
    assert report.holds
    assert (report.proven, report.opened) == (len(made) - 1, 0)


def changed(line, **what):
    return json.dumps({**json.loads(line), **what}).encode()


def edited(line):
    raw = bytearray(base64.b64decode(json.loads(line)["leaf"]))
    raw[-1] ^= 1
    return changed(line, leaf=base64.b64encode(raw).decode())


TAMPERS = {
    "edited": lambda all_: [*all_[:3], edited(all_[3]), *all_[4:]],
    "renumbered": lambda all_: [*all_[:3], changed(all_[3], seq=json.loads(all_[3])["seq"] + 1), *all_[4:]],
    "another's proof": lambda all_: [*all_[:3], changed(all_[3], proof=json.loads(all_[4])["proof"]), *all_[4:]],
    "no proof": lambda all_: [*all_[:3], changed(all_[3], proof=[]), *all_[4:]],
    "a proof of short hashes": lambda all_: [*all_[:3], changed(all_[3], proof=["AA=="]), *all_[4:]],
    "twice": lambda all_: [*all_[:3], all_[3], all_[3], *all_[4:]],
    "out of order": lambda all_: [*all_[:3], all_[4], all_[3], *all_[5:]],
    "not a leaf": lambda all_: [*all_[:3], b'{"leaf": 7}', *all_[3:]],
    "another log's name": lambda all_: [changed(all_[0], log=B), *all_[1:]],
    "another origin": lambda all_: [changed(all_[0], origin=f"test/{B}"), *all_[1:]],
    "no checkpoint": lambda all_: [changed(all_[0], checkpoint=None), *all_[1:]],
    "an edited checkpoint": lambda all_: [
        changed(all_[0], checkpoint=json.loads(all_[0])["checkpoint"].replace("time 1", "time 2")), *all_[1:]
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERS)
def test_tampering_shows(ledger, name):
    made = lines(ledger)
    assert not verify_export(TAMPERS[name](made), PRIMITIVES, vkey=ledger.witness.vkey).holds


def test_a_leaf_of_another_tenant_does_not_pass_for_ones_own(ledger):
    own, foreign = lines(ledger), lines(ledger, B)
    for line in foreign[1:4]:
        assert not verify_export([*own[:2], line], PRIMITIVES, vkey=ledger.witness.vkey).holds
    assert not verify_export([own[0], *foreign[1:]], PRIMITIVES, vkey=ledger.witness.vkey).holds


def test_it_is_compared_with_a_checkpoint_of_its_own_size_only(ledger):
    made = lines(ledger)
    same = json.loads(made[0])["checkpoint"]
    assert verify_export(made, PRIMITIVES, vkey=ledger.witness.vkey, older=[same]).holds
    ledger.logs.append([record(Phase.DENIAL, 9, A)], durable=False)
    other = ledger.witness.sign(ledger.logs, A)
    report = verify_export(made, PRIMITIVES, vkey=ledger.witness.vkey, older=[other])
    assert [finding.kind for finding in report.findings] == ["checkpoint"]


def test_another_key_than_the_published_one_is_not_believed(ledger, tmp_path):
    other = Ledger(tmp_path)
    other.fill(A, 20)
    assert not verify_export(lines(other), PRIMITIVES, vkey=ledger.witness.vkey).holds


def test_what_is_neither_archive_nor_extract_is_said_to_be_neither():
    for text in ([], [b""], [b"{}"], [b"[1]"], [b'{"extract": 2}'], [b'{"extract": 1, "keys": {"x": 1}}'], [b"\xff"]):
        with pytest.raises(Malformed):
            verify_export(text, PRIMITIVES)


def test_pages_of_any_size_give_the_same_leaves(ledger):
    whole = lines(ledger, limit=250)[1:]
    for limit in (1, 7, 64):
        page = lines(ledger, limit=limit)[1:]
        assert [json.loads(line)["leaf"] for line in page] == [json.loads(line)["leaf"] for line in whole]


def test_an_empty_log_has_nothing_to_sign(ledger, tmp_path):
    with pytest.raises(NotFound):
        Ledger(tmp_path).ask(A, "extract")
    with pytest.raises(Malformed):
        ledger.ask(A, "extract", limit=251)
    assert list(
        itertools.islice(extract_lines(lambda _c: ledger.ask(A, "extract", filters=Filters(reason="x")), {}), 9)
    )
