"""PURE. One leaf: a clear header, a nonce, and the sealed activity.

    leaf = header (26 bytes) | nonce (12) | AES-256-GCM ciphertext and tag
    leaf hash = SHA-256(0x00 | leaf)                                        (RFC 6962)

The header shows only what a proof needs; who, what and why are in the ciphertext. Associated data binds the log, so a
leaf opens in no other log and under no other header. Source: ADR-0006.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, Protocol

import msgspec

from partywall.errors import Malformed

VERSION: Final = 1
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_HEADER: Final = struct.Struct(">BQQIBI")
HEADER_BYTES: Final = _HEADER.size
_CONTEXT: Final = b"partywall/leaf/v1\x00"


class Cipher(Protocol):
    """AES-256-GCM under one data key (`cryptography`'s AESGCM)."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


class Header(msgspec.Struct, frozen=True, gc=False):
    """seq: dense from 0. time_us: Unix microseconds, never falling within a log. type_uid: OCSF. class_: 0 effect,
    1 exposure, 2 internal-read. key_version: of the log's data key.
    """

    seq: int
    time_us: int
    type_uid: int
    class_: int
    key_version: int
    version: int = VERSION

    def encode(self) -> bytes:
        """Return the 26 bytes."""
        return _HEADER.pack(self.version, self.seq, self.time_us, self.type_uid, self.class_, self.key_version)


def parse_header(leaf: bytes) -> Header:
    """Return a leaf's header. Raises: Malformed."""
    if len(leaf) < HEADER_BYTES + NONCE_BYTES + TAG_BYTES:
        raise Malformed("a leaf that is too short", code="bad-leaf")
    version, seq, time_us, type_uid, class_, key_version = _HEADER.unpack_from(leaf)
    if version != VERSION:
        raise Malformed(f"a leaf of version {version}", code="bad-leaf")
    return Header(seq, time_us, type_uid, class_, key_version, version)


def seal(cipher: Cipher, log: str, header: Header, nonce: bytes, content: bytes) -> bytes:
    """Return the leaf. nonce: 12 random bytes, never used twice under one key."""
    head = header.encode()
    return head + nonce + cipher.encrypt(nonce, content, context_of(log) + head)


def open_leaf(cipher: Cipher, log: str, leaf: bytes) -> bytes:
    """Return the content. Raises: Malformed; the cipher's own error when it was changed or moved."""
    parse_header(leaf)
    return unseal(cipher, context_of(log), leaf)


def context_of(log: str) -> bytes:
    """Return the associated data that comes before the header, the same for all leaves of a log."""
    return _CONTEXT + log.encode() + b"\x00"


def unseal(cipher: Cipher, context: bytes, leaf: bytes) -> bytes:
    """Return the content of a leaf whose header was parsed already. Raises: the cipher's own error."""
    nonce = leaf[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    return cipher.decrypt(nonce, leaf[HEADER_BYTES + NONCE_BYTES :], context + leaf[:HEADER_BYTES])


def leaf_hash(leaf: bytes) -> bytes:
    """Return the RFC 6962 hash of a leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()
