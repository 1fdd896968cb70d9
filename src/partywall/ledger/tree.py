"""One log's tree on disk: where each leaf lies, and hashes at levels 0, 8 and 16: a proof reads a few kilobytes.

Files of a log: `<log>.0` (place 8 | hash 32 a leaf), `<log>.8`, `<log>.16` (a hash for each full 256 and 65,536
leaves). They repeat the journal and are mended from it: `Damaged` asks for that. Source: C2SP tlog-tiles' levels;
ADR-0006.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from partywall.ledger.merkle import HASH_BYTES, Frontier, consistency_proof, inclusion_proof, node_hash, range_root

_ROW: Final = struct.Struct(">Q32s")
LEVELS: Final = (8, 16)
TILES_LIMIT: Final = 4


class Damaged(Exception):
    """The files do not hold the tree that they should; the journal does."""


class Tree:
    """Appends are buffered until `flush`; everything else reads what was flushed and what is buffered.

    root: that the first `size` leaves must have, where it is known. Raises: Damaged, also from every read.
    """

    def __init__(self, folder: Path, log: str, size: int, root: bytes | None = None) -> None:
        self._rows = folder / f"{log}.0"
        self._upper = {level: folder / f"{log}.{level}" for level in LEVELS}
        self._pending_rows = bytearray()
        self._pending_upper = {level: bytearray() for level in LEVELS}
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}
        self.frontier = Frontier()
        self._load(size)
        if root is not None and self.frontier.root() != root:
            raise Damaged(log)

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self.frontier.size

    def append(self, place: int, hash_: bytes) -> None:
        """Add a leaf."""
        self._pending_rows += _ROW.pack(place, hash_)
        for level, node in self.frontier.push(hash_):
            if level in self._pending_upper:
                self._pending_upper[level] += node

    def flush(self) -> None:
        """Write what is buffered; not synced, as the journal is the truth. Raises: OSError; the rest stays buffered."""
        _extend(self._rows, self._pending_rows)
        for level, pending in self._pending_upper.items():
            _extend(self._upper[level], pending)

    def places(self, start: int, stop: int) -> list[int]:
        """Return where leaves [start, stop) lie."""
        return [_ROW.unpack_from(row)[0] for row in self._read_rows(start, stop)]

    def root(self, size: int) -> bytes:
        """Return the root of the first `size` leaves."""
        if size == self.size:
            return self.frontier.root()
        return range_root(0, size, self._subtree) if size else Frontier().root()

    def subtrees(self, level: int, start: int, stop: int) -> list[bytes]:
        """Return the hashes of complete subtrees of 2**level leaves, level from 8 to 15, read in one go."""
        hashes = self._read_upper(8, start << (level - 8), stop << (level - 8))
        for _fold_once in range(level - 8):
            hashes = _pair(hashes)
        return hashes

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return an inclusion proof. Raises: ValueError."""
        return inclusion_proof(index, size, self._subtree)

    def consistency(self, old: int, size: int) -> list[bytes]:
        """Return a consistency proof. Raises: ValueError."""
        return consistency_proof(old, size, self._subtree)

    def _load(self, size: int) -> None:
        """Trust the first `size` leaves, drop what a crash left behind them, and rebuild the frontier."""
        _shorten(self._rows, size * _ROW.size)
        for level in LEVELS:
            _shorten(self._upper[level], (size >> level) * HASH_BYTES)
        big, middle = size >> 16, (size >> 8) & 255
        for index in range(big):
            self.frontier.push(self._subtree(16, index), 16)
        for index in range(middle):
            self.frontier.push(self._subtree(8, (big << 8) + index), 8)
        for row in self._read_rows(size & ~255, size):
            self.frontier.push(_ROW.unpack(row)[1])

    def _subtree(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree, from the tile of 256 that it lies in."""
        base = max(known for known in (0, *LEVELS) if known <= level)
        start = index << (level - base)
        tile = start >> 8
        if level - base == 8 or (tile + 1) << 8 > self.size >> base:
            return _fold(self._read_hashes(base, start, (index + 1) << (level - base)))
        nodes = self._tile(base, tile)
        return nodes[level - base][(start & 255) >> (level - base)]

    def _tile(self, base: int, tile: int) -> list[list[bytes]]:
        """Return all nodes of a full tile, lowest level first: a proof asks for a handful of the same one."""
        nodes = self._tiles.get((base, tile))
        if nodes is None:
            nodes = [self._read_hashes(base, tile << 8, (tile + 1) << 8)]
            while len(nodes[-1]) > 1:
                nodes.append(_pair(nodes[-1]))
            self._tiles[(base, tile)] = nodes
            if len(self._tiles) > TILES_LIMIT:
                self._tiles.pop(next(iter(self._tiles)))
        return nodes

    def _read_hashes(self, base: int, start: int, stop: int) -> list[bytes]:
        if base:
            return self._read_upper(base, start, stop)
        return [_ROW.unpack(row)[1] for row in self._read_rows(start, stop)]

    def _read_rows(self, start: int, stop: int) -> list[bytes]:
        data = _read(self._rows, self._pending_rows, start * _ROW.size, stop * _ROW.size)
        return [data[at : at + _ROW.size] for at in range(0, len(data), _ROW.size)]

    def _read_upper(self, level: int, start: int, stop: int) -> list[bytes]:
        data = _read(self._upper[level], self._pending_upper[level], start * HASH_BYTES, stop * HASH_BYTES)
        return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def _pair(hashes: list[bytes]) -> list[bytes]:
    return [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]


def _fold(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = _pair(hashes)
    return hashes[0]


def _extend(path: Path, pending: bytearray) -> None:
    if not pending:
        return
    with path.open("ab", buffering=0) as file:
        while pending:
            del pending[: file.write(pending) or 0]


def _shorten(path: Path, size_bytes: int) -> None:
    if _size(path) > size_bytes:
        with path.open("r+b") as file:
            file.truncate(size_bytes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, pending: bytearray, start: int, stop: int) -> bytes:
    written = _size(path)
    data = b""
    if start < written:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(min(stop, written) - start)
    if stop > written:
        data += bytes(pending[max(0, start - written) : stop - written])
    if len(data) != stop - start:
        raise Damaged(path.name)
    return data
