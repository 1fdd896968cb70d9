"""Pages of a list: a cursor says after which row the next one begins, and for whose list, and nobody can make one up.

Keyset paging: what is added or deleted meanwhile moves no other row to another page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Final

import asyncpg
import msgspec

from partywall.control.work import Work
from partywall.decision.manifest import canonical_json
from partywall.errors import Malformed
from partywall.wire.operations import Operation

MAC_BYTES: Final = 16
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[str | float]).decode


def position_of(work: Work, operation: Operation) -> list[str | float] | None:
    """Return after which row the page begins; None for the first. Raises: Malformed for a cursor of another list."""
    cursor: str | None = getattr(operation, "cursor", None)
    if cursor is None:
        return None
    try:
        sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise _bad() from None
    mac, position = sealed[:MAC_BYTES], sealed[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(work, operation, position)):
        raise _bad()
    return _decode(position)


def paged(
    work: Work,
    operation: Operation,
    rows: Sequence[asyncpg.Record],
    position: Callable[[asyncpg.Record], Sequence[str | float]],
) -> tuple[list[asyncpg.Record], str | None]:
    """Return the rows of this page, and the cursor of the next one. rows: one more than the page takes, if there is."""
    limit: int = operation.limit  # type: ignore[union-attr]  # of a paged operation
    page = list(rows[:limit])
    if len(rows) <= limit:
        return page, None
    after = _encode(list(position(page[-1])))
    sealed = _mac(work, operation, after) + after
    return page, base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _mac(work: Work, operation: Operation, position: bytes) -> bytes:
    """Bind a position to the list that it is in: the operation, its filters, and whose it is."""
    asked = msgspec.to_builtins(operation)
    list_ = canonical_json(
        [work.tenant, {name: value for name, value in asked.items() if name not in {"limit", "cursor"}}]
    )
    whole = len(list_).to_bytes(4, "big") + list_ + position
    return hmac.digest(work.keyring.cursor_key, whole, hashlib.sha256)[:MAC_BYTES]


def _bad() -> Malformed:
    return Malformed("this is no cursor of this list: begin again without one", code="bad-cursor")
