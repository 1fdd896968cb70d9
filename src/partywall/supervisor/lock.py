"""One supervisor per home, and what the next one must know about the last.

The lock is the kernel's (flock), so a supervisor that was killed leaves none behind; its state file names the
processes that it had, so that the next start can see off any that are still on their way out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path
from typing import Final

import msgspec

from partywall.errors import Conflict
from partywall.settings import Home

FAREWELL_S: Final = 10.0


class ProcessState(msgspec.Struct, frozen=True, kw_only=True):
    """One process as `status` shows it. began: kernel ticks since boot, which tells a reused pid apart."""

    name: str
    state: str
    pid: int | None
    began: int | None
    user: str
    uid: int
    restarts: int
    last_exit: str | None = None


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What `run/supervisor.json` holds. isolation: `uid-per-process` or `shared-uid`, with the reason."""

    pid: int
    home: str
    url: str
    started_at_s: float
    ready_s: float | None
    isolation: str
    isolation_reason: str
    processes: list[ProcessState]


class Lock:
    """Holds a home until closed or dead."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._fd: int | None = None

    def take(self) -> None:
        """Take it. Raises: Conflict naming the holder's pid."""
        self._home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(lock_path(self._home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise Conflict(
                f"partywall is already running in {self._home.path} (pid {holder}): `partywall status` shows it, "
                "`partywall down` stops it; for another deployment set PARTYWALL_HOME",
                code="already-running",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def close(self) -> None:
        """Give it up."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def lock_path(home: Home) -> Path:
    """Outside `run`, which each start makes anew."""
    return home.path / "supervisor.lock"


def holder(home: Home) -> int | None:
    """Return the pid of the supervisor that holds this home now, or None. Raises: PermissionError."""
    try:
        fd = os.open(lock_path(home), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(fd)
    return None


def state_path(home: Home) -> Path:
    """Where the state is."""
    return home.run / "supervisor.json"


def read_state(home: Home) -> State | None:
    """Return the last state written, or None. It may be of a supervisor that is gone: ask `holder`."""
    try:
        return msgspec.json.decode(state_path(home).read_bytes(), type=State)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_state(home: Home, state: State) -> None:
    """Replace the state file as a whole (0600)."""
    fresh = state_path(home).with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(state)))
    fresh.replace(state_path(home))


def began(pid: int) -> int | None:
    """Return when a process began, in ticks since boot; None when there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])


def see_off(home: Home) -> list[int]:
    """Wait for what a dead supervisor left, kill what stays, and return the pids that were still there."""
    state = read_state(home)
    left = [] if state is None else [known for known in state.processes if _alive(known)]
    found = [known.pid for known in left if known.pid is not None]
    deadline = time.monotonic() + FAREWELL_S
    patience = time.monotonic() + 1.0
    while left and time.monotonic() < deadline:
        if time.monotonic() > patience:
            for known in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(known.pid or 0, signal.SIGKILL)
        time.sleep(0.02)
        left = [known for known in left if _alive(known)]
    return found


def _alive(known: ProcessState) -> bool:
    return known.pid is not None and known.began is not None and began(known.pid) == known.began
