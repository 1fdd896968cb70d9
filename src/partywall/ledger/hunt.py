"""One search under way: which pages, which rows, and what each leaf says itself.

Sequence numbers narrow it first (time never falls within a log, so a time is a sequence number too), then heads, then
columns; whatever is left is opened. Source: ADR-0006 "Search".
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.decision.action import ActionType
from partywall.errors import Unavailable
from partywall.ledger.activity import LeafKeys, decode_keys
from partywall.ledger.index import Index, IndexDamaged
from partywall.ledger.index_page import COLUMNS, PAGE_LEAVES, PAGE_LEVEL, Head, Wanted, fingerprint
from partywall.ledger.leaf import context_of, parse_header, unseal
from partywall.ledger.logs import Logs
from partywall.wire.audit import Filters, Order

STEP_LEAVES: Final = 16
STEP_HEADS: Final = 32
STEP_PAGES: Final = 4
GROUP_PAGES: Final = 64
TAIL_LEAVES: Final = 2 * PAGE_LEAVES
"""How many that are in no page yet are read one by one; more of them are out of reach until they are indexed."""
OPENED_LIMIT: Final = 4_096
"""Pages that one search opens at most: then it answers with what it has, and a cursor to go on from."""
_UNREADABLE: Final = (InvalidTag, msgspec.DecodeError, UnicodeDecodeError, RecursionError)

Steps = Generator[None, None, None]


class Found(msgspec.Struct, kw_only=True):
    """leaves: (sequence number, raw leaf) in the order asked for. next_at: where to go on, None at the end.

    head: leaves of the log; searched: how many of them, from the first, were within reach of this search.
    """

    leaves: list[tuple[int, bytes]]
    next_at: int | None
    head: int
    searched: int


class Opener:
    """Opens leaves of one log."""

    def __init__(self, logs: Logs, log: str) -> None:
        self._logs = logs
        self._log = log
        self._context = context_of(log)
        self._ciphers: dict[int, AESGCM] = {}

    def keys(self, leaf: bytes) -> LeafKeys:
        """Return what a leaf can be found by. Raises: NotFound, Unavailable."""
        version = parse_header(leaf).key_version
        cipher = self._ciphers.get(version)
        if cipher is None:
            cipher = self._ciphers[version] = AESGCM(self._logs.keys(self._log, {version})[version])
        try:
            return decode_keys(unseal(cipher, self._context, leaf))
        except _UNREADABLE as error:
            raise Unavailable("a leaf on disk is damaged", code="ledger-damaged") from error


class Hunt:
    """Made for one search. wanted: empty when no index is needed."""

    def __init__(self, logs: Logs, log: str, index: Index, filters: Filters, *, order: Order, limit: int) -> None:
        self._logs = logs
        self._log = log
        self._index = index
        self._filters = filters
        self._exact = _exact(filters)
        self.wanted = _wanted(filters)
        self._newest = order == "newest"
        self._limit = limit
        self._opener = Opener(logs, log)
        self._leaves: list[tuple[int, bytes]] = []
        self._opened = 0
        self._next_at: int | None = None
        self._low = self._high = 0

    def run(self, at: int | None) -> Generator[None, None, Found]:
        """Return what was found. Raises: IndexDamaged, NotFound (the log's key was destroyed), Unavailable."""
        head = self._logs.size(self._log)
        covered = self._index.pages() * PAGE_LEAVES if self.wanted else 0
        near = not self.wanted or head - covered <= TAIL_LEAVES
        searched = head if near else covered
        self._bound(searched, at)
        if self._low < self._high:
            spans = [self._pages(min(covered, searched)), self._tail(min(covered, searched))]
            for span in reversed(spans) if self._newest else spans:
                yield from span
                if self._next_at is not None:
                    break
        end = head if self._filters.to_seq is None else min(head, self._filters.to_seq)
        if self._next_at is None and not self._newest and searched < end:
            self._next_at = searched  # the rest is not indexed yet
        return Found(leaves=self._leaves, next_at=self._next_at, head=head, searched=searched)

    def _bound(self, searched: int, at: int | None) -> None:
        """Set [low, high), the sequence numbers to look at: time never falls within a log, so it bounds them too."""
        filters = self._filters
        low, high = filters.from_seq, searched if filters.to_seq is None else min(searched, filters.to_seq)
        if filters.since_us is not None:
            low = max(low, self._first_since(filters.since_us, searched))
        if filters.until_us is not None:
            high = min(high, self._first_since(filters.until_us, searched))
        if at is not None:
            low, high = (low, min(high, at)) if self._newest else (max(low, at), high)
        self._low, self._high = low, high

    def _first_since(self, time_us: int, size: int) -> int:
        low, high = 0, size
        while low < high:
            middle = (low + high) // 2
            leaf = self._logs.leaves(self._log, middle, middle + 1)[0]
            if parse_header(leaf).time_us < time_us:
                low = middle + 1
            else:
                high = middle
        return low

    def _tail(self, covered: int) -> Steps:
        """Look at the leaves that are in no page, one by one."""
        low, high = max(self._low, covered), self._high
        starts = range(low, high, STEP_LEAVES)
        for start in reversed(starts) if self._newest else starts:
            leaves = list(enumerate(self._logs.leaves(self._log, start, min(high, start + STEP_LEAVES)), start))
            if self._take(reversed(leaves) if self._newest else leaves):
                return
            yield

    def _pages(self, covered: int) -> Steps:
        low, high = self._low // PAGE_LEAVES, -(-min(self._high, covered) // PAGE_LEAVES)
        starts = range(low, high, GROUP_PAGES)
        for start in reversed(starts) if self._newest else starts:
            yield from self._group(start, min(high, start + GROUP_PAGES))
            if self._next_at is not None:
                return

    def _group(self, start: int, stop: int) -> Steps:
        records = self._index.records(start, stop)
        roots = self._logs.subtrees(self._log, PAGE_LEVEL, start, stop)
        for turn, page in enumerate(reversed(range(start, stop)) if self._newest else range(start, stop), 1):
            if page - start >= len(records):
                raise IndexDamaged(page)
            head = self._index.head(page, records[page - start])
            if head.root != roots[page - start]:
                raise IndexDamaged(page)
            if head.may_hold(self.wanted):
                if self._opened >= OPENED_LIMIT:
                    self._next_at = min(self._high, (page + 1) * PAGE_LEAVES) if self._newest else page * PAGE_LEAVES
                    return
                yield from self._page(page, records[page - start], head)
                if self._next_at is not None:
                    return
            if turn % STEP_HEADS == 0:
                yield

    def _page(self, page: int, record: bytes, head: Head) -> Steps:
        self._opened += 1
        rows = self._index.columns(page, record, head).rows(self.wanted)
        first = page * PAGE_LEAVES
        found = [first + row for row in rows if self._low <= first + row < self._high]
        if self._newest:
            found.reverse()
        for start in range(0, len(found), STEP_LEAVES):
            numbers = found[start : start + STEP_LEAVES]
            if self._take((seq, self._logs.leaves(self._log, seq, seq + 1)[0]) for seq in numbers):
                return
            yield
        if self._opened % STEP_PAGES == 0:
            yield

    def _take(self, leaves: Iterable[tuple[int, bytes]]) -> bool:
        """Take those that match; True when there are enough."""
        for seq, leaf in leaves:
            if self._exact and not self._matches(leaf):
                continue
            if len(self._leaves) == self._limit:  # one more than asked for: there is another page
                last = self._leaves[-1][0]
                self._next_at = last if self._newest else last + 1
                return True
            self._leaves.append((seq, leaf))
        return False

    def _matches(self, leaf: bytes) -> bool:
        keys = self._opener.keys(leaf)
        prefix = self._filters.action_prefix
        if prefix is not None and not keys.action.startswith(prefix):
            return False
        return all(getattr(keys, name) == value for name, value in self._exact.items() if name != "action_prefix")


def _exact(filters: Filters) -> dict[str, str]:
    """Return what must be said word by word, by field; `action_prefix` besides."""
    named = {name: getattr(filters, name) for name in (*COLUMNS, "action_prefix")}
    return {name: value for name, value in named.items() if value is not None}


def _wanted(filters: Filters) -> Wanted:
    """Return the fingerprints that pages and rows are narrowed to; none means all leaves."""
    wanted: dict[int, frozenset[int]] = {}
    for number, column in enumerate(COLUMNS):
        value = getattr(filters, column)
        if value is not None:
            wanted[number] = frozenset({fingerprint(number, value)})
    if filters.action_prefix is not None:
        at = COLUMNS.index("action")
        named = (action.value for action in ActionType if action.value.startswith(filters.action_prefix))
        prints = frozenset(fingerprint(at, value) for value in named)
        wanted[at] = prints & wanted.get(at, prints)
    return wanted
