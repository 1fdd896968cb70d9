"""How many foreign tokens may be looked at at once, of each tenant that they name and of all together.

Whose keys cannot be had now is waited for, and anybody can send a token that says it is of such a provider: without a
bound they would take every place that a worker has, and so every tenant's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from partywall.errors import LimitExceeded

EACH_LIMIT: Final = 64
ALL_LIMIT: Final = 256


class Asking:
    """Of one worker. A tenant is as the request or the unverified token names it: it takes that one's turn only."""

    def __init__(self) -> None:
        self._of: Counter[str | None] = Counter()

    @contextmanager
    def turn(self, tenant: str | None) -> Iterator[None]:
        """Hold a place. Raises: LimitExceeded when there is none."""
        if self._of[tenant] >= EACH_LIMIT or self._of.total() >= ALL_LIMIT:
            raise LimitExceeded("too many tokens at once", code="too-many-attempts", retry_after_s=1.0)
        self._of[tenant] += 1
        try:
            yield
        finally:
            self._of[tenant] -= 1
            if not self._of[tenant]:
                del self._of[tenant]
