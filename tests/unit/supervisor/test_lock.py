"""One supervisor per home; a dead one leaves no lock, and what it left running is seen off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from partywall.errors import Conflict
from partywall.settings import Home
from partywall.supervisor import lock
from partywall.supervisor.lock import Lock, ProcessState, State


def state(*processes: ProcessState) -> State:
    return State(
        pid=1, home="/h", url="http://x", started_at_s=0.0, ready_s=None, isolation="shared-uid", isolation_reason="",
        processes=list(processes),
    )  # fmt: skip


def known(pid: int, began: int | None) -> ProcessState:
    return ProcessState(name="x", state="ready", pid=pid, began=began, user="u", uid=1, restarts=0)


def test_the_second_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    first, second = Lock(Home(tmp_path)), Lock(Home(tmp_path))
    first.take()
    with pytest.raises(Conflict, match=r"already running .* `partywall down` stops it"):
        second.take()
    first.close()
    second.take()
    second.close()


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys,time;from pathlib import Path;from partywall.settings import Home;"
        "from partywall.supervisor.lock import Lock;"
        f"Lock(Home(Path({str(tmp_path)!r}))).take();print('held',flush=True);time.sleep(60)"
    )
    script = script.replace("Lock(Home", "held=Lock(Home", 1).replace(".take();print", ";held.take();print", 1)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert lock.holder(Home(tmp_path)) == holder.pid
        holder.kill()
    assert lock.holder(Home(tmp_path)) is None
    again = Lock(Home(tmp_path))
    again.take()
    again.close()


def test_nobody_holds_a_home_that_is_not_there(tmp_path: Path) -> None:
    assert lock.holder(Home(tmp_path / "none")) is None
    assert lock.read_state(Home(tmp_path / "none")) is None


def test_the_state_is_read_as_it_was_written_and_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.run.mkdir()
    written = state(known(7, 8))
    lock.write_state(home, written)
    assert lock.read_state(home) == written
    assert lock.state_path(home).stat().st_mode & 0o777 == 0o600


def test_left_over_processes_are_killed_and_a_reused_pid_is_not(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.run.mkdir()
    with subprocess.Popen(["/bin/sleep", "60"]) as left, subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        began = lock.began(stranger.pid)
        assert began is not None
        lock.write_state(home, state(known(left.pid, lock.began(left.pid)), known(stranger.pid, began - 1)))
        assert lock.see_off(home) == [left.pid]
        assert left.wait(5) == -9
        assert stranger.poll() is None
        stranger.kill()
