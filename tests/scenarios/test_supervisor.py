"""Everything starts with one command, comes back when it is killed, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

from partywall.supervisor import lock
from partywall.supervisor.throwaway import Throwaway

ROOT = os.geteuid() == 0
NAMES = ["postgres-control", "postgres-data", "issuer", "ledger", "embeddings", "gateway-0"]


@pytest.fixture(scope="module")
def sturdy() -> Iterator[Platform]:
    """This module's own: it is killed in pieces and has to come back each time."""
    with Platform() as running:
        wait_for_embeddings(running)  # the start does not
        yield running


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def until(condition: object, timeout_s: float) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def tree(pid: int) -> dict[int, int]:
    """pid -> when it began, of a process and all below it."""
    found: dict[int, int] = {}
    begun = lock.began(pid)
    if begun is not None:
        found[pid] = begun
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= tree(int(child))
    return found


def alive(processes: dict[int, int]) -> list[int]:
    return [pid for pid, begun in processes.items() if lock.began(pid) == begun]


def accepts(url: str) -> bool:
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as sock:
        return sock.connect_ex((host, int(port))) == 0


def cli(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "partywall.app", *words],
        env={**os.environ, "PARTYWALL_HOME": str(home)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_every_process_is_ready_and_the_doors_answer(sturdy: Platform) -> None:
    state = sturdy.state()
    assert [process.name for process in state.processes] == NAMES
    assert {process.state for process in state.processes} == {"ready"}
    assert healthy(sturdy.base_url)


@pytest.mark.skipif(not ROOT, reason="a uid of its own for each process needs root")
def test_each_process_really_runs_as_its_own_user(sturdy: Platform) -> None:
    state = sturdy.state()
    assert state.isolation == "uid-per-process"
    assert len({process.uid for process in state.processes}) == len(NAMES)
    for process in state.processes:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t(\d+)\t\1\t\1\t\1$", status, re.MULTILINE)[1] == str(process.uid), process.name  # type: ignore[index]
        assert "NoNewPrivs:\t1" in status
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)


def test_status_shows_it_and_says_how_it_is_kept_apart(sturdy: Platform) -> None:
    shown = cli(sturdy.home.path, "status")
    assert shown.returncode == 0, shown.stderr
    for name in NAMES:
        assert name in shown.stdout
    assert ("own uid" if ROOT else "one uid for all processes") in shown.stdout


def test_a_second_up_is_refused_and_told_what_to_do(sturdy: Platform) -> None:
    second = cli(sturdy.home.path, "up", "--port", "0")
    assert second.returncode == 1
    assert f"already running in {sturdy.home.path}" in " ".join(second.stderr.split())
    assert "partywall down" in second.stderr
    assert healthy(sturdy.base_url)


def test_a_taken_port_is_refused_and_told_what_to_do(sturdy: Platform, tmp_path: Path) -> None:
    second = cli(tmp_path, "up", "--no-model", "--port", sturdy.base_url.rsplit(":", 1)[1])
    assert second.returncode == 1
    assert "is taken: choose another with `--port`" in " ".join(second.stderr.split())


@pytest.mark.parametrize("name", NAMES)
def test_each_process_comes_back_after_kill_9_and_the_platform_works_again(sturdy: Platform, name: str) -> None:
    key = sturdy.operator_key()
    old = sturdy.kill(name)
    came_back = sturdy.wait_restarted(name, old)
    assert came_back.restarts >= 1
    assert came_back.last_exit == "SIGKILL"

    def works() -> bool:
        """The whole road: a change that needs the issuer, both databases, the ledger and a worker."""
        request = urllib.request.Request(f"{sturdy.base_url}/v1/tenants", headers={"Authorization": f"Bearer {key}"})
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    until(works, 20)
    assert healthy(sturdy.base_url)


def test_what_a_worker_refuses_nobody_while_it_restarts(sturdy: Platform) -> None:
    """The listening socket is the supervisor's: a connection waits for the next worker."""
    old = sturdy.kill("gateway-0")
    began = time.monotonic()
    assert accepts(sturdy.base_url)
    assert time.monotonic() - began < 0.5
    sturdy.wait_restarted("gateway-0", old)


def test_sigterm_ends_everything_in_order(own_platform: Platform) -> None:
    wait_for_embeddings(own_platform)
    processes = tree(own_platform.pid)
    assert len(processes) >= 7
    assert own_platform.stop() == 0
    assert alive(processes) == []
    assert not accepts(own_platform.base_url)
    assert not lock.state_path(own_platform.home).exists()
    assert cli(own_platform.home.path, "status").returncode == 3
    events = [json.loads(line) for line in own_platform.home.log("supervisor").read_text().splitlines()]
    ended = [event["process"] for event in events if event["event"] == "process.exited"]
    assert ended[0] == "gateway-0"
    assert set(ended[1:4]) == {"issuer", "ledger", "embeddings"}
    assert set(ended[4:]) == {"postgres-control", "postgres-data"}
    assert not [event for event in events if event["level"] != "info"], "each ended by itself, in time"


def test_down_stops_it_and_says_so(own_platform: Platform) -> None:
    processes = tree(own_platform.pid)
    assert cli(own_platform.home.path, "down").stdout.startswith("stopped (pid ")
    until(lambda: not alive(processes), 2.0)  # its lock is let go a moment before it has ended
    assert cli(own_platform.home.path, "down").stdout.startswith("nothing is running")


def test_no_orphan_survives_a_killed_supervisor_and_the_next_start_is_clean(own_platform: Platform) -> None:
    processes = tree(own_platform.pid)
    own_platform.operator_key()
    os.kill(own_platform.pid, signal.SIGKILL)
    until(lambda: not alive(processes), 2.0)
    assert not accepts(own_platform.base_url)
    own_platform.stop()
    state = own_platform.start()
    assert {process.state for process in state.processes} == {"ready"}
    assert healthy(own_platform.base_url)


def test_stopping_in_the_middle_of_the_start_leaves_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PARTYWALL_HOME": str(tmp_path / "h")}
    words = [sys.executable, "-P", "-m", "partywall.app", "up", "--port", "0", "--no-model", "--json"]
    for delay_s in (0.0, 0.6, 1.3):
        with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as up:
            assert up.stdout is not None
            up.stdout.readline()
            time.sleep(delay_s)
            processes = tree(up.pid)
            up.send_signal(signal.SIGINT)
            assert up.wait(20) == 0
            assert alive(processes) == []


def test_a_start_that_cannot_succeed_says_which_log_to_read(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import sys; sys.exit(7)"]
    script = (
        "import asyncio,sys\nfrom pathlib import Path\n"
        "from partywall.settings import *\nfrom partywall.supervisor.run import run\n"
        "from partywall.telemetry.log import configure\nfrom partywall.errors import Unavailable\n"
        f"settings = Settings(gateway=GatewaySettings(port=0), model=ModelSettings(enabled=False))\n"
        "async def main():\n"
        "    try:\n"
        f"        home = Home(Path({str(tmp_path)!r}))\n"
        f"        await run(home, settings, configure('t'), stop=asyncio.Event(), serve={words!r})\n"
        "    except Unavailable as error:\n"
        "        print(error.public)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=90)
    assert re.match(r"issuer ended: exit 7; its log says more: .*/log/issuer\.log", done.stdout), done.stderr


def test_two_deployments_run_side_by_side(sturdy: Platform) -> None:
    with Throwaway("--no-model") as other:
        assert healthy(other.url)
        assert healthy(sturdy.base_url)
        assert other.url != sturdy.base_url
