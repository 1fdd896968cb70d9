"""Messages between a gateway worker (or a scheduler) and the ledger process, over `run/ledger.sock`."""

from __future__ import annotations

import msgspec

from partywall.decision.record import Record
from partywall.wire.audit import Search


class Append(msgspec.Struct, frozen=True, tag="append", array_like=True):
    """Records of any logs, in order. Answered when all are written (durable: on disk)."""

    records: list[Record]
    durable: bool


class Appended(msgspec.Struct, frozen=True, tag="appended", array_like=True):
    """The records are in their logs, but for those that were refused.

    count: how many are. refused: by position in the request, why not (`ipc.encode_fault`): no record's failure is
    another's.
    """

    count: int
    refused: dict[int, bytes] = {}


class Read(msgspec.Struct, frozen=True, tag="read", array_like=True):
    """Read one log under a signed permit (`audit.read`, audience `ledger/<boot id>`).

    payload: canonical JSON of `ReadQuery`, as the permit digests it.
    """

    permit: bytes
    payload: bytes


class ReadQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to read. mode: `show` (decrypted activities), `export` (portable archive) or `checkpoint`.

    start: first sequence number; limit: at most 1,000 a page for `show`, 20,000 for `export`; a page
    may hold fewer, as about a megabyte is enough. Modes `search` (decrypted activities) and `extract` (a filtered
    export with proofs) take `search` instead.
    """

    log: str
    mode: str = "show"
    start: int = 0
    limit: int = 100
    search: Search | None = None


class ReadReply(msgspec.Struct, frozen=True, tag="page", array_like=True):
    """body: canonical JSON. next_start: None at the end of the log."""

    body: bytes
    next_start: int | None


class Status(msgspec.Struct, frozen=True, tag="status", array_like=True):
    """Ask for the ledger's health; no permit, no content."""


class StatusReply(msgspec.Struct, frozen=True, tag="status-reply", array_like=True):
    """boot: the audience suffix for permits. logs, leaves: totals. free_bytes: left on the disk."""

    boot: str
    logs: int
    leaves: int
    free_bytes: int


LedgerRequest = Append | Read | Status
LedgerReply = Appended | ReadReply | StatusReply
