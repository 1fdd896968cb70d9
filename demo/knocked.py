"""The knock-outs, run beside everything else: a few times `python -m knockouts`, each with deployments of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from demo.report import Wrong

ROOT: Final = Path(__file__).resolve().parents[1]
SLOW: Final = ("manifest-unpinned",)
"""What its probe must wait a minute for: it gets a process of its own, started first."""
SHARDS: Final = 2
BUDGET_S: Final = 120.0
"""None is begun after so long, unless all are asked for: the whole demonstration takes at most three minutes."""
STOP_S: Final = 60.0
LAST_WORDS: Final = 600


def names() -> list[str]:
    """Return the name of every knock-out, once each."""
    from knockouts.__main__ import KNOCKOUTS

    return list(dict.fromkeys(one.name for one in KNOCKOUTS))


class Knockers:
    """Every knock-out, shared among a few processes that start at once; `rows` waits for them.

    They leave the probes of the product itself to the chapter that runs these. full: take all the time it takes.
    """

    def __init__(self, *, full: bool) -> None:
        self._within = () if full else ("--within", str(BUDGET_S))
        self._processes: list[asyncio.subprocess.Process] = []
        self._outputs: list[asyncio.Task[tuple[bytes, bytes]]] = []

    async def __aenter__(self) -> Self:
        quick = [name for name in names() if name not in SLOW]
        for share in (list(SLOW), *(quick[shard::SHARDS] for shard in range(SHARDS))):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "knockouts", "--json", "--elsewhere", *self._within, *share),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            self._processes.append(process)
            self._outputs.append(asyncio.create_task(process.communicate()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
        if self._outputs:
            await asyncio.wait(self._outputs, timeout=STOP_S)

    async def rows(self) -> list[dict[str, Any]]:
        """Return one row a knock-out, once all are done. Raises: Wrong with what a process said last."""
        rows: list[dict[str, Any]] = []
        for said, words in await asyncio.gather(*self._outputs):
            if not said:
                raise Wrong(f"the knock-outs could not be run: {words.decode(errors='replace')[-LAST_WORDS:].strip()}")
            rows += json.loads(said)
        return rows
