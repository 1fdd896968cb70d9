"""The search index of one log on disk: sealed pages that say where what is; made from the log, never the truth.

    <log>.heads    record = version (1) | key version (4) | nonce (12) | AES-256-GCM(head) and tag; all of one size
    <log>.columns  nonce (12) | AES-256-GCM(columns) and tag, where the head says

Both are sealed under a key derived from the log's own data key, bound to log, page and part: destroying that key erases
the index too. Columns are written before their head, and nothing is synced: what a crash or a disk leaves behind opens
under no key, or names other leaves than the log has, and is made anew. Source: ADR-0006 "Search".
"""

from __future__ import annotations

import hmac
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.errors import NotFound
from partywall.ledger.index_page import HEAD_BYTES, Head, Page, parse_head, parse_page

VERSION: Final = 1
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_PREFIX: Final = struct.Struct("<BI")
RECORD_BYTES: Final = _PREFIX.size + NONCE_BYTES + HEAD_BYTES + TAG_BYTES
_HEADS, _COLUMNS = b"head", b"columns"

KeyOf = Callable[[int], bytes]
"""The log's data key of a version. Raises: NotFound when it was destroyed."""


class IndexDamaged(Exception):
    """A page cannot be believed; `page` and all after it must be made anew."""

    def __init__(self, page: int) -> None:
        super().__init__(f"page {page}")
        self.page = page


class UnknownVersion(Exception):
    """There is no such version of the log's key."""


class Index:
    """One log's index, opened for one use and forgotten: nothing of it stays in memory. folder: of all indexes."""

    def __init__(self, folder: Path, log: str, key_of: KeyOf) -> None:
        self._log = log
        self._heads = folder / f"{log}.heads"
        self._columns = folder / f"{log}.columns"
        self._key_of = key_of
        self._ciphers: dict[int, AESGCM] = {}

    def pages(self) -> int:
        """Return how many pages there are."""
        return _size(self._heads) // RECORD_BYTES

    def records(self, start: int, stop: int) -> list[bytes]:
        """Return sealed heads, for `head`: fewer when there are not so many."""
        try:
            with self._heads.open("rb", buffering=0) as file:
                file.seek(start * RECORD_BYTES)
                data = file.read((stop - start) * RECORD_BYTES) or b""
        except FileNotFoundError:
            return []
        return [data[at : at + RECORD_BYTES] for at in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES)]

    def head(self, page: int, record: bytes) -> Head:
        """Return the head of a page. Raises: IndexDamaged; NotFound (the log's key was destroyed)."""
        version, key_version = _PREFIX.unpack_from(record)
        if version != VERSION:
            raise IndexDamaged(page)
        try:
            return parse_head(self._open(key_version, record[_PREFIX.size :], page, _HEADS))
        except (InvalidTag, ValueError, UnknownVersion) as error:
            raise IndexDamaged(page) from error

    def placed_head(self, page: int, record: bytes) -> Head:
        """Return the head of a page whose columns are within their file. Raises: IndexDamaged; NotFound."""
        head = self.head(page, record)
        if head.offset + head.length > _size(self._columns):
            raise IndexDamaged(page)
        return head

    def columns(self, page: int, record: bytes, head: Head) -> Page:
        """Return the columns of a page. Raises: IndexDamaged; NotFound."""
        _version, key_version = _PREFIX.unpack_from(record)
        try:
            with self._columns.open("rb", buffering=0) as file:
                sealed = os.pread(file.fileno(), head.length, head.offset)
            return parse_page(self._open(key_version, sealed, page, _COLUMNS))
        except (OSError, InvalidTag, ValueError, zlib.error, msgspec.DecodeError, UnknownVersion) as error:
            raise IndexDamaged(page) from error

    def add(self, page: int, key_version: int, head: Head, columns: bytes) -> bool:
        """Write the next page; False when another was written in its place meanwhile. Raises: OSError; NotFound."""
        if self.pages() != page:
            return False
        _cut(self._heads, page * RECORD_BYTES)  # what a crash left of one
        sealed = self._seal(key_version, columns, page, _COLUMNS)
        offset = _append(self._columns, sealed)
        placed = msgspec.structs.replace(head, offset=offset, length=len(sealed))
        record = _PREFIX.pack(VERSION, key_version) + self._seal(key_version, placed.encode(), page, _HEADS)
        _append(self._heads, record)
        return True

    def cut(self, pages: int) -> None:
        """Keep so many pages. Raises: OSError."""
        if pages == 0:
            self.remove()
            return
        _cut(self._heads, pages * RECORD_BYTES)

    def remove(self) -> None:
        """Drop it. Raises: OSError."""
        self._heads.unlink(missing_ok=True)
        self._columns.unlink(missing_ok=True)

    def _seal(self, key_version: int, data: bytes, page: int, part: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher(key_version).encrypt(nonce, data, self._bound(page, part))

    def _open(self, key_version: int, sealed: bytes, page: int, part: bytes) -> bytes:
        cipher = self._cipher(key_version)
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._bound(page, part))

    def _bound(self, page: int, part: bytes) -> bytes:
        return b"partywall/ledger-index/v1\x00%s\x00%s\x00%d" % (self._log.encode(), part, page)

    def _cipher(self, key_version: int) -> AESGCM:
        cipher = self._ciphers.get(key_version)
        if cipher is None:
            try:
                key = derived(self._key_of(key_version), b"partywall/ledger-index/v1")
            except NotFound as error:
                if error.code == "key-destroyed":
                    raise
                raise UnknownVersion from error
            cipher = self._ciphers[key_version] = AESGCM(key)
        return cipher


def derived(data_key: bytes, purpose: bytes) -> bytes:
    """Return a key of its own for a purpose: gone with the data key."""
    return hmac.digest(data_key, purpose, "sha256")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _cut(path: Path, size_bytes: int) -> None:
    if _size(path) > size_bytes:
        os.truncate(path, size_bytes)


def _append(path: Path, data: bytes) -> int:
    """Write at the end, whole or not at all; return where it begins."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        start = os.fstat(descriptor).st_size
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(descriptor, view) :]
        except OSError:
            os.ftruncate(descriptor, start)
            raise
        return start
    finally:
        os.close(descriptor)
