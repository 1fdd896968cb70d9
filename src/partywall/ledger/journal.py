"""The ledger's one append-only file sequence: every leaf of every log, in the order of their arrival.

    entry = length (4) | CRC-32 (4) | log (32 bytes, padded) | leaf

A batch is one write and, when asked for, one fdatasync. It begins with a mark: an entry of the log `#synced` that tells
up to which place everything was on disk when the batch was written. A torn tail (a crash in the middle of a write) is
cut at the next start; damage before what a later mark vouches for stops the start. Places are
`segment << 40 | offset`.

After a failed fdatasync nothing is known of what the disk holds (the kernel forgets which pages it could not write), so
the journal refuses all further appends until a new process has read it again. Source: ADR-0006.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from partywall.durable import sync_folder
from partywall.errors import Unavailable

SEGMENT_LIMIT_BYTES: Final = 256 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
LOG_BYTES: Final = 32
LEAF_LIMIT_BYTES: Final = 1_048_576
_HEAD: Final = struct.Struct(">II")
_PLACE: Final = struct.Struct(">Q")
_MARK: Final = b"#synced".ljust(LOG_BYTES, b"\x00")
ENTRY_BYTES: Final = _HEAD.size + LOG_BYTES
_OFFSET_BITS: Final = 40
_Found = tuple[int, bytes, bytes]


class Journal:
    """Appends and reads entries of one folder. Invariant: the file ends where `place` says, or nothing is appended."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        segments = self._segments()
        self._readers: dict[int, int] = {}
        self._segment = segments[-1] if segments else 0
        self._fd, self._offset = self._open_segment(self._segment)
        self._synced = 0
        self.is_failed = False

    @property
    def place(self) -> int:
        """Where the next entry will start."""
        return self._segment << _OFFSET_BITS | self._offset

    def append(self, entries: Sequence[tuple[bytes, bytes]], *, durable: bool) -> list[int]:
        """Write (log, leaf) entries in one go; return their places. Nothing is in the journal when it raises.

        Raises: Unavailable: `ledger-full` when the disk is full; `ledger-failed` when it failed, and ever after.
        """
        self._check()
        if self._offset >= SEGMENT_LIMIT_BYTES:
            self._next_segment()
        parts = _entry(_MARK, _PLACE.pack(self._synced))
        offset, base = self._offset + len(parts[0]) + len(parts[1]), self._segment << _OFFSET_BITS
        places: list[int] = []
        for log, leaf in entries:
            head, body = _entry(log.ljust(LOG_BYTES, b"\x00"), leaf)
            parts += (head, body)
            places.append(base | offset)
            offset += len(head) + len(body)
        before = self._offset
        self._write(b"".join(parts))
        self._offset = offset
        if durable:
            try:
                self.sync()
            except Unavailable:
                with contextlib.suppress(OSError):  # so that a restart does not find what was refused
                    os.ftruncate(self._fd, before)
                raise
        return places

    def sync(self) -> None:
        """Have everything written on disk. Raises: Unavailable (`ledger-failed`)."""
        self._check()
        if self._synced == self.place:
            return
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self.is_failed = True
            raise Unavailable("the ledger's disk failed", code="ledger-failed", retry_after_s=5.0) from error
        self._synced = self.place

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

    def scan(self, start: int, *, mend: bool = False) -> Iterator[_Found]:
        """Yield (place, log, leaf) from a place to the end. mend: cut a torn tail and have all on disk, as at start.

        Raises: Unavailable when what lies between was damaged or is missing.
        """
        first, offset = start >> _OFFSET_BITS, start & ((1 << _OFFSET_BITS) - 1)
        if start > self.place:
            raise Unavailable("the journal ends before what the state has seen of it", code="ledger-damaged")
        for segment in range(first, self._segment + 1):
            path = self._folder / _name(segment)
            if not path.exists():
                raise Unavailable(f"journal segment {segment} is missing", code="ledger-damaged")
            with path.open("rb", buffering=CHUNK_BYTES) as file:
                start = offset if segment == first else 0
                yield from self._scan_segment(segment, start, file, mend=mend)
                if mend and segment == self._segment:
                    self._renew(start, file)

    def _scan_segment(self, segment: int, position: int, file: BinaryIO, *, mend: bool) -> Iterator[_Found]:
        size = os.fstat(file.fileno()).st_size
        file.seek(position)
        while position < size:
            entry = _next(file)
            if entry is None:
                file.seek(position)
                self._cut(segment, position, file.read(), mend=mend)
                break
            if entry[0] != _MARK:
                yield segment << _OFFSET_BITS | position, entry[0].rstrip(b"\x00"), entry[1]
            position += ENTRY_BYTES + len(entry[1])

    def close(self) -> None:
        """Sync and close. Raises: Unavailable when the disk failed; closed all the same."""
        try:
            if not self.is_failed:
                self.sync()
        finally:
            for descriptor in (self._fd, *self._readers.values()):
                os.close(descriptor)
            self._readers.clear()

    def _check(self) -> None:
        if self.is_failed:
            raise Unavailable("the ledger's disk failed", code="ledger-failed", retry_after_s=5.0)

    def _write(self, data: bytes) -> None:
        view, offset = memoryview(data), self._offset
        try:
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            try:
                os.ftruncate(self._fd, self._offset)
            except OSError:
                self.is_failed = True  # what is left behind could be read as entries after a shorter batch
            raise _failure(error) from error

    def _next_segment(self) -> None:
        """Go on in a new file, once all of the old one is on disk."""
        self.sync()
        try:
            descriptor, offset = self._open_segment(self._segment + 1)
        except OSError as error:
            raise _failure(error) from error
        os.close(self._fd)
        self._segment, self._fd, self._offset = self._segment + 1, descriptor, offset

    def _cut(self, segment: int, position: int, tail: bytes, *, mend: bool) -> None:
        """Cut what a crash left unfinished; keep the bytes aside where there is room. tail: all from position on.

        Only the last segment can have such a tail, and no mark in it vouches for what is cut.
        """
        is_tail = mend and segment == self._segment
        if not is_tail or _vouched(tail) > segment << _OFFSET_BITS | position:
            raise Unavailable(f"journal segment {segment} is damaged at byte {position}", code="ledger-damaged")
        with contextlib.suppress(OSError):  # a full disk must not stop the start
            (self._folder / f"torn-{segment}-{position}").write_bytes(tail)
        os.ftruncate(self._fd, position)
        os.fsync(self._fd)
        self._offset = position

    def _renew(self, position: int, file: BinaryIO) -> None:
        """Write the tail again over itself: pages whose sync failed in an earlier process count as clean until then."""
        file.seek(position)
        while position < self._offset and (chunk := file.read(min(CHUNK_BYTES, self._offset - position))):
            view = memoryview(chunk)
            while view:
                written = os.pwrite(self._fd, view, position)
                view, position = view[written:], position + written
        self.sync()

    def _open_segment(self, segment: int) -> tuple[int, int]:
        """Return (descriptor, size) of a segment's file, made when there is none."""
        path = self._folder / _name(segment)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        sync_folder(self._folder)
        return descriptor, os.fstat(descriptor).st_size

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


