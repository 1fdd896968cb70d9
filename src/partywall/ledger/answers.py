"""The two replies of a search: leaves in clear, or sealed with a proof each; and the cursor that goes on from there.

A cursor is bound to its log's key, filters, order and mode, so that one of another log or another question is refused
like any other text. Source: ADR-0006 "Search".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Callable, Generator
from typing import Any, Final

import msgspec

from partywall.errors import Malformed, NotFound
from partywall.ledger.hunt import Found
from partywall.ledger.index import derived
from partywall.ledger.leaf import parse_header
from partywall.ledger.logs import Logs
from partywall.ledger.search import Searcher
from partywall.ledger.witness import Witness
from partywall.wire.audit import EXTRACT_LIMIT, Search

STEP_PROOFS: Final = 4
STEP_LEAVES: Final = 16
PAGE_BYTES: Final = 1024 * 1024
_CURSOR: Final = struct.Struct(">QQ")
_MAC_BYTES: Final = 16
_json = msgspec.json.Encoder(order="deterministic").encode

Answer = Generator[None, None, bytes]


class Answers:
    """Answers searches of any log. shown: renders one leaf, as pages of the log show it."""

    def __init__(
        self, logs: Logs, witness: Witness, searcher: Searcher, *, shown: Callable[[str, int, bytes], msgspec.Raw]
    ) -> None:
        self._logs = logs
        self._witness = witness
        self._searcher = searcher
        self._shown = shown

    def search(self, log: str, search: Search) -> Answer:
        """Return a page of decrypted leaves. Raises: Malformed (a bad cursor), NotFound, Unavailable."""
        at, _size = self._position(log, search, "search")
        found = yield from self._find(log, search, at)
        shown: list[msgspec.Raw] = []
        for turn, (seq, leaf) in enumerate(found.leaves, 1):
            shown.append(self._shown(log, seq, leaf))
            if turn % STEP_LEAVES == 0:
                yield
        return _json(
            {
                "leaves": shown,
                "next_cursor": self._cursor(log, search, "search", found.next_at, 0),
                "size": found.head,
                "searched": found.searched,
                "at_head": found.searched == found.head,
                "checkpoint_size": self._witness.size_signed(log),
            }
        )

    def extract(self, log: str, search: Search) -> Answer:
        """Return a page of sealed leaves, each with its proof in the tree of the checkpoint that the first page signs.

        Raises: Malformed, NotFound, Unavailable.
        """
        if search.limit > EXTRACT_LIMIT:
            raise Malformed(f"at most {EXTRACT_LIMIT} leaves a page", code="bad-request")
        if not self._logs.size(log):
            raise NotFound("this log is empty")
        at, size = self._position(log, search, "extract")
        note = None
        if at is None:
            note, size = self._witness.sign(self._logs, log), self._logs.size(log)
        filters = search.filters
        within = size if filters.to_seq is None else min(size, filters.to_seq)
        bounded = msgspec.structs.replace(search, filters=msgspec.structs.replace(filters, to_seq=within))
        found = yield from self._find(log, bounded, at)
        proven: list[dict[str, Any]] = []
        for turn, (seq, leaf) in enumerate(found.leaves, 1):
            proof = self._logs.tree(log).inclusion(seq, size)
            proven.append({"seq": seq, "leaf": _b64(leaf), "proof": [_b64(step) for step in proof]})
            if turn % STEP_PROOFS == 0:
                yield
        versions = {parse_header(leaf).key_version for _seq, leaf in found.leaves}
        return _json(
            {
                "origin": self._witness.origin_of(log),
                "log": log,
                "vkey": self._witness.vkey,
                "checkpoint": note,
                "checkpoint_size": size,
                "leaves": proven,
                "keys": {str(version): _b64(key) for version, key in self._logs.keys(log, versions).items()},
                "next_cursor": self._cursor(log, search, "extract", found.next_at, size),
                "at_head": found.searched >= size,
            }
        )

    def _find(self, log: str, search: Search, at: int | None) -> Generator[None, None, Found]:
        found = yield from self._searcher.find(log, search.filters, order=search.order, limit=search.limit, at=at)
        return _within_page(found, newest=search.order == "newest")

    # --- cursors ------------------------------------------------------------------------------------------------------

    def _cursor(self, log: str, search: Search, mode: str, at: int | None, size: int) -> str | None:
        if at is None:
            return None
        place = _CURSOR.pack(at, size)
        return base64.urlsafe_b64encode(place + self._mac(log, search, mode, place)).decode().rstrip("=")

    def _position(self, log: str, search: Search, mode: str) -> tuple[int | None, int]:
        """Return where to go on, and the size of the tree for proofs. Raises: Malformed."""
        if search.cursor is None or not self._logs.size(log):
            return None, 0
        try:
            raw = base64.urlsafe_b64decode(search.cursor + "=" * (-len(search.cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        place, mac = raw[: _CURSOR.size], raw[_CURSOR.size :]
        if len(place) != _CURSOR.size or not hmac.compare_digest(mac, self._mac(log, search, mode, place)):
            raise Malformed("not a cursor of this search: begin without one", code="bad-cursor")
        at, size = _CURSOR.unpack(place)
        if size > self._logs.size(log):
            raise Malformed("the log was cut since: begin without a cursor", code="bad-cursor")
        return at, size

    def _mac(self, log: str, search: Search, mode: str, place: bytes) -> bytes:
        key = derived(self._logs.newest_key(log)[1], b"partywall/ledger-cursor/v1")
        asked = hashlib.sha256(_json([mode, search.order, search.filters])).digest()
        return hmac.digest(key, log.encode() + b"\x00" + asked + place, "sha256")[:_MAC_BYTES]


def _within_page(found: Found, *, newest: bool) -> Found:
    """Return as many leaves as a page holds, but at least one: about a megabyte is enough."""
    taken_bytes = 0
    for count, (_seq, leaf) in enumerate(found.leaves):
        taken_bytes += len(leaf)
        if count and taken_bytes > PAGE_BYTES:
            last = found.leaves[count - 1][0]
            return Found(
                leaves=found.leaves[:count],
                next_at=last if newest else last + 1,
                head=found.head,
                searched=found.searched,
            )
    return found


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
