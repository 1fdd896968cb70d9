"""The ledger's one append-only file sequence: every leaf of every log, in the order of their arrival.

    entry = length (4) | CRC-32 (4) | log (32 bytes, padded) | leaf

A batch is one write and, when asked for, one fdatasync. A torn tail (a crash in the middle of a write) is cut at the
next start; damage anywhere else stops the start. Places are `segment << 40 | offset`. Source: ADR-0006.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from partywall.durable import sync_folder
from partywall.errors import Unavailable

SEGMENT_LIMIT_BYTES: Final = 256 * 1024 * 1024
LOG_BYTES: Final = 32
LEAF_LIMIT_BYTES: Final = 1_048_576
_HEAD: Final = struct.Struct(">II")
ENTRY_BYTES: Final = _HEAD.size + LOG_BYTES
_OFFSET_BITS: Final = 40


class Journal:
    """Appends and reads entries of one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        segments = self._segments()
        self._segment = segments[-1] if segments else 0
        self._fd = -1
        self._offset = 0
        self._readers: dict[int, int] = {}
        self._open_segment(self._segment)

    @property
    def place(self) -> int:
        """Where the next entry will start."""
        return self._segment << _OFFSET_BITS | self._offset

    def append(self, entries: list[tuple[bytes, bytes]], *, durable: bool) -> list[int]:
        """Write (log, leaf) entries in one go; return their places. Nothing is written when it raises.

        Raises: Unavailable (`ledger-full` when the disk is full).
        """
        if self._offset >= SEGMENT_LIMIT_BYTES:
            os.fdatasync(self._fd)
            self._segment += 1
            self._open_segment(self._segment)
        places: list[int] = []
        parts: list[bytes] = []
        offset, base = self._offset, self._segment << _OFFSET_BITS
        for log, leaf in entries:
            body = log.ljust(LOG_BYTES, b"\x00") + leaf
            parts.append(_HEAD.pack(len(body), zlib.crc32(body)))
            parts.append(body)
            places.append(base | offset)
            offset += _HEAD.size + len(body)
        try:
            self._write(b"".join(parts))
            if durable:
                os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._offset)
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            raise Unavailable(
                "the ledger's disk is full" if full else "the ledger's disk failed",
                code="ledger-full" if full else "ledger-failed",
                retry_after_s=5.0,
            ) from error
        self._offset = offset
        return places

    def sync(self) -> None:
        """Have everything written on disk."""
        os.fdatasync(self._fd)

    def read(self, place: int) -> bytes:
        """Return the leaf at a place. Raises: Unavailable when it is damaged."""
        segment, offset = place >> _OFFSET_BITS, place & ((1 << _OFFSET_BITS) - 1)
        descriptor = self._reader(segment)
        head = os.pread(descriptor, _HEAD.size, offset)
        if len(head) == _HEAD.size:
            length, crc = _HEAD.unpack(head)
            if LOG_BYTES <= length <= LEAF_LIMIT_BYTES + LOG_BYTES:
                body = os.pread(descriptor, length, offset + _HEAD.size)
                if len(body) == length and zlib.crc32(body) == crc:
                    return body[LOG_BYTES:]
        raise Unavailable("a leaf on disk is damaged", code="ledger-damaged")

    def scan(self, start: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (place, log, leaf) from a place to the end; cut a torn tail. Raises: Unavailable on damage inside."""
        first, offset = start >> _OFFSET_BITS, start & ((1 << _OFFSET_BITS) - 1)
        for segment in [segment for segment in self._segments() if segment >= first]:
            data = (self._folder / _name(segment)).read_bytes()
            position = offset if segment == first else 0
            while position < len(data):
                entry = _parse(data, position)
                if entry is None:
                    self._cut(segment, position, data)
                    break
                yield segment << _OFFSET_BITS | position, entry[0].rstrip(b"\x00"), entry[1]
                position += _HEAD.size + LOG_BYTES + len(entry[1])

    def close(self) -> None:
        """Sync and close."""
        os.fdatasync(self._fd)
        os.close(self._fd)
        for descriptor in self._readers.values():
            os.close(descriptor)
        self._readers.clear()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _cut(self, segment: int, position: int, data: bytes) -> None:
        """Cut what a crash left unfinished; keep the bytes aside. Only the last segment can have such a tail."""
        if segment != self._segment:
            raise Unavailable(f"journal segment {segment} is damaged at byte {position}", code="ledger-damaged")
        (self._folder / f"torn-{segment}-{position}").write_bytes(data[position:])
        os.ftruncate(self._fd, position)
        os.fsync(self._fd)
        self._offset = position

    def _open_segment(self, segment: int) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        path = self._folder / _name(segment)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._offset = os.fstat(self._fd).st_size
        sync_folder(self._folder)

    def _segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self._folder.glob("[0-9]*.journal"))

    def _reader(self, segment: int) -> int:
        descriptor = self._readers.get(segment)
        if descriptor is None:
            if len(self._readers) >= 64:
                os.close(self._readers.pop(next(iter(self._readers))))
            descriptor = os.open(self._folder / _name(segment), os.O_RDONLY | os.O_CLOEXEC)
            self._readers[segment] = descriptor
        return descriptor


def _name(segment: int) -> str:
    return f"{segment:08d}.journal"


def _parse(data: bytes, position: int) -> tuple[bytes, bytes] | None:
    start = position + _HEAD.size
    if start > len(data):
        return None
    length, crc = _HEAD.unpack_from(data, position)
    body = data[start : start + length]
    if not LOG_BYTES <= length <= LEAF_LIMIT_BYTES + LOG_BYTES or len(body) != length or zlib.crc32(body) != crc:
        return None
    return body[:LOG_BYTES], body[LOG_BYTES:]
