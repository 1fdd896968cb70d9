"""Each attack on the ledger's keys and reads is refused by the product, and gets through where its control is off."""

import asyncio
import json

import pytest
from knockouts.ledger import KNOCKOUTS, AnyLogServer, SharedKeys, UnboundKeys
from knockouts.mark import mark
from tests.ledger_process import A, B, LedgerProcess, record
from tests.scenarios.test_ledger_reads import Reader

from partywall.decision.record import Phase
from partywall.errors import PartywallError
from partywall.keys.file import FileKeys
from partywall.ledger.logs import Logs
from partywall.ledger.messages import Read
from partywall.ledger.witness import Witness
from partywall.ledger.writer import LedgerServer
from partywall.settings import Home
from partywall.telemetry.log import Log


def product_keys(home):
    return FileKeys(home.kek)


def swapped_wrapped_key(home, *, keys=product_keys, **_parts):
    """Put one version's wrapped key in another's place: does it open?"""
    made = keys(home)
    old = made.data_key_now(A, "ledger")[1]
    made.rotate_now(A, "ledger")
    (home.kek / A / "ledger.2").write_bytes((home.kek / A / "ledger.1").read_bytes())
    try:
        return keys(home).data_key_now(A, "ledger", 2)[1] == old
    except PartywallError:
        return False


def equal_prompts_look_equal(home, *, keys=product_keys, **_parts):
    """Do two tenants' leaves about one prompt carry one hash?"""
    logs = Logs(home.ledger, keys(home), reserve_bytes=4096)
    logs.append([record(Phase.DENIAL, 1, A), record(Phase.DENIAL, 1, B)], durable=False)
    hashes = {logs.open(log, logs.leaves(log, 0, 1)[0]).prompt_hash for log in (A, B)}
    logs.close()
    assert None not in hashes
    return len(hashes) == 1


def another_tenants_log(home, *, server=LedgerServer, **_parts):
    """Ask for B's log under a good permit for A's."""
    reader = Reader(LedgerProcess(home.path))
    reader.boot = "b"
    logs = Logs(home.ledger, product_keys(home), reserve_bytes=4096)
    logs.append([record(Phase.DENIAL, 1, B)], durable=False)
    witness = Witness(home.ledger, home.public_keys, origin="test")
    made = server(logs, witness, home, Log("ledger"), boot="b", failed=lambda: None)
    payload = json.dumps({"log": B}).encode()
    try:
        reply = asyncio.run(made._read(Read(reader.permit(A, payload), payload)))
        return bool(json.loads(reply.body)["leaves"])
    except PartywallError:
        return False
    finally:
        logs.close()


ATTACKS = {attack.__name__: attack for attack in (swapped_wrapped_key, equal_prompts_look_equal, another_tenants_log)}
PARTS = {
    "keys-unbound": {"keys": UnboundKeys},
    "one-key-for-all": {"keys": SharedKeys},
    "any-log": {"server": AnyLogServer},
}


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    made.path.mkdir()
    return made


@pytest.mark.parametrize("name", ATTACKS)
def test_the_product_refuses_the_attack(home, name):
    assert not ATTACKS[name](home)


@pytest.mark.parametrize("name", KNOCKOUTS)
def test_without_the_control_the_attack_gets_through(home, name):
    mark(home)
    assert ATTACKS[KNOCKOUTS[name]](home, **PARTS[name])


@pytest.mark.parametrize("name", KNOCKOUTS)
def test_a_knock_out_refuses_a_home_that_was_not_made_for_one(home, name):
    with pytest.raises(SystemExit):
        ATTACKS[KNOCKOUTS[name]](home, **PARTS[name])


def test_no_attack_is_without_its_knock_out():
    assert set(KNOCKOUTS.values()) == set(ATTACKS)
    assert set(KNOCKOUTS) == set(PARTS)
