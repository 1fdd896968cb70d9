"""Brings a deployment up, keeps it up, and takes it down in order."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from partywall.errors import Unavailable
from partywall.settings import Home, Settings
from partywall.store.provision import provision
from partywall.supervisor import identity, layout, lock
from partywall.supervisor.child import Child, confined, reap_adopted, trim_log
from partywall.supervisor.identity import Isolation
from partywall.supervisor.plan import SERVE, environment, stages, view
from partywall.supervisor.preflight import check
from partywall.telemetry.log import Log

READY_TIMEOUT_S: Final = 60.0
EXITS_LIMIT: Final = 3
TICK_S: Final = 30.0
BACKLOG: Final = 1024


class Progress(msgspec.Struct, frozen=True):
    """What the start is doing. state: starting | ready | stopping | stopped | note."""

    name: str
    state: str
    detail: str = ""


Tell = Callable[[Progress], None]


def _silent(_progress: Progress) -> None:
    return


async def run(
    home: Home,
    settings: Settings,
    log: Log,
    *,
    stop: asyncio.Event,
    tell: Tell = _silent,
    on_ready: Callable[[lock.State], None] = lambda _state: None,
    serve: Sequence[str] = SERVE,
    extra_folders: Iterable[Path] = (),
) -> None:
    """Start everything, call on_ready, and return after a clean shutdown once stop is set.

    serve: the words before a process's name; extra_folders: what else its code needs to reach.
    Raises: Conflict when the home is taken; Unavailable with what to do when something cannot start.
    """
    home = Home(home.path.resolve())
    held = lock.Lock(home)
    held.take()
    try:
        deployment = Deployment(home, settings, log, tell=tell, serve=tuple(serve), folders=tuple(extra_folders))
        await deployment.run(stop, on_ready)
    finally:
        held.close()


class Deployment:
    """One running home."""

    def __init__(
        self, home: Home, settings: Settings, log: Log, *, tell: Tell, serve: tuple[str, ...], folders: tuple[Path, ...]
    ) -> None:
        self._home = home
        self._settings = settings
        self._log = log
        self._tell = tell
        self._serve = serve
        self._view = view(home, folders)
        self._started_at_s = time.time()
        self._began_s = time.monotonic()
        self._ready_s: float | None = None
        self._children: list[Child] = []
        self._isolation: Isolation | None = None
        self._url = ""
        self._down = False

    async def run(self, stop: asyncio.Event, on_ready: Callable[[lock.State], None]) -> None:
        """See `run`."""
        for pid in lock.see_off(self._home):
            self._log.warning("process.left-over", pid=pid)
        with listen(self._settings.gateway.host, self._settings.gateway.port) as listener:
            host, port = listener.getsockname()[:2]
            self._url = f"http://{host}:{port}"
            stopping = asyncio.create_task(stop.wait())
            starting = asyncio.create_task(self._start(listener))
            try:
                await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                    on_ready(self.state())
                    await self._watch(stopping)
            finally:
                stopping.cancel()
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                await self._stop()

    def state(self) -> lock.State:
        """Return what `status` shows."""
        isolation = self._isolation
        return lock.State(
            pid=os.getpid(),
            home=str(self._home.path),
            url=self._url,
            started_at_s=self._started_at_s,
            ready_s=self._ready_s,
            isolation=isolation.level if isolation else "unknown",
            isolation_reason=isolation.reason if isolation else "",
            processes=[child.state() for child in self._children],
        )

    async def _start(self, listener: socket.socket) -> None:
        self._isolation = isolation = identity.choose()
        layout.prepare(self._home, self._bound(listener), isolation)
        await check(isolation, self._view, environment(self._home))
        if isolation.reason:
            self._tell(Progress("isolation", "note", isolation.reason))
        await self._provision(isolation)
        for stage in stages(self._home, self._settings, isolation, listener, self._serve):
            children = [Child(program, self._view, self._log, self._publish) for program in stage]
            self._children += children
            for child in children:
                self._tell(Progress(child.program.name, "starting"))
                child.start()
            await asyncio.gather(*(self._await_ready(child) for child in children if child.program.wait))
        self._ready_s = round(time.monotonic() - self._began_s, 3)
        self._log.info("supervisor.ready", duration_ms=round(self._ready_s * 1000))
        self._publish()

    def _bound(self, listener: socket.socket) -> Settings:
        """Return the settings with the port that was really bound: 0 asks for any."""
        gateway = msgspec.structs.replace(self._settings.gateway, port=listener.getsockname()[1])
        return msgspec.structs.replace(self._settings, gateway=gateway)

    async def _provision(self, isolation: Isolation) -> None:
        def own(path: Path, process: str) -> None:
            if isolation.separate or os.geteuid() == 0:
                owner = isolation.of(process)
                os.chown(path, owner.uid, owner.gid, follow_symlinks=False)

        def spawn_prefix(process: str) -> list[str]:
            return confined(isolation.of(process), self._view)

        self._tell(Progress("databases", "starting", "provisioning"))
        await provision(self._home, self._settings, self._log, own=own, spawn_prefix=spawn_prefix)

    async def _await_ready(self, child: Child) -> None:
        program = child.program
        if await child.until_ready(READY_TIMEOUT_S, exits_limit=EXITS_LIMIT):
            self._tell(Progress(program.name, "ready", f"pid {child.pid}, user {program.identity.user}"))
            return
        why = f"ended: {child.state().last_exit}" if child.exits else f"was not ready within {READY_TIMEOUT_S:.0f} s"
        said = last_words(program.log_path)
        raise Unavailable(f"{program.name} {why}{said}; its log says more: {program.log_path}", code="did-not-start")

    async def _watch(self, stopping: asyncio.Task[bool]) -> None:
        while not stopping.done():
            await asyncio.wait({stopping}, timeout=TICK_S)
            for child in self._children:
                trim_log(child.program.log_path)
            if os.getpid() == 1:
                reap_adopted({child.pid for child in self._children})

    async def _stop(self) -> None:
        """Doors first, then what they need, the databases last."""
        self._down = True
        for group in (("gateway",), ("model", "embeddings", "ledger", "issuer"), ("postgres",)):
            children = [child for child in self._children if child.program.name.startswith(group)]
            for child in children:
                self._tell(Progress(child.program.name, "stopping"))
            await asyncio.gather(*(child.stop() for child in children))
        lock.state_path(self._home).unlink(missing_ok=True)
        self._tell(Progress("all", "stopped"))

    def _publish(self) -> None:
        if not self._down:
            lock.write_state(self._home, self.state())


def listen(host: str, port: int) -> socket.socket:
    """Return the listening socket of all workers; port 0: any free one. Raises: Unavailable with what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            advice = f"port {port} of {host} is taken: choose another with `--port`, or `--port 0` for any free one"
        elif error.errno == errno.EACCES:
            advice = f"port {port} needs root: choose one above 1023 with `--port`"
        else:
            advice = f"cannot listen on {host} port {port}: {error.strerror}"
        raise Unavailable(advice, code="cannot-listen") from error
    listener.setblocking(False)
    return listener


def last_words(log_path: Path) -> str:
    """Return the reason that a process gave last in its log, for a message; empty without one."""
    try:
        line = json.loads(log_path.read_bytes().splitlines()[-1])
        return f" ({line['reason']})"
    except (OSError, ValueError, LookupError, TypeError):
        return ""
