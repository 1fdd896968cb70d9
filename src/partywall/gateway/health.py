"""Readiness: whether a worker can decide, record and reach its databases, each part by name.

Anybody may ask, so an answer is kept for a moment: however often it is asked, the parts are asked once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from partywall.errors import PartywallError

KEEP_S: Final = 1.0
LIMIT_S: Final = 2.0

Check = Callable[[], Awaitable[object]]
"""Returns (anything but False) when the part is well; raises PartywallError when it is not."""


class Readiness:
    """checks: by name. keep_s: how long an answer holds; limit_s: how long a part may take before it counts as out."""

    def __init__(self, checks: Mapping[str, Check], *, keep_s: float = KEEP_S, limit_s: float = LIMIT_S) -> None:
        self._checks = checks
        self._keep_s = keep_s
        self._limit_s = limit_s
        self._asking: asyncio.Task[dict[str, bool]] | None = None
        self._old_at_s = 0.0

    async def __call__(self) -> tuple[bool, bytes]:
        """Return whether all parts are well, and the JSON that says which."""
        now_s = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now_s >= self._old_at_s):
            self._old_at_s = now_s + self._keep_s
            self._asking = asyncio.ensure_future(self._ask())
        found = await asyncio.shield(self._asking)
        ready = all(found.values())
        return ready, msgspec.json.encode({"status": "ready" if ready else "unready", "checks": found})

    async def _ask(self) -> dict[str, bool]:
        answers = await asyncio.gather(*(self._ask_one(check) for check in self._checks.values()))
        return dict(zip(self._checks, answers, strict=True))

    async def _ask_one(self, check: Check) -> bool:
        try:
            async with asyncio.timeout(self._limit_s):
                return await check() is not False
        except (PartywallError, TimeoutError):
            return False