def _entry(log: bytes, leaf: bytes) -> list[bytes]:
    body = log + leaf
    return [_HEAD.pack(len(body), zlib.crc32(body)), body]


def _failure(error: OSError) -> Unavailable:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Unavailable("the ledger's disk is full", code="ledger-full", retry_after_s=5.0)
    return Unavailable("the ledger's disk failed", code="ledger-failed", retry_after_s=5.0)


def _vouched(tail: bytes) -> int:
    """Return up to which place marks in the tail say that everything was on disk; 0 when there is none."""
    vouched, at = 0, tail.find(_MARK)
    while at >= 0:
        entry = _next(io.BytesIO(tail[at - _HEAD.size : at + LOG_BYTES + _PLACE.size])) if at >= _HEAD.size else None
        if entry is not None and len(entry[1]) == _PLACE.size:
            vouched = max(vouched, _PLACE.unpack(entry[1])[0])
        at = tail.find(_MARK, at + 1)
    return vouched


def _next(file: BinaryIO) -> tuple[bytes, bytes] | None:
    """Return the (log, leaf) of the entry that starts here; None when there is no whole one."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, crc = _HEAD.unpack(head)
    if not LOG_BYTES <= length <= LEAF_LIMIT_BYTES + LOG_BYTES:
        return None
    body = file.read(length)
    if len(body) != length or zlib.crc32(body) != crc:
        return None
    return body[:LOG_BYTES], body[LOG_BYTES:]
