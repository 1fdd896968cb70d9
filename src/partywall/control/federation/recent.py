"""What was found a moment ago, until something changes: bounded in number and age."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from partywall.decision.ports import Clock

LIMIT: Final = 1_024
_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Recent(Generic[_Key, _Value]):
    """clock: seconds. What was being looked for while something changed is answered, and not kept."""

    def __init__(self, clock: Clock, *, life_s: float) -> None:
        self._clock = clock
        self._life_s = life_s
        self._changes = 0
        self._found: OrderedDict[_Key, tuple[float, _Value]] = OrderedDict()

    async def get(self, key: _Key, find: Callable[[], Awaitable[_Value]]) -> _Value:
        """Return what is known, or what find returns. Raises: what find raises, which is not kept."""
        known = self._found.get(key)
        if known is not None and known[0] > self._clock():
            return known[1]
        changes = self._changes
        value = await find()
        if changes == self._changes:
            self.put(key, value)
        return value

    def put(self, key: _Key, value: _Value) -> None:
        """Remember it."""
        self._found[key] = (self._clock() + self._life_s, value)
        self._found.move_to_end(key)
        if len(self._found) > LIMIT:
            self._found.popitem(last=False)

    def forget(self) -> None:
        """Look for everything anew."""
        self._changes += 1
        self._found.clear()
