"""PURE. A summary of 1,024 leaves of one log: which values each column holds, and in which rows.

A page has a head of fixed size (the hash of its leaves' subtree, and a Bloom filter over all columns) and columns of
dictionary-coded fingerprints. The head says whether a page can hold a match, the columns which rows can;
whether a row does is always asked of the leaf itself, so a fingerprint that two values share costs time and nothing
else. Source: ADR-0006 "Search".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

PAGE_LEVEL: Final = 10
PAGE_LEAVES: Final = 1 << PAGE_LEVEL
BLOOM_BYTES: Final = 4096
"""30 bits for each value of a usual page, about one page in ten thousand opened in vain."""
COLUMNS: Final = (
    "action",
    "phase",
    "verdict",
    "result",
    "principal",
    "user",
    "resource",
    "kind",
    "trace_id",
    "act",
    "parent",
    "reason",
    "policy_revision",
)
"""Order is part of the format."""
_PROBES: Final = range(4)
_BITS: Final = BLOOM_BYTES * 8 - 1
_HEAD: Final = struct.Struct("<32sQI")
HEAD_BYTES: Final = _HEAD.size + BLOOM_BYTES
_CODED: Final = 256

Wanted = Mapping[int, frozenset[int]]
"""By column: fingerprints, any of which will do. All columns must hold."""


class Head(msgspec.Struct, frozen=True):
    """root: hash of the page's subtree, which ties it to these leaves. offset, length: where its columns lie."""

    root: bytes
    offset: int
    length: int
    bloom: bytes

    def encode(self) -> bytes:
        """Return its bytes, always as many."""
        return _HEAD.pack(self.root, self.offset, self.length) + self.bloom

    def may_hold(self, wanted: Wanted) -> bool:
        """Whether some row could match; False is certain."""
        return all(any(_in_bloom(self.bloom, print_) for print_ in prints) for prints in wanted.values())


class Column(msgspec.Struct, frozen=True, array_like=True):
    """values: fingerprints, 4 bytes each; codes: for each row a position in them; none when the rows are themselves."""

    values: bytes
    codes: bytes


class Page(msgspec.Struct, frozen=True, array_like=True):
    """The columns of a page, in the order of `COLUMNS`."""

    columns: list[Column]

    def rows(self, wanted: Wanted) -> list[int]:
        """Return the rows that may match, ascending; all of them when nothing is wanted."""
        mask = (1 << (8 * PAGE_LEAVES)) - 1
        for column, prints in wanted.items():
            mask &= _mask(self.columns[column], prints)
            if not mask:
                return []
        marks = mask.to_bytes(PAGE_LEAVES, "little")
        return [row for row, mark in enumerate(marks) if mark]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Page).decode


def fingerprint(column: int, value: str) -> int:
    """Return 32 bits of a value of a column; never 0, which is no value."""
    return zlib.crc32(value.encode("utf-8", "surrogatepass"), column) or 1


def parse_head(data: bytes) -> Head:
    """Return a head. Raises: ValueError."""
    if len(data) != HEAD_BYTES:
        raise ValueError("not a head")
    root, offset, length = _HEAD.unpack_from(data)
    return Head(root, offset, length, data[_HEAD.size :])


def parse_page(data: bytes) -> Page:
    """Return columns. Raises: ValueError, msgspec.DecodeError."""
    page = _decode(zlib.decompress(data))
    if len(page.columns) != len(COLUMNS):
        raise ValueError("not a page")
    return page


class Draft:
    """A page in the making, a column at a time. rows: 1,024, each of them a value or None for each of `COLUMNS`."""

    def __init__(self, rows: Sequence[Sequence[str | None]]) -> None:
        self._values = list(zip(*rows, strict=True))
        self._bloom = bytearray(BLOOM_BYTES)
        self._columns: list[Column] = []

    def add_each(self) -> Iterator[None]:
        """Add the columns, one a step."""
        for number, values in enumerate(self._values):
            prints = {value: fingerprint(number, value) if value else 0 for value in set(values)}
            for print_ in set(prints.values()) - {0}:
                for at in _probes(print_):
                    self._bloom[at >> 3] |= 1 << (at & 7)
            self._columns.append(_column([prints[value] for value in values]))
            yield

    def finish(self) -> tuple[bytes, bytes]:
        """Return (Bloom filter, encoded columns)."""
        return bytes(self._bloom), zlib.compress(_encode(Page(self._columns)), 1)


def _column(prints: list[int]) -> Column:
    distinct = list(dict.fromkeys(prints))
    if len(distinct) > _CODED:
        return Column(_packed(prints), b"")
    codes = {print_: code for code, print_ in enumerate(distinct)}
    return Column(_packed(distinct), bytes([codes[print_] for print_ in prints]))


def _packed(prints: list[int]) -> bytes:
    return struct.pack(f"<{len(prints)}I", *prints)


def _mask(column: Column, prints: Iterable[int]) -> int:
    """Return a byte of 1 for each row that has one of the fingerprints, as a number."""
    found = [at for print_ in prints for at in _places(column.values, print_)]
    if not column.codes:
        marks = bytearray(PAGE_LEAVES)
        for row in found:
            marks[row] = 1
        return int.from_bytes(marks, "little")
    table = bytearray(_CODED)
    for code in found:
        table[code] = 1
    return int.from_bytes(column.codes.translate(bytes(table)), "little")


def _places(values: bytes, print_: int) -> Iterable[int]:
    pattern = print_.to_bytes(4, "little")
    at = values.find(pattern)
    while at >= 0:
        if at & 3 == 0:
            yield at >> 2
        at = values.find(pattern, at + 1)


def _probes(print_: int) -> Iterable[int]:
    step = print_ >> 15 | 1
    return ((print_ + probe * step) & _BITS for probe in _PROBES)


def _in_bloom(bloom: bytes, print_: int) -> bool:
    return all(bloom[at >> 3] & (1 << (at & 7)) for at in _probes(print_))
