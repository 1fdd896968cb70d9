"""Search in one log: an index narrows it to pages and rows, and each leaf that is found was opened and asked itself.

Everything is a generator of small steps, so that whoever drives it lets others append between two of them. Nothing
stays in memory between two searches, so no search is faster or slower for what another tenant searched before. Leaves
that are in no full page yet are read one by one. Source: ADR-0006 "Search".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from partywall.errors import NotFound, Unavailable
from partywall.ledger.hunt import STEP_HEADS, STEP_LEAVES, Found, Hunt, Opener, Steps
from partywall.ledger.index import Index, IndexDamaged
from partywall.ledger.index_page import COLUMNS, PAGE_LEAVES, PAGE_LEVEL, Draft, Head
from partywall.ledger.logs import Logs
from partywall.wire.audit import Filters, Order

STEP_BYTES: Final = 65_536
CATCH_UP_PAGES: Final = 16
"""What one search indexes at most before it answers from what there is."""
ATTEMPTS: Final = 3


class Searcher:
    """The indexes of all logs. folder: `Home.ledger`. damaged: told of each page that could not be believed."""

    def __init__(
        self, folder: Path, logs: Logs, *, damaged: Callable[[str, int], None] = lambda _log, _at: None
    ) -> None:
        self._folder = folder / "index"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._logs = logs
        self._damaged = damaged

    def find(
        self, log: str, filters: Filters, *, order: Order, limit: int, at: int | None
    ) -> Generator[None, None, Found]:
        """Return up to limit leaves. at: where an earlier search of the same filters and order stopped.

        Raises: NotFound (the log's key was destroyed), Unavailable.
        """
        if not self._logs.size(log):
            return Found(leaves=[], next_at=None, head=0, searched=0)
        for _attempt in range(ATTEMPTS):
            hunt = Hunt(self._logs, log, self._index(log), filters, order=order, limit=limit)
            try:
                if hunt.wanted:
                    yield from self.catch_up(log, CATCH_UP_PAGES)
                return (yield from hunt.run(at))
            except IndexDamaged as damage:
                self._cut(log, (yield from self._first_damaged(log, damage.page)))
            except NotFound:
                self.forget(log)
                raise
        raise Unavailable("the search index is being made anew", code="index-rebuilding", retry_after_s=2.0)

    def behind(self, log: str) -> int:
        """Return how many full pages of leaves the index lacks."""
        full = self._logs.size(log) // PAGE_LEAVES
        return max(0, full - self._index(log).pages()) if full else 0

    def forget(self, log: str) -> None:
        """Remove a log's index. What cannot be removed now opens under no key all the same."""
        with contextlib.suppress(OSError):
            self._index(log).remove()

    def catch_up(self, log: str, pages: int) -> Steps:
        """Index so many pages at most. A disk that is full or fails leaves the index as it was.

        Raises: NotFound (the log's key was destroyed), Unavailable when a leaf is damaged.
        """
        index = self._index(log)
        for _page in range(pages):
            page = index.pages()
            if (page + 1) * PAGE_LEAVES > self._logs.size(log):
                return
            rows: list[list[str | None]] = []
            yield from self._read(log, page, rows)
            draft = Draft(rows)
            yield from draft.add_each()
            bloom, columns = draft.finish()
            root = self._logs.subtrees(log, PAGE_LEVEL, page, page + 1)[0]
            try:
                index.add(page, self._logs.newest_key(log)[0], Head(root, 0, 0, bloom), columns)
            except OSError:
                return
            yield

    def _read(self, log: str, page: int, rows: list[list[str | None]]) -> Steps:
        opener = Opener(self._logs, log)
        start, stop = page * PAGE_LEAVES, (page + 1) * PAGE_LEAVES
        while len(rows) < PAGE_LEAVES:
            at = start + len(rows)
            for leaf in self._logs.leaves(log, at, min(stop, at + STEP_LEAVES), STEP_BYTES):
                keys = opener.keys(leaf)
                rows.append([getattr(keys, column) for column in COLUMNS])
            yield

    def _index(self, log: str) -> Index:
        return Index(self._folder, log, lambda version: self._logs.keys(log, {version})[version])

    def _first_damaged(self, log: str, page: int) -> Generator[None, None, int]:
        """Return the first page that cannot be believed, where a later one could not: damage seldom comes alone."""
        index = self._index(log)
        for start in range(0, page, STEP_HEADS):
            stop = min(page, start + STEP_HEADS)
            roots = self._logs.subtrees(log, PAGE_LEVEL, start, stop)
            try:
                for at, record in enumerate(index.records(start, stop), start):
                    if index.placed_head(at, record).root != roots[at - start]:
                        return at
            except IndexDamaged as damage:
                return damage.page
            yield
        return page

    def _cut(self, log: str, page: int) -> None:
        self._damaged(log, page)
        try:
            self._index(log).cut(page)
        except OSError as error:
            raise Unavailable("the search index cannot be written", code="index-unwritable") from error
