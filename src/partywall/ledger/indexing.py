"""Indexing in the background: what grew by a full page is indexed soon, and never at the cost of an append."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from partywall.errors import NotFound, PartywallError
from partywall.ledger.hunt import Steps
from partywall.ledger.logs import Logs
from partywall.ledger.search import Searcher
from partywall.telemetry.log import Log

PERIOD_S: Final = 1.0
BUSY_SHARE: Final = 0.02
"""Of the time, while others append."""
QUIET_STEP: Final = 64
PAGES_A_TURN: Final = 8
"""Of one log, before the next one gets its turn."""


async def index_all(logs: Logs, searcher: Searcher, log: Log, *, commits: Callable[[], int]) -> None:
    """Index all logs for ever. commits: grows whenever somebody appended."""
    while True:
        await asyncio.sleep(PERIOD_S)
        while await _round(logs, searcher, log, commits):
            pass


async def _round(logs: Logs, searcher: Searcher, log: Log, commits: Callable[[], int]) -> bool:
    """Give each log a turn; True when some log got on and has more to do: one that did not waits a period."""
    more = False
    for at, name in enumerate(logs.names()):
        if at % QUIET_STEP == 0:
            await asyncio.sleep(0)
        behind = searcher.behind(name)
        if not behind:
            continue
        try:
            await _yielding(searcher.catch_up(name, PAGES_A_TURN), commits)
        except NotFound:
            searcher.forget(name)  # its key was destroyed: there is nothing to index any more
        except (OSError, PartywallError) as error:  # one log's trouble is not another's
            log.error("ledger.index-failed", error, tenant=name)  # noqa: TRY400  # our own sink
        else:
            more = more or 0 < searcher.behind(name) < behind
    return more


async def _yielding(steps: Steps, commits: Callable[[], int]) -> None:
    """Do the steps; while others append, rest for most of the time."""
    seen = commits()
    begun_s = time.perf_counter()
    for _step in steps:
        took_s, busy = time.perf_counter() - begun_s, commits() != seen
        seen = commits()
        await asyncio.sleep(took_s / BUSY_SHARE if busy else 0)
        begun_s = time.perf_counter()
