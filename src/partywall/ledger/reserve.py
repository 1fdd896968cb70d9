"""Space kept free for outcomes: what an intent began can always be recorded, also on a full disk.

One preallocated file, grown a mebibyte at a time as intents open. When a write hits a full disk, the file gives its
space back to the outcomes. Source: ADR-0006.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from partywall.errors import Unavailable

STEP_BYTES: Final = 1_048_576


class Reserve:
    """path: the preallocated file. each_bytes: what one open intent keeps free."""

    def __init__(self, path: Path, each_bytes: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._each_bytes = each_bytes
        self._held_bytes = os.fstat(self._fd).st_size

    def require(self, open_intents: int) -> None:
        """Hold space for so many outcomes. Raises: Unavailable (`ledger-full`): begin no further intent."""
        wanted = (open_intents * self._each_bytes // STEP_BYTES + 1) * STEP_BYTES
        if wanted <= self._held_bytes:
            return
        try:
            os.posix_fallocate(self._fd, 0, wanted)
        except OSError as error:
            os.ftruncate(self._fd, self._held_bytes)
            raise Unavailable("the ledger's disk is full", code="ledger-full", retry_after_s=5.0) from error
        self._held_bytes = wanted

    def release(self) -> bool:
        """Give a step back to the disk; False when there is none left."""
        if self._held_bytes == 0:
            return False
        self._held_bytes = max(0, self._held_bytes - STEP_BYTES)
        os.ftruncate(self._fd, self._held_bytes)
        return True

    def close(self) -> None:
        """Close the file; the space stays held for the next start."""
        os.close(self._fd)
