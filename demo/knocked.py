"""The knock-outs, run beside everything else: `python -m knockouts` twice, each with deployments of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from demo.report import Wrong

ROOT: Final = Path(__file__).resolve().parents[1]
SHARDS: Final = 2
STOP_S: Final = 60.0
LAST_WORDS: Final = 600


def names() -> list[str]:
    """Return the name of every knock-out, once each."""
    from knockouts.__main__ import KNOCKOUTS

    return list(dict.fromkeys(one.name for one in KNOCKOUTS))


class Knockers:
    """Every knock-out, shared among `SHARDS` processes that start at once; `rows` waits for them."""

    def __init__(self) -> None:
        self._processes: list[asyncio.subprocess.Process] = []
        self._outputs: list[asyncio.Task[tuple[bytes, bytes]]] = []

    async def __aenter__(self) -> Self:
        every = names()
        for shard in range(SHARDS):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "knockouts", "--json", *every[shard::SHARDS]),
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
