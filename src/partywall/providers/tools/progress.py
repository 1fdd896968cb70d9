"""A tool's call that tells of its progress: one event each, then its result, on the road's own stream.

What a server says is rebuilt (`exchange.progress_of`) and passes the same obligations as the result. It only grows, and
is bounded: a server that says more than the caller takes is not heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import msgspec

from partywall.decision.ports import Delta
from partywall.providers.tools.exchange import OnProgress, Progress

WAITING_LIMIT: Final = 64
TOLD_LIMIT: Final = 1_000
_encode = msgspec.json.Encoder(order="sorted").encode


async def told(call: Callable[[OnProgress], Awaitable[dict[str, Any]]]) -> AsyncGenerator[Delta, None]:
    """Yield {"progress": …} as often as it grows, and {"result": …} at the end. Raises: what call raises."""
    waiting: asyncio.Queue[Progress | None] = asyncio.Queue()
    working = asyncio.ensure_future(call(_Teller(waiting)))
    working.add_done_callback(lambda _done: waiting.put_nowait(None))
    try:
        while (progress := await waiting.get()) is not None:
            yield Delta(event={"progress": progress})
        yield Delta(event={"result": working.result()})
    finally:
        working.cancel()
        await asyncio.wait((working,))


class _Teller:
    def __init__(self, waiting: asyncio.Queue[Progress | None]) -> None:
        self._waiting = waiting
        self._last = float("-inf")
        self._told = 0

    def __call__(self, progress: Progress) -> None:
        full = self._waiting.qsize() >= WAITING_LIMIT or self._told >= TOLD_LIMIT
        if progress["progress"] > self._last and not full:
            self._last = progress["progress"]
            self._told += 1
            self._waiting.put_nowait(progress)


def render_event(delta: Delta) -> bytes:
    """Return one event as the door reads it: JSON of `progress`, `result` or `fault`."""
    return _encode({"fault": delta.fault} if delta.fault is not None else delta.event)
