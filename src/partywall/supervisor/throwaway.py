"""A whole deployment of its own in a fresh folder, for a demonstration, a measurement or a test; gone afterwards.

It is `partywall up` as anybody would start it, in a process of its own, on any free port.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from partywall.errors import NotFound, Unavailable
from partywall.settings import Home
from partywall.supervisor import lock
from partywall.supervisor.lock import ProcessState, State

START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 60.0
UP: Final = (sys.executable, "-P", "-m", "partywall.app", "up")


class Throwaway:
    """One deployment. Use as a context manager, or call start and close.

    options: words for `partywall up`; command: the words that start it; path: a home to use and keep instead.
    """

    def __init__(self, *options: str, command: Sequence[str] = UP, path: Path | None = None) -> None:
        self._options = options
        self._command = tuple(command)
        self._kept = path is not None
        # short: the name of a local socket has room for 107 bytes
        self.home = Home(path or _fresh_folder() / "home")
        self._process: subprocess.Popen[str] | None = None
        self._operator_key: str | None = None
        self.url = ""
        self.output: list[str] = []
        """Every line that `up` printed."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> State:
        """Start it (again), and return its state once it is ready. Raises: Unavailable with what it said."""
        words = [*self._command, "--port", "0", "--loopback-tools", "--json", *self._options]
        environment = {**os.environ, "PARTYWALL_HOME": str(self.home.path)}
        self._process = subprocess.Popen(  # noqa: S603  # our own words, and no shell
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment, cwd="/"
        )
        watchdog = threading.Timer(START_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            state = self._read_until_ready()
        finally:
            watchdog.cancel()
        self.url = state.url
        return state

    def _read_until_ready(self) -> State:
        assert self._process is not None
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            said = line
            self.output.append(line)
            message = json.loads(line)
            if message.pop("state", None) == "ready" and "processes" in message:
                threading.Thread(target=self._drain, args=(self._process,), daemon=True).start()
                return msgspec.convert(message, State)
        raise Unavailable(f"the deployment did not start: {said.strip()}", code="did-not-start")

    def _drain(self, process: subprocess.Popen[str]) -> None:
        """Read on, so that the supervisor never waits for a reader."""
        assert process.stdout is not None
        with process.stdout:
            self.output.extend(process.stdout)

    def state(self) -> State:
        """Return its state as it is now. Raises: NotFound when it has none."""
        state = lock.read_state(self.home)
        if state is None:
            raise NotFound("the deployment is not running")
        return state

    def process(self, name: str) -> ProcessState:
        """Return one process of it. Raises: NotFound."""
        for process in self.state().processes:
            if process.name == name:
                return process
        raise NotFound(f"there is no process {name}")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal to one process and return the pid that got it."""
        pid = self.process(name).pid
        if pid is None:
            raise NotFound(f"{name} is not running")
        os.kill(pid, number)
        return pid

    def wait_restarted(self, name: str, old_pid: int, timeout_s: float = 30.0) -> ProcessState:
        """Return the process once it is ready under another pid. Raises: Unavailable."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = self.process(name)
            if found.pid not in {None, old_pid} and found.state == "ready":
                return found
            time.sleep(0.02)
        raise Unavailable(f"{name} did not come back within {timeout_s:.0f} s")

    def operator_key(self) -> str:
        """Return the platform operator's API key; the first call exchanges the bootstrap token for it."""
        if self._operator_key is None:
            body = json.dumps({"token": self.home.bootstrap_token.read_text().strip()}).encode()
            request = urllib.request.Request(  # noqa: S310  # our own http address
                f"{self.url}/v1/bootstrap", data=body, headers={"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
                self._operator_key = str(json.loads(reply.read())["key"]["secret"])
        return self._operator_key

    def stop(self) -> int:
        """Ask it to stop and return its exit status; killed when it takes too long."""
        process = self._process
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        """Stop it and remove its folder."""
        self.stop()
        if not self._kept:
            lock.see_off(self.home)
            shutil.rmtree(self.home.path.parent, ignore_errors=True)


def _fresh_folder() -> Path:
    """Make a folder that the platform's users may pass even where the starter may not make views for them."""
    folder = Path(tempfile.mkdtemp(prefix="pw-")).resolve()
    folder.chmod(0o711)
    return folder
