"""The real ledger process, killed at any point and starved of disk: nothing acknowledged is lost, every intent ends."""

import asyncio
import base64
import os
import random
import subprocess
import time

import pytest
from tests.ledger_process import A, B, LedgerProcess, act, intent, record

from partywall.decision.record import Phase, Result
from partywall.errors import PartywallError, Unavailable
from partywall.keys.file import FileKeys
from partywall.ledger.archive import PRIMITIVES, lines_of
from partywall.ledger.logs import Logs
from partywall.ledger.verify import verify_archive
from partywall.ledger.witness import Witness


@pytest.fixture
async def ledger(tmp_path):
    made = []

    def make(folder=tmp_path / "home", settings=b"{}"):
        folder.mkdir(exist_ok=True)
        made.append(LedgerProcess(folder, settings))
        return made[-1]

    yield make
    for one in made:
        await one.kill()


class Contents:
    """What a stopped ledger's folder holds, read as a fresh process would."""

    def __init__(self, home):
        keys = FileKeys(home.kek)
        logs = Logs(home.ledger, keys, reserve_bytes=4096)
        witness = Witness(home.ledger, home.public_keys, origin="partywall.local")
        self.open = {act for _log, act in logs.open_intents}
        self.activities, self.reports = {}, {}
        for log in logs.names():
            leaves = logs.leaves(log, 0, logs.size(log))
            self.activities[log] = [logs.open(log, leaf) for leaf in leaves]
            witness.sign(logs, log)
            page = {
                "origin": witness.origin_of(log),
                "log": log,
                "vkey": witness.vkey,
                "leaves": [base64.b64encode(leaf).decode() for leaf in leaves],
                "keys": {"1": base64.b64encode(keys.data_key_now(log, "ledger", 1)[1]).decode()},
                "checkpoints": witness.kept(log),
            }
            self.reports[log] = verify_archive(lines_of([page]), PRIMITIVES, vkey=witness.vkey)
        logs.close()

    def acts(self, phase):
        return {one.act for all_ in self.activities.values() for one in all_ if one.phase == phase.value}

    def check(self):
        for log, report in self.reports.items():
            assert report.holds, (log, report.findings)


async def traffic(process, numbers, acknowledged, outcomes):
    """Append intents and their outcomes until the process goes away."""
    client = process.client  # of this life: the next one has its own

    async def one(n):
        log = A if n % 3 else B
        try:
            await client.append(intent(n, log), durable=True)
            acknowledged.add(act(n))
            await client.append(record(Phase.OUTCOME, n, log, result=Result.COMPLETE), durable=n % 2 == 0)
            outcomes.add(act(n))
        except PartywallError:
            return False
        return True

    while all(await asyncio.gather(*(one(next(numbers)) for _ in range(8)))):
        pass


async def killed_again_and_again(ledger, rounds, settings):
    process = ledger(settings=settings)
    acknowledged, outcomes, numbers = set(), set(), iter(range(10**9))
    delays = random.Random(rounds)
    for _ in range(rounds):
        await process.start()
        working = asyncio.ensure_future(traffic(process, numbers, acknowledged, outcomes))
        await asyncio.sleep(delays.uniform(0.02, 0.35))
        await process.kill()
        await working
    contents = Contents(process.home)
    contents.check()
    assert len(acknowledged) > rounds * 5
    assert acknowledged <= contents.acts(Phase.INTENT)
    assert outcomes <= contents.acts(Phase.OUTCOME)
    assert contents.acts(Phase.INTENT) - contents.acts(Phase.OUTCOME) == contents.open


# A state written often is one that a kill often interrupts; one never written leaves all to the journal.
OFTEN = b'{"ledger":{"checkpoint_s":0.03}}'


@pytest.mark.parametrize("settings", [OFTEN, b"{}"], ids=["checkpoints-often", "no-checkpoint"])
async def test_kill_9_loses_nothing_that_was_acknowledged(ledger, settings):
    await killed_again_and_again(ledger, 4, settings)


@pytest.mark.long
async def test_kill_9_sixty_times(ledger):
    await killed_again_and_again(ledger, 60, OFTEN)


