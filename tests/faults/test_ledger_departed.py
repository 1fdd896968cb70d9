"""What a dead worker left open is closed as unknown soon after, by the ledger, and of no worker that lives."""

import asyncio
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from tests.faults.test_ledger import ledger as _ledger
from tests.ledger_process import ROOT, A, B, act, intent, record
from tests.property.test_ledger_search import Ledger
from tests.scenarios.platform_fixture import own_platform as _own_platform

from partywall.assurance.target import SetupFailed
from partywall.decision.record import Phase, Result
from partywall.ledger.client import LedgerClient
from partywall.ledger.jobs import PATIENCE_S, Departed, alive
from partywall.telemetry.log import Log
from partywall.wire.audit import Filters

ledger, own_platform = _ledger, _own_platform
SOON = b'{"ledger":{"departed_s":0.2}}'
WORKER = """
import asyncio, sys
from pathlib import Path
from partywall.ledger.client import LedgerClient
from tests.ledger_process import A, B, intent

async def work(first, count):
    client = LedgerClient(Path(sys.argv[1]))
    intents = [intent(n, A if n % 2 else B) for n in range(first, first + count)]
    await asyncio.gather(*(client.append(one, durable=True) for one in intents))
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(work(int(sys.argv[2]), int(sys.argv[3])))
"""


def worker(process, first, count):
    """A process that began so many actions and waits for their ends."""
    made = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(process.home.ledger_socket), str(first), str(count)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with made.stdout as said:
        assert said.readline() == "ready\n"
    return made


async def leaves(process, wanted):
    deadline = time.monotonic() + 20
    while (await process.client.status()).leaves < wanted:
        assert time.monotonic() < deadline, await process.client.status()
        await asyncio.sleep(0.05)


async def test_the_intents_of_a_killed_worker_are_closed_and_nobody_elses(ledger):
    process = ledger(settings=SOON)
    await process.start()
    dead = await asyncio.to_thread(worker, process, 0, 70)
    living = await asyncio.to_thread(worker, process, 1000, 70)
    try:
        dead.send_signal(signal.SIGKILL)
        await asyncio.to_thread(dead.wait, 10)
        await leaves(process, 3 * 70)
        await asyncio.sleep(1.5)  # long enough for a job that took too many
        assert (await process.client.status()).leaves == 3 * 70
    finally:
        living.kill()
        living.wait()
    await process.kill()
    contents = Ledger(process.home.ledger)
    ends = [keys for log in (A, B) for _seq, _header, keys in contents.opened(log) if keys.phase == "outcome"]
    assert {keys.act for keys in ends} == {act(n) for n in range(70)}
    assert {(keys.result, keys.reason, keys.principal) for keys in ends} == {
        ("unknown", "worker-gone", "system:sweeper")
    }
    found = contents.find(A, Filters(reason="worker-gone"), limit=100)
    assert len(found.leaves) == 35
    contents.logs.close()


async def test_a_worker_that_only_reconnects_keeps_what_it_began(ledger):
    process = ledger(settings=SOON)
    await process.start()
    other = LedgerClient(process.home.ledger_socket)
    await other.append(intent(1), durable=True)
    await other.close()
    await asyncio.sleep(2.5)
    assert (await process.client.status()).leaves == 1
    await process.client.append(record(Phase.OUTCOME, 1, result=Result.COMPLETE), durable=True)
    await process.kill()
    contents = Ledger(process.home.ledger)
    assert [keys.result for _seq, _header, keys in contents.opened(A)] == [None, "complete"]
    contents.logs.close()


@pytest.fixture
def open_of(tmp_path):
    """A log with two intents of process 7 and one of process 8."""
    made = Ledger(tmp_path)
    made.logs.append_each([intent(1), intent(2), intent(3)], durable=False, origins=[7, 7, 8])
    yield made
    made.logs.close()


def close(departed):
    for _step in departed.close_each():
        pass


def test_who_hung_up_is_looked_for_until_gone_and_then_no_longer(open_of):
    now, living = [100.0], {7, 8}
    departed = Departed(
        open_of.logs, Log("test"), region="local", grace_s=5.0, clock=lambda: now[0], is_alive=living.__contains__
    )
    departed.hung_up(7)
    departed.hung_up(0)
    close(departed)
    living.discard(7)
    now[0] += 4.9
    close(departed)
    assert len(open_of.logs.open_intents) == 3  # what it sent last may still come
    now[0] += 0.2
    close(departed)
    assert [intent.origin for intent in open_of.logs.open_intents.values()] == [8]
    departed.hung_up(8)
    now[0] += PATIENCE_S + 6
    close(departed)
    living.discard(8)  # whoever has that number later is somebody else
    now[0] += 100
    close(departed)
    assert len(open_of.logs.open_intents) == 1


def test_a_number_from_before_a_restart_is_nobodys(tmp_path):
    before = Ledger(tmp_path)
    before.logs.append_each([intent(1)], durable=False, origins=[7])
    before.logs.close()
    again = Ledger(tmp_path)
    assert {intent.origin for intent in again.logs.open_intents.values()} == {0}
    assert sum(again.logs.close_of(7, region="local")) == 0
    again.logs.close()


def test_a_process_is_alive_or_it_is_not():
    assert alive(os.getpid())
    assert alive(1)
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert not alive(gone.pid)


def test_a_killed_gateway_worker_leaves_no_action_open_for_minutes(own_platform):
    """In a whole deployment, where the ledger is confined: it still sees that the worker is gone."""
    side, _other = own_platform.two_tenants()
    slow = threading.Thread(target=lambda: hang(side), daemon=True)
    slow.start()
    query = "/v1/audit/search?action=model.request"
    until(lambda: side.api("GET", f"{query}&phase=intent")["leaves"], "the call did not begin")
    old = own_platform.kill("gateway-0")
    own_platform.wait_restarted("gateway-0", old)
    until(lambda: reasons(side, query), "nobody closed it")
    assert reasons(side, query) == ["worker-gone"]
    slow.join(10)


def hang(side):
    """Ask a model that takes its time."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        side.chat(side.key, "a slow one", stream=True)


def reasons(side, query):
    try:
        return [leaf["activity"]["reason"] for leaf in side.api("GET", f"{query}&phase=outcome")["leaves"]]
    except (OSError, SetupFailed):
        return []


def until(condition, why):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, why
        time.sleep(0.1)
