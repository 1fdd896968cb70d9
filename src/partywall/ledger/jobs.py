"""What the ledger does by itself: checkpoints, and the end of what nobody will ever end.

An intent is closed as *unknown* when it has been open for long, or soon after the worker that began it is gone: its
connection ended and there is no such process any more. Each job is a generator of steps, one a turn of the loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from partywall.ledger.logs import Logs
from partywall.ledger.witness import Witness
from partywall.settings import Settings
from partywall.telemetry.log import Log

SWEEP_STEPS: Final = 10
LOOK_S: Final = 1.0
PATIENCE_S: Final = 120.0
"""How long a worker that hung up is watched: one that lives on closes its own intents, or grows old with them."""

Job = Callable[[], Iterator[None]]


class Departed:
    """Workers that hung up, by process id. grace_s: how long what they sent last may take to be written."""

    def __init__(
        self,
        logs: Logs,
        log: Log,
        *,
        region: str,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
        is_alive: Callable[[int], bool] | None = None,
    ) -> None:
        self._logs = logs
        self._log = log
        self._region = region
        self._grace_s = grace_s
        self._clock = clock
        self._is_alive = is_alive or alive
        self._since: dict[int, float] = {}

    def hung_up(self, pid: int) -> None:
        """A connection of this process ended. 0: nobody knows whose it was, and age alone closes its intents."""
        if pid:
            self._since[pid] = self._clock()

    def close_each(self) -> Iterator[None]:
        """Close what is open of those who are gone, some dozens a step."""
        now_s = self._clock()
        for pid, since_s in list(self._since.items()):
            if now_s < since_s + self._grace_s:
                continue
            if self._is_alive(pid):
                if now_s > since_s + PATIENCE_S:
                    del self._since[pid]
                continue
            del self._since[pid]
            closed = 0
            for count in self._logs.close_of(pid, region=self._region):
                closed += count
                yield
            if closed:
                self._log.warning("ledger.worker-gone", pid=pid, count=closed)


def alive(pid: int) -> bool:
    """Whether there is such a process, ours or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def checkpoint_each(logs: Logs, witness: Witness) -> Iterator[None]:
    """Write down and sign what grew."""
    yield from logs.flush_each()
    logs.flush()
    yield from witness.sign_each(logs)


def sweep_each(logs: Logs, settings: Settings, log: Log) -> Iterator[None]:
    """Close what has been open for too long."""
    closed = 0
    for _step in range(SWEEP_STEPS):
        count = logs.sweep(settings.ledger.orphan_s, region=settings.region)
        if not count:
            break
        closed += count
        yield
    if closed:
        log.warning("ledger.orphans-closed", count=closed)


async def every(period_s: float, job: Job, log: Log) -> None:
    """Do a job again and again, for ever."""
    while True:
        await asyncio.sleep(period_s)
        await attempt(job, log)


async def attempt(job: Job, log: Log) -> None:
    """Do a job, one step a turn of the loop: whoever appends waits for a step at most."""
    try:
        for _step in job():
            await asyncio.sleep(0)
    except Exception as error:  # a full disk must not end the schedule, nor the shutdown
        log.error("ledger.job-failed", error)  # noqa: TRY400  # our own sink
