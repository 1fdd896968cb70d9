"""A child is reaped, restarted with back-off, and ended in order."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from partywall.supervisor import readiness
from partywall.supervisor.child import LOG_LIMIT_BYTES, Child, Program, View, reap_adopted, trim_log
from partywall.supervisor.identity import Identity, choose
from partywall.telemetry.log import Log


def program(tmp_path: Path, script: str, **options: object) -> Program:
    fields = {
        "name": "toy",
        "identity": identity(),
        "argv": ("/bin/sh", "-c", script),
        "ready": readiness.file_exists(tmp_path / "ready"),
        "log_path": tmp_path / "toy.log",
        "environment": {"PATH": "/usr/bin:/bin"},
    }
    return Program(**(fields | options))  # type: ignore[arg-type]


def identity() -> Identity:
    return choose().of("gateway")


def child(of: Program, stream: io.StringIO | None = None) -> Child:
    return Child(of, View((), (sys.base_prefix, sys.prefix)), Log("test", stream or io.StringIO()), lambda: None)


async def until(condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    kept = child(program(tmp_path, "sleep 60"))
    kept.start()
    await until(lambda: kept.pid)
    first = kept.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: kept.restarts == 1 and kept.pid not in {None, first})
    assert kept.state().last_exit == "SIGKILL"
    assert kept.state().restarts == 1
    await kept.stop()
    assert kept.pid is None
    assert kept.state().state == "stopped"


async def test_each_restart_waits_longer(tmp_path: Path) -> None:
    stream = io.StringIO()
    kept = child(program(tmp_path, "exit 3"), stream)
    kept.start()
    await until(lambda: kept.exits >= 3)
    await kept.stop()
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    starts = [event["time"] for event in events if event["event"] == "process.started"]
    assert starts[2] - starts[1] > starts[1] - starts[0] > 0.15
    assert {event["reason"] for event in events if event["event"] == "process.exited"} == {"exit 3"}


async def test_the_start_gives_up_on_a_child_that_cannot(tmp_path: Path) -> None:
    kept = child(program(tmp_path, "exit 3"))
    kept.start()
    assert not await kept.until_ready(10.0, exits_limit=2)
    assert kept.exits == 2
    await kept.stop()


async def test_one_that_ignores_the_signal_is_killed_by_its_pid(tmp_path: Path) -> None:
    kept = child(program(tmp_path, "trap '' TERM; echo trapped; sleep 60", stop_timeout_s=0.3))
    kept.start()
    await until(lambda: (tmp_path / "toy.log").exists() and "trapped" in (tmp_path / "toy.log").read_text())
    began = time.monotonic()
    await kept.stop()
    assert time.monotonic() - began < 2
    assert kept.state().last_exit == "SIGKILL"


async def test_what_a_child_left_in_its_group_ends_with_it(tmp_path: Path) -> None:
    kept = child(program(tmp_path, "sleep 61 & echo $!; exec sleep 60"))
    kept.start()
    await until(lambda: (tmp_path / "toy.log").exists() and (tmp_path / "toy.log").read_text().strip())
    grandchild = int((tmp_path / "toy.log").read_text())
    await kept.stop()
    await until(
        lambda: not Path(f"/proc/{grandchild}").exists() or " Z " in Path(f"/proc/{grandchild}/stat").read_text()
    )


async def test_it_reads_nothing_and_its_log_is_the_starters_own(tmp_path: Path) -> None:
    kept = child(program(tmp_path, "cat; env; echo done"))
    kept.start()
    await until(lambda: kept.exits)
    await kept.stop()
    log = tmp_path / "toy.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.stat().st_uid == os.geteuid()
    assert {line.split("=")[0] for line in log.read_text().splitlines()} <= {
        "PATH",
        "PWD",
        "LC_CTYPE",
        "SHLVL",
        "_",
        "done",
    }


def test_a_large_log_keeps_one_predecessor(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("w") as file:
        file.truncate(LOG_LIMIT_BYTES + 1)
    trim_log(log)
    assert log.stat().st_size == 0
    old = tmp_path / "x.log.1"
    assert old.stat().st_size == LOG_LIMIT_BYTES + 1
    assert old.stat().st_mode & 0o777 == 0o600
    trim_log(tmp_path / "none.log")


def test_adopted_orphans_are_reaped_and_own_children_are_not() -> None:
    with subprocess.Popen(["/bin/true"]) as own, subprocess.Popen(["/bin/true"]) as adopted:
        for process in (own, adopted):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        everybody_else = {int(pid) for path in Path("/proc/self/task").glob("*/children")
                          for pid in path.read_text().split()} - {adopted.pid}  # fmt: skip
        assert reap_adopted(set(everybody_else)) == [adopted.pid]
        assert own.wait() == 0
        assert adopted.wait() == 0
