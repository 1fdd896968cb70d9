"""What one tenant's log is made of is a function of its own records: a neighbour changes no byte of it, nor of a proof.

All that is random (nonces, keys) is pinned, so that equal means equal bytes. A's records share batches, and so writes,
with the neighbour's. Source: architecture.md "The ledger".
"""

import base64
import hashlib
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger_process import A, B, act, record

from partywall.decision.record import Phase, Result
from partywall.errors import PartywallError
from partywall.keys.file import FileKeys
from partywall.ledger import logs as logs_module
from partywall.ledger.archive import PRIMITIVES, lines_of
from partywall.ledger.leaf import leaf_hash, parse_header, seal
from partywall.ledger.logs import Logs
from partywall.ledger.merkle import root_of, verify_consistency, verify_inclusion
from partywall.ledger.verify import verify_archive
from partywall.ledger.witness import Witness
from partywall.wire.ids import TenantId, format_id


def pinned_seal(cipher, log, header, _nonce, content):
    return seal(cipher, log, header, hashlib.sha256(f"{log}|{header.seq}".encode()).digest()[:12], content)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Keys of the logs and of the checkpoints that both deployments begin with."""
    folder = tmp_path_factory.mktemp("seeds")
    FileKeys(folder / "kek").data_key_now(A, "ledger")
    Witness(folder / "ledger", folder / "public", origin="test")
    return folder


class Deployment:
    def __init__(self, seeds, folder):
        shutil.copytree(seeds, folder)
        self.now = 1_700_000_000.0
        self.keys = FileKeys(folder / "kek")
        self.logs = Logs(folder / "ledger", self.keys, reserve_bytes=4096, clock=lambda: self.now)
        self.witness = Witness(folder / "ledger", folder / "public", origin="test")

    def close(self):
        self.logs.close()

    def batch(self, records):
        self.now += 1.0
        self.logs.append_each(records, durable=False)

    def seen(self):
        """All that A can have of its log."""
        size = self.logs.size(A)
        leaves = self.logs.leaves(A, 0, size)
        tree = self.logs.tree(A)
        return {
            "leaves": leaves,
            "root": self.logs.root(A),
            "inclusion": [tree.inclusion(index, size) for index in range(size)],
            "consistency": [tree.consistency(old, size) for old in range(1, size + 1)],
            "checkpoint": self.witness.sign(self.logs, A) if size else None,
            "kept": self.witness.kept(A),
            "open": {key for key in self.logs.open_intents if key[0] == A},
        }


def entry(step, at, log):
    phase = (Phase.INTENT, Phase.OUTCOME, Phase.DENIAL)[at % 3]
    what = {"result": Result.COMPLETE} if phase is Phase.OUTCOME else {}
    return record(phase, step * 100 + at - at % 3, log, **what)


OTHERS = [B, TenantId("platform"), TenantId(format_id("ten", b"C" * 16)), TenantId("no log at all")]
BATCHES = st.lists(
    st.tuples(st.integers(0, 4), st.lists(st.tuples(st.sampled_from(OTHERS), st.booleans()), max_size=5)), max_size=8
)


@settings(max_examples=40, deadline=None)
@given(BATCHES)
def test_a_neighbour_changes_no_byte_of_a_log_its_proofs_or_its_checkpoints(tmp_path_factory, seeds, batches):
    folder = tmp_path_factory.mktemp("run")
    alone, together = Deployment(seeds, folder / "alone"), Deployment(seeds, folder / "together")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs_module, "seal", pinned_seal)
        for step, (own, others) in enumerate(batches):
            ours = [entry(step, at, A) for at in range(own)]
            before = [entry(step, at, log) for at, (log, first) in enumerate(others) if first]
            after = [entry(step, at, log) for at, (log, first) in enumerate(others) if not first]
            alone.batch(ours)
            together.batch([*before, *ours, *after])
            if step % 3 == 2:
                alone.witness.sign_all(alone.logs)
                together.witness.sign_all(together.logs)
    seen = alone.seen(), together.seen()
    alone.close()
    together.close()
    shutil.rmtree(folder)
    assert seen[0] == seen[1]
    hashes = [leaf_hash(leaf) for leaf in seen[0]["leaves"]]
    assert root_of(hashes) == seen[0]["root"]
    for index, proof in enumerate(seen[0]["inclusion"]):
        assert verify_inclusion(hashes[index], index, len(hashes), proof, seen[0]["root"])
    for old, proof in enumerate(seen[0]["consistency"], 1):
        assert verify_consistency(old, len(hashes), root_of(hashes[:old]), seen[0]["root"], proof)


def test_the_comparison_would_see_a_neighbour(tmp_path, seeds, monkeypatch):
    """The knock-out: sequence numbers counted over all logs at once."""
    monkeypatch.setattr(logs_module, "seal", pinned_seal)
    deployments = [Deployment(seeds, tmp_path / name) for name in ("alone", "together")]
    real = Logs._head

    def one_for_all(self, log, now_us):
        head = real(self, log, now_us)
        head.size = sum(self.size(name) for name in self.names())
        return head

    monkeypatch.setattr(Logs, "_head", one_for_all)
    for at, deployment in enumerate(deployments):
        deployment.batch([record(Phase.DENIAL, 1)])
        if at:
            deployment.batch([record(Phase.DENIAL, 1, B)])
            deployment.now -= 1.0
        deployment.batch([record(Phase.DENIAL, 2)])
    seen = [deployment.seen()["leaves"] for deployment in deployments]
    for deployment in deployments:
        deployment.close()
    assert seen[0] != seen[1]


def test_a_log_whose_key_was_rotated_verifies_and_opens_with_both_keys(tmp_path, seeds):
    made = Deployment(seeds, tmp_path / "one")
    made.batch([record(Phase.INTENT, 1), record(Phase.DENIAL, 2)])
    assert made.keys.rotate_now(A, "ledger") == 2
    made.logs.forget_keys(A)
    made.batch([record(Phase.OUTCOME, 1, result=Result.COMPLETE)])
    leaves = made.logs.leaves(A, 0, 9)
    versions = {parse_header(leaf).key_version for leaf in leaves}
    assert versions == {1, 2}
    made.witness.sign(made.logs, A)
    page = {
        "origin": made.witness.origin_of(A),
        "log": A,
        "vkey": made.witness.vkey,
        "leaves": [base64.b64encode(leaf).decode() for leaf in leaves],
        "checkpoints": made.witness.kept(A),
        "keys": {str(n): base64.b64encode(key).decode() for n, key in made.logs.keys(A, versions).items()},
    }
    report = verify_archive(lines_of([page]), PRIMITIVES, vkey=made.witness.vkey)
    assert (report.holds, report.opened, report.unresolved) == (True, 3, [])
    only_new = lines_of([page | {"keys": {"2": page["keys"]["2"]}}])
    report = verify_archive(only_new, PRIMITIVES, vkey=made.witness.vkey)
    assert report.opened == 1
    assert [made.logs.open(A, leaf).act for leaf in leaves] == [act(1), act(2), act(1)]
    made.keys.destroy_now(A)
    with pytest.raises(PartywallError):
        made.logs.open(A, leaves[0])
    made.close()
