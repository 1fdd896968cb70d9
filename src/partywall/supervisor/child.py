"""One process: started confined, reaped, restarted with back-off for as long as the supervisor lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from partywall.supervisor import confine
from partywall.supervisor.identity import Identity
from partywall.supervisor.lock import ProcessState, began
from partywall.supervisor.readiness import Probe
from partywall.telemetry.log import Log

FIRST_DELAY_S: Final = 0.1
LAST_DELAY_S: Final = 10.0
STABLE_S: Final = 10.0
LOG_LIMIT_BYTES: Final = 32 * 1024 * 1024


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What to run. ready: a probe; wait: whether the start waits for it. Times in seconds.

    network: whether it may have any. death_signal: what the kernel sends when the supervisor dies. before: what each
    start begins with; it only runs while no process of the program lives.
    """

    name: str
    identity: Identity
    argv: tuple[str, ...]
    ready: Probe
    log_path: Path
    wait: bool = True
    pass_fds: tuple[int, ...] = ()
    environment: Mapping[str, str] = {}
    stop_signal: int = signal.SIGTERM
    stop_timeout_s: float = 10.0
    network: bool = True
    death_signal: int = signal.SIGKILL
    before: Callable[[], None] = lambda: None


class View(msgspec.Struct, frozen=True):
    """The folders that every process must reach at their own paths."""

    writable: tuple[str, ...]
    read_only: tuple[str, ...]


def confined(identity: Identity, view: View, *, death_signal: int = signal.SIGKILL, network: bool = True) -> list[str]:
    """Return the words to put before a command, so that it runs confined as this identity, child of this process."""
    words = [sys.executable, "-I", "-S", str(Path(confine.__file__).resolve()), "--parent", str(os.getpid()),
             "--death-signal", str(int(death_signal))]  # fmt: skip
    if os.geteuid() == 0:
        words += ["--uid", str(identity.uid), "--gid", str(identity.gid)]
        words += ["--groups", ",".join(str(group) for group in identity.groups)]
        for path in view.writable:
            words += ["--bind", path]
        for path in view.read_only:
            words += ["--bind-read-only", path]
    if not network:
        words.append("--no-network")
    return [*words, "--"]


class Child:
    """Keeps one program running. `on_change` is called after each start and exit."""

    def __init__(self, program: Program, view: View, log: Log, on_change: Callable[[], None]) -> None:
        self.program = program
        self.restarts = 0
        self.exits = 0
        self._view = view
        self._log = log
        self._on_change = on_change
        self._process: subprocess.Popen[bytes] | None = None
        self._began: int | None = None
        self._last_exit: str | None = None
        self._ready = False
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process, or None between two starts."""
        return self._process.pid if self._process is not None else None

    def state(self) -> ProcessState:
        """Return how it is."""
        word = "stopped" if self._process is None else "ready" if self._ready else "starting"
        if self._process is None and not self._stopping.is_set():
            word = "restarting"
        return ProcessState(
            name=self.program.name,
            state=word,
            pid=self.pid,
            began=self._began if self._process is not None else None,
            user=self.program.identity.user,
            uid=self.program.identity.uid,
            restarts=self.restarts,
            last_exit=self._last_exit,
        )

    def start(self) -> None:
        """Start it, and again whenever it ends, until `stop`."""
        self._task = asyncio.create_task(self._keep(), name=self.program.name)

    async def until_ready(self, timeout_s: float, *, exits_limit: int) -> bool:
        """Return whether it became ready, before it ended exits_limit times and before the time-out."""
        deadline = time.monotonic() + timeout_s
        pause = 0.01
        while time.monotonic() < deadline and self.exits < exits_limit and not self._stopping.is_set():
            if self._process is not None and await self.program.ready():
                self._ready = True
                self._on_change()
                return True
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.1)
        return False

    async def stop(self) -> None:
        """Ask it to end, wait, kill it if it stays; return when it is reaped."""
        self._stopping.set()
        if self._process is not None:
            self._process.send_signal(self.program.stop_signal)
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=self.program.stop_timeout_s)
        if not done:
            self._log.warning("process.killed", process=self.program.name, reason="did not end in time", pid=self.pid)
            if self._process is not None:
                self._process.kill()
            await asyncio.wait({self._task})

    async def _keep(self) -> None:
        delay_s = FIRST_DELAY_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            await self._run_once()
            if self._stopping.is_set():
                return
            delay_s = FIRST_DELAY_S if time.monotonic() - started_s > STABLE_S else min(delay_s * 2, LAST_DELAY_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            self.restarts += 1

    async def _run_once(self) -> None:
        try:
            self._process = process = self._spawn()
        except OSError as error:
            self._log.error("process.not-started", error, process=self.program.name, errno=error.errno)
            self.exits += 1
            return
        self._began = began(process.pid)
        self._log.info("process.started", process=self.program.name, pid=process.pid, uid=self.program.identity.uid)
        self._on_change()
        unwatched = self.restarts > 0 or not self.program.wait  # otherwise the start itself asks
        again = asyncio.create_task(self._watch_readiness()) if unwatched else None
        await exited(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its own group; before the reaping, while the pid is still its
        status = process.wait()
        if again is not None:
            again.cancel()
        self._note_exit(process.pid, status)

    def _note_exit(self, pid: int, status: int) -> None:
        self._process, self._ready = None, False
        self.exits += 1
        self._last_exit = signal.Signals(-status).name if status < 0 else f"exit {status}"
        tell = self._log.info if self._stopping.is_set() else self._log.warning
        tell("process.exited", process=self.program.name, pid=pid, reason=self._last_exit)
        self._on_change()

    async def _watch_readiness(self) -> None:
        await self.until_ready(3600.0, exits_limit=self.exits + 1)

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        program.before()
        words = confined(program.identity, self._view, death_signal=program.death_signal, network=program.network)
        argv = [*words, *program.argv]
        with open_log(program.log_path) as log_file:
            return subprocess.Popen(  # noqa: S603  # our own words, and no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=dict(program.environment),
                cwd="/",
                pass_fds=program.pass_fds,
                start_new_session=True,
            )


class _LogFile:
    """A log file, open for appending; the children write to it through what they inherit."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def open_log(path: Path) -> _LogFile:
    """Open a process's log (0600, the supervisor's own), keeping one predecessor once it grew large."""
    trim_log(path)
    return _LogFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))


def trim_log(path: Path) -> None:
    """Move what a large log holds to `….1`; writers append, so they go on in the emptied file."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_LIMIT_BYTES:
            old = path.with_suffix(path.suffix + ".1")
            old.unlink(missing_ok=True)
            old.touch(mode=0o600)
            old.write_bytes(path.read_bytes())
            os.truncate(path, 0)


async def exited(pid: int) -> None:
    """Return when a child has ended and waits to be reaped."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # an old kernel, or one that imitates Linux
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def reap_adopted(own: set[int | None]) -> list[int]:
    """Reap the dead that were handed to this process (pid 1 of a container gets all orphans); return their pids."""
    reaped = []
    for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in (int(word) for word in path.read_text().split()):
            if pid not in own:
                with contextlib.suppress(ChildProcessError):
                    reaped.append(os.waitpid(pid, os.WNOHANG)[0])
    return [pid for pid in reaped if pid]
