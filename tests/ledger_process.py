"""A real ledger process for tests: started, killed and looked into."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from partywall.decision.action import ActionClass, ActionType
from partywall.decision.record import Phase, Record
from partywall.errors import Unavailable
from partywall.ledger.client import LedgerClient
from partywall.settings import Home
from partywall.wire.ids import ActId, TenantId, format_id

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import sys
from pathlib import Path
import msgspec
from partywall.app import run
from partywall.keys.file import FileKeys
from partywall.ledger import writer
from partywall.settings import Home, Settings
from partywall.telemetry.log import configure

async def ledger(home, settings, log, stop):
    await writer.serve(home, settings, log, stop, keys=FileKeys(home.kek))

settings = msgspec.json.decode(sys.argv[2], type=Settings)
run(ledger, Home(Path(sys.argv[1])), settings, configure("ledger"))
"""

A = TenantId(format_id("ten", b"A" * 16))
B = TenantId(format_id("ten", b"B" * 16))


def act(n):
    return ActId(format_id("act", n.to_bytes(16, "big")))


def record(phase, n, log=A, **what):
    fields = {
        "phase": phase,
        "log": log,
        "act": act(n),
        "time_s": 1.0,
        "action": ActionType.TOOL_CALL,
        "action_class": ActionClass.EFFECT,
        "resource": f"pw:local:{log}:tool/x/{n}",
        "principal_kind": "agent",
        "principal_id": "agt_x",
        "trace_id": "0" * 32,
        "region": "local",
        "payload_sha256": bytes(32),
    }
    return Record(**(fields | what))


def intent(n, log=A, **what):
    return record(Phase.INTENT, n, log, **what)


class LedgerProcess:
    """Start it, talk to `client`, kill it, start it again."""

    def __init__(self, folder, settings=b"{}"):
        self.home = Home(folder)
        self.settings = settings.decode() if isinstance(settings, bytes) else settings
        self.process = None
        self.client = None

    def spawn(self):
        self.log = (self.home.path.parent / f"{self.home.path.name}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.home.path), self.settings],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def last_words(self):
        return Path(self.log.name).read_text()[-2000:]

    async def start(self):
        self.spawn()
        self.client = LedgerClient(self.home.ledger_socket, timeout_s=5.0)
        deadline = time.monotonic() + 20
        while True:
            assert self.process.poll() is None, self.last_words()
            assert time.monotonic() < deadline, "the ledger did not start"
            if self.home.ledger_socket.exists():
                try:
                    return await self.client.status()
                except Unavailable:
                    pass  # bound, not listening yet
            await asyncio.sleep(0.02)

    async def kill(self, number=signal.SIGKILL):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            await asyncio.to_thread(self.process.wait, 20)
        if self.client is not None:
            await self.client.close()
        if self.process is not None:
            self.log.close()
        self.client = None

    async def stop(self):
        await self.kill(signal.SIGTERM)
        return self.process.returncode
