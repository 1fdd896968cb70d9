"""Archives: pages of an export put together into one file, and the cryptography that `verify.py` needs from outside."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.ledger.extract import EXTRACT
from partywall.ledger.verify import ARCHIVE, Primitives

PRIMITIVES = Primitives(cipher=AESGCM, verifier=Ed25519PublicKey.from_public_bytes)

Page = dict[str, Any]
SPOOL_BYTES: Final = 32 * 1024 * 1024


def archive_lines(fetch: Callable[[int], Page], *, tell: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """Yield an archive's lines. fetch: returns the export page that starts at a leaf. tell: leaves fetched so far.

    The header needs the last page's checkpoints, so all pages are fetched before the first line is given.
    """
    yield from lines_of(_pages(fetch, tell))


def _pages(fetch: Callable[[int], Page], tell: Callable[[int], None]) -> Iterator[Page]:
    start: int | None = 0
    while start is not None:
        page = fetch(start)
        start = page["next_start"]
        tell(page["start"] + len(page["leaves"]))
        yield page


def extract_lines(
    fetch: Callable[[str | None], Page],
    search: Page,
    *,
    keys: bool = True,
    tell: Callable[[int], None] = lambda _: None,
) -> Iterator[bytes]:
    """Yield a filtered export's lines. fetch: returns the page that a cursor continues, None for the first.

    search: what was asked, for its reader. keys: whether it can be opened. tell: leaves fetched so far. Like an
    archive, its header is known last: any page may bring a key.
    """
    head: Page = {}
    kept: Page = {}
    count, cursor, more = 0, None, True
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as leaves:
        while more:
            page = fetch(cursor)
            head = head or {name: page[name] for name in ("origin", "log", "vkey", "checkpoint")}
            kept |= page["keys"] if keys else {}
            leaves.writelines(_line(leaf) for leaf in page["leaves"])
            count, cursor = count + len(page["leaves"]), page["next_cursor"]
            more = cursor is not None
            tell(count)
        yield _line({"extract": EXTRACT, **head, "keys": kept, "search": search})
        leaves.seek(0)
        yield from leaves


def lines_of(pages: Iterable[Page]) -> Iterator[bytes]:
    """Yield the lines of an archive that these pages, in order, make up.

    Sealed leaves, and never keys, wait in a temporary file: a log may be larger than memory.
    """
    keys: Page = {}
    head: Page = {}
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as leaves:
        for page in pages:
            head = {name: page[name] for name in ("origin", "log", "vkey", "checkpoints")}
            keys |= page["keys"]
            leaves.writelines(_line({"leaf": leaf}) for leaf in page["leaves"])
        yield _line({"archive": ARCHIVE, **head, "keys": keys})
        leaves.seek(0)
        yield from leaves


def _line(value: Page) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
