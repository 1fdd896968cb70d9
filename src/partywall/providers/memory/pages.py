"""Cursors of a memory's list: after which key the next page begins, tied to the one memory that it was made for.

Not a secret: whoever makes one up reads on at another place of the same memory, and of no other. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from partywall.decision.action import Resource
from partywall.errors import Malformed

TIE_BYTES: Final = 12


def cursor_of(memory: Resource, key: str) -> str:
    """Return the cursor of the page after key."""
    return base64.urlsafe_b64encode(_tie(memory, key.encode()) + key.encode()).decode().rstrip("=")


def after_of(memory: Resource, cursor: str | None) -> str:
    """Return the key after which a page begins; "" for the first. Raises: Malformed for another memory's cursor."""
    if cursor is None:
        return ""
    try:
        tied = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = tied[TIE_BYTES:].decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise _bad() from None
    if cursor != cursor_of(memory, key):
        raise _bad()
    return key


def _tie(memory: Resource, key: bytes) -> bytes:
    return hashlib.sha256(str(memory).encode() + b"\x00" + key).digest()[:TIE_BYTES]


def _bad() -> Malformed:
    return Malformed("this is no cursor of this list: begin again without one", code="bad-cursor")