async def test_what_a_killed_worker_left_open_is_closed_as_unknown_after_a_restart(ledger):
    process = ledger(settings=b'{"ledger":{"orphan_s":0.5,"sweep_s":0.1}}')
    process.settings = "{}"
    await process.start()
    for n in range(5):
        await process.client.append(intent(n), durable=True)
    await process.client.append(record(Phase.OUTCOME, 0, result=Result.COMPLETE), durable=False)
    await process.kill()
    process.settings = '{"ledger":{"orphan_s":0.5,"sweep_s":0.1}}'
    await process.start()
    deadline = time.monotonic() + 10
    while (await process.client.status()).leaves < 10:
        assert time.monotonic() < deadline, "the sweeper did not close what was open"
        await asyncio.sleep(0.05)
    assert await process.stop() == 0
    contents = Contents(process.home)
    contents.check()
    assert contents.open == set()
    ends = {one.act: (one.result, one.actor["id"]) for one in contents.activities[A] if one.phase == "outcome"}
    assert ends[act(0)] == ("complete", "agt_x")
    assert {ends[act(n)] for n in range(1, 5)} == {("unknown", "system:sweeper")}


async def test_two_writers_never_open_one_journal(ledger):
    first, second = ledger(), ledger()
    await first.start()
    second.spawn()
    assert await asyncio.to_thread(second.process.wait, 20) != 0
    assert "_alone" in second.last_words()
    await first.client.append(intent(1), durable=True)


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], capture_output=True, check=False, text=True
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Take all space that is left; return the file that holds it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    assert os.statvfs(folder).f_bavail == 0
    return path


async def refused_with(process, code, entry):
    with pytest.raises(Unavailable) as caught:
        await process.client.append(entry, durable=True)
    assert caught.value.code == code


async def test_a_full_disk_refuses_what_is_new_and_still_takes_every_outcome(ledger, small_disk):
    process = ledger(small_disk / "home", b'{"ledger":{"checkpoint_s":0.1}}')
    await process.start()
    for n in range(40):
        await process.client.append(intent(n), durable=True)
    filler = fill(small_disk)
    for n in range(100, 110):
        await refused_with(process, "ledger-full", record(Phase.DENIAL, n, parameters={"pad": "x" * 5000}))
    # In one turn: an intent, a denial and an outcome. Only the outcome is what space was kept for.
    told = await asyncio.gather(
        process.client.append(intent(200, parameters={"pad": "x" * 5000}), durable=True),
        process.client.append(record(Phase.DENIAL, 201, parameters={"pad": "x" * 5000}), durable=True),
        process.client.append(record(Phase.OUTCOME, 0, result=Result.COMPLETE), durable=True),
        return_exceptions=True,
    )
    assert [getattr(one, "code", None) for one in told] == ["ledger-full", "ledger-full", None]
    for n in range(1, 39):
        what = {"result": Result.COMPLETE, "parameters": {"pad": "x" * 2000}}
        await process.client.append(record(Phase.OUTCOME, n, **what), durable=True)
    await process.kill()  # and it starts on the full disk, with what was open still open
    await process.start()
    await process.client.append(record(Phase.OUTCOME, 39, result=Result.COMPLETE), durable=True)
    filler.unlink()
    await process.client.append(intent(300), durable=True)
    await process.client.append(record(Phase.OUTCOME, 300, result=Result.COMPLETE), durable=True)
    assert await process.stop() == 0
    contents = Contents(process.home)
    contents.check()
    assert contents.open == set()
    assert {act(n) for n in range(40)} | {act(300)} == contents.acts(Phase.OUTCOME)


async def test_a_new_tenants_key_that_finds_no_room_stops_no_other_tenant(ledger, small_disk):
    process = ledger(small_disk / "home")
    await process.start()
    await process.client.append(intent(1), durable=True)
    filler = fill(small_disk)
    told = await asyncio.gather(
        process.client.append(record(Phase.DENIAL, 2, log=B), durable=True),
        process.client.append(record(Phase.OUTCOME, 1, result=Result.COMPLETE), durable=True),
        return_exceptions=True,
    )
    assert isinstance(told[0], Unavailable)
    assert told[1] is None
    filler.unlink()
    await process.client.append(record(Phase.DENIAL, 3, log=B), durable=True)
