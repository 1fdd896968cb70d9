"""Whatever is done to an exported log, verification says so (attacks.md AU-1). Each mutation is its own knock-out:
the untouched archive verifies."""

import base64
import json

import pytest

from partywall.decision.action import ActionClass, ActionType
from partywall.decision.record import Phase, Record, Result
from partywall.errors import Malformed
from partywall.keys.file import FileKeys
from partywall.ledger.archive import PRIMITIVES, lines_of
from partywall.ledger.leaf import leaf_hash, open_leaf, parse_header, seal
from partywall.ledger.logs import Logs
from partywall.ledger.merkle import verify_consistency, verify_inclusion
from partywall.ledger.verify import verify_archive
from partywall.ledger.witness import Witness
from partywall.wire.ids import ActId, TenantId, format_id

A = TenantId(format_id("ten", b"A" * 16))
B = TenantId(format_id("ten", b"B" * 16))


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        self.now += 0.001
        return self.now


def record(phase, n, log=A, **what):
    return Record(
        phase=phase,
        log=log,
        act=ActId(format_id("act", n.to_bytes(16, "big"))),
        time_s=1.0,
        action=ActionType.TOOL_CALL,
        action_class=ActionClass.EFFECT,
        resource=f"pw:local:{log}:tool/x/{n}",
        principal_kind="agent",
        principal_id="agt_x",
        trace_id="0" * 32,
        region="local",
        payload_sha256=bytes(32),
        **what,
    )


class Deployment:
    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = FileKeys(folder / "kek")
        self.logs = Logs(folder / "ledger", self.keys, reserve_bytes=4096, clock=Clock())
        self.witness = Witness(folder / "ledger", folder / "public", origin="test")

    def work(self, count, log=A, start=0):
        for n in range(start, start + count):
            self.logs.append([record(Phase.INTENT, n, log)], durable=False)
            self.logs.append([record(Phase.OUTCOME, n, log, result=Result.COMPLETE)], durable=True)

    def archive(self, log=A):
        self.witness.sign(self.logs, log)
        size = self.logs.size(log)
        leaves = self.logs.leaves(log, 0, size)
        page = {
            "origin": self.witness.origin_of(log),
            "log": log,
            "vkey": self.witness.vkey,
            "leaves": [base64.b64encode(leaf).decode() for leaf in leaves],
            "keys": {"1": base64.b64encode(self.keys.data_key_now(log, "ledger", 1)[1]).decode()},
            "checkpoints": self.witness.kept(log),
        }
        return list(lines_of([page]))


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path)
    made.work(20)
    made.witness.sign(made.logs, A)
    made.work(20, start=100)
    return made


@pytest.fixture
def archive(deployment):
    return deployment.archive()


def kinds(lines, **options):
    return {finding.kind for finding in verify_archive(lines, PRIMITIVES, **options).findings}


def leaf_of(line):
    return base64.b64decode(json.loads(line)["leaf"])


def line_of(leaf):
    return json.dumps({"leaf": base64.b64encode(leaf).decode()}).encode()


def changed_head(archive, **what):
    return [json.dumps(json.loads(archive[0]) | what).encode(), *archive[1:]]


def test_the_untouched_archive_holds(archive, deployment):
    report = verify_archive(archive, PRIMITIVES, vkey=deployment.witness.vkey)
    assert report.holds, report.findings
    assert (report.leaves, report.opened, report.covered, report.checkpoints) == (80, 80, 80, 2)
    assert report.unresolved == []


def test_any_flipped_bit_is_an_edit(archive):
    leaf = leaf_of(archive[7])
    for position in range(0, len(leaf), 5):
        mangled = leaf[:position] + bytes([leaf[position] ^ 1]) + leaf[position + 1 :]
        assert kinds([*archive[:7], line_of(mangled), *archive[8:]]), position


def test_an_edit_by_someone_who_has_the_content_key(archive, deployment):
    leaf = leaf_of(archive[7])
    _version, key = deployment.keys.data_key_now(A, "ledger", 1)
    cipher = PRIMITIVES.cipher(key)
    content = open_leaf(cipher, A, leaf).replace(b"agt_x", b"agt_y")
    forged = seal(cipher, A, parse_header(leaf), bytes(12), content)
    assert "forked" in kinds([*archive[:7], line_of(forged), *archive[8:]])


def test_delete_insert_reorder_truncate_omit(archive):
    assert "sequence" in kinds([*archive[:7], *archive[8:]])
    assert "sequence" in kinds([*archive[:7], archive[9], *archive[7:]])
    assert "sequence" in kinds([*archive[:7], archive[8], archive[7], *archive[9:]])
    assert "truncated" in kinds(archive[:-5])
    assert kinds(archive[:1]) == {"truncated"}
    assert "sequence" in kinds([archive[0], *archive[2:]])


def test_a_truncated_log_whose_last_checkpoints_were_dropped_disagrees_with_one_kept_at_home(archive):
    head = json.loads(archive[0])
    older = head["checkpoints"]
    short = changed_head(archive[:41], checkpoints=older[:1])
    assert kinds(short) == set()
    assert kinds(short, older=older[-1:]) == {"truncated"}


