"""Archives: pages of an export put together into one file, and the cryptography that `verify.py` needs from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.ledger.verify import ARCHIVE, Primitives

PRIMITIVES = Primitives(cipher=AESGCM, verifier=Ed25519PublicKey.from_public_bytes)

Page = dict[str, Any]


def archive_lines(fetch: Callable[[int], Page], *, tell: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    """Yield an archive's lines. fetch: returns the export page that starts at a leaf. tell: leaves fetched so far.

    The header needs the last page's checkpoints, so all pages are fetched before the first line is given.
    """
    pages: list[Page] = []
    start: int | None = 0
    while start is not None:
        page = fetch(start)
        pages.append(page)
        start = page["next_start"]
        tell(page["start"] + len(page["leaves"]))
    yield from lines_of(pages)


def lines_of(pages: Iterable[Page]) -> Iterator[bytes]:
    """Yield the lines of an archive that these pages, in order, make up."""
    pages = list(pages)
    head = {name: pages[-1][name] for name in ("origin", "log", "vkey", "checkpoints")}
    keys = {version: key for page in pages for version, key in page["keys"].items()}
    yield _line({"archive": ARCHIVE, **head, "keys": keys})
    for page in pages:
        for leaf in page["leaves"]:
            yield _line({"leaf": leaf})


def _line(value: Page) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
