"""A caller that goes away: its work is cancelled, whoever does it, without a task that watches for it.

The connection calls what was registered when it is lost (`connection.py`); a door runs its work inside `Cancelled`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

from partywall.errors import Malformed

SCOPE_KEY: Final = "partywall.leaving"
"""Where the connection puts its callbacks in the ASGI scope; other servers put none, and nothing is cancelled."""

Callbacks = set[Callable[[], None]]


class Cancelled:
    """Cancels the current task once the caller goes away. Raises: Malformed (`disconnected`) then."""

    __slots__ = ("_callbacks", "_gone", "_task")

    def __init__(self, callbacks: Callbacks | None) -> None:
        self._callbacks = callbacks
        self._gone = False
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> None:
        if self._callbacks is not None:
            self._task = asyncio.current_task()
            self._callbacks.add(self._leave)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._callbacks is not None:
            self._callbacks.discard(self._leave)
        if not self._gone or self._task is None:
            return
        others = self._task.uncancel()
        if kind is asyncio.CancelledError and not others:
            raise Malformed("the caller went away", code="disconnected") from error

    def _leave(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()