def test_a_fork_disagrees_with_a_kept_checkpoint(deployment, tmp_path, archive):
    kept = json.loads(archive[0])["checkpoints"][:1]
    fork = Deployment(tmp_path / "fork")
    (fork.witness.__dict__).update(_key=deployment.witness._key, _public_key=deployment.witness._public_key)
    fork.work(80, start=7000)
    assert kinds(fork.archive()) == set()
    assert "forked" in kinds(fork.archive(), older=kept)


def test_a_time_rollback(deployment):
    deployment.logs._logs[A].time_us = 0
    deployment.logs._clock.now = 1_600_000_000.0
    deployment.work(1, start=500)
    assert "time" in kinds(deployment.archive())


def test_the_ledger_itself_never_goes_back_in_time(deployment):
    deployment.logs._clock.now = 1_600_000_000.0
    deployment.work(3, start=500)
    assert kinds(deployment.archive()) == set()


def test_another_key_or_a_broken_signature(archive, tmp_path):
    other = Deployment(tmp_path / "other").witness.vkey
    assert "key" in kinds(archive, vkey=other)
    assert "checkpoint" in kinds(changed_head(archive, vkey=other))
    notes = json.loads(archive[0])["checkpoints"]
    assert "checkpoint" in kinds(changed_head(archive, checkpoints=[notes[0].replace("\n40\n", "\n41\n")]))
    assert "checkpoint" in kinds(changed_head(archive, checkpoints=[]))


def test_a_leaf_moved_to_another_log_does_not_open(deployment):
    deployment.work(40, log=B)
    ours, theirs = deployment.archive(A), deployment.archive(B)
    assert "edited" in kinds([*ours[:7], theirs[7], *ours[8:]])


def test_an_archive_that_calls_itself_another_log_is_found_also_without_keys(archive):
    assert "checkpoint" in kinds(changed_head(archive, log=B, keys={}))
    assert "checkpoint" in kinds(changed_head(archive, origin=f"other/{A}", keys={}))


def test_an_outcome_that_comes_after_the_sweepers_is_no_tampering_but_a_third_is(deployment):
    logs = deployment.logs
    logs.append([record(Phase.INTENT, 900)], durable=True)
    assert logs.sweep(-1.0, region="local") == 1
    logs.append([record(Phase.OUTCOME, 900, result=Result.COMPLETE)], durable=True)
    assert kinds(deployment.archive()) == set()
    logs.append([record(Phase.OUTCOME, 900, result=Result.COMPLETE)], durable=True)
    assert kinds(deployment.archive()) == {"sequence"}


def test_one_logs_leaves_do_not_depend_on_another(tmp_path):
    """Sizes, sequence and times of A are the same whether B exists or not."""
    alone, together = Deployment(tmp_path / "alone"), Deployment(tmp_path / "together")
    alone.work(10)
    for n in range(10):
        together.work(1, start=n)
        together.logs._clock.now -= 0.002
        together.work(3, log=B, start=n * 10)
        together.logs._clock.now = alone.logs._clock.now
    assert alone.logs.size(A) == together.logs.size(A) == 20
    heads = [[parse_header(leaf).seq for leaf in d.logs.leaves(A, 0, 20)] for d in (alone, together)]
    lengths = [[len(leaf) for leaf in d.logs.leaves(A, 0, 20)] for d in (alone, together)]
    assert heads[0] == heads[1]
    assert lengths[0] == lengths[1]


def test_a_shredded_log_still_verifies_and_tells_nothing(deployment, archive):
    deployment.keys.destroy_now(A)
    report = verify_archive(changed_head(archive, keys={}), PRIMITIVES)
    assert report.holds
    assert report.opened == 0
    with pytest.raises(Exception, match="destroyed"):
        deployment.keys.data_key_now(A, "ledger", 1)


def test_proofs_at_every_level(tmp_path):
    made = Deployment(tmp_path)
    made.logs.append([record(Phase.DENIAL, n) for n in range(700)], durable=False)
    tree, root = made.logs.tree(A), made.logs.root(A)
    leaves = made.logs.leaves(A, 0, 700)
    for index in (0, 1, 255, 256, 511, 512, 698, 699):
        assert verify_inclusion(leaf_hash(leaves[index]), index, 700, tree.inclusion(index, 700), root)
    for old in (1, 2, 255, 256, 257, 512, 699, 700):
        assert verify_consistency(old, 700, tree.root(old), root, tree.consistency(old, 700))


@pytest.mark.parametrize("junk", [b"", b"{}", b"[]", b"\xff\xfe", b'{"archive":2}', b"[" * 100_000])
def test_what_is_no_archive_is_refused(junk):
    with pytest.raises(Malformed):
        verify_archive([junk], PRIMITIVES)


def test_a_restart_keeps_everything_and_a_torn_tail_is_cut(tmp_path):
    made = Deployment(tmp_path)
    made.work(300)
    made.logs.append([record(Phase.INTENT, 9999)], durable=True)
    size, root = made.logs.size(A), made.logs.root(A)
    journal = next((tmp_path / "ledger" / "journal").glob("*.journal"))
    with journal.open("ab") as file:
        file.write(b"\x00\x00\x01\x00garbage")
    again = Deployment(tmp_path)
    assert (again.logs.size(A), again.logs.root(A)) == (size, root)
    assert len(again.logs.open_intents) == 1
    assert again.logs.sweep(-1_000_000.0, region="local") == 1
    assert kinds(again.archive()) == set()
    flushed = Deployment(tmp_path)
    assert flushed.logs.size(A) == size + 1
