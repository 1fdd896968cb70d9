"""PURE. Checkpoints: C2SP tlog-checkpoint bodies as Ed25519 signed notes, with the time as an extension line."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final, Protocol

import msgspec

from partywall.errors import Malformed

ALGORITHM: Final = b"\x01"
_TIME: Final = re.compile(r"time ([0-9]{1,20})")


class Signer(Protocol):
    """An Ed25519 private key."""

    def sign(self, data: bytes) -> bytes: ...


class Verifier(Protocol):
    """An Ed25519 public key; raises when the signature is wrong."""

    def verify(self, signature: bytes, data: bytes) -> None: ...


class Checkpoint(msgspec.Struct, frozen=True):
    """origin: `<ledger origin>/<log>`. root: 32 bytes over `size` leaves. time_us: when it was signed."""

    origin: str
    size: int
    root: bytes
    time_us: int

    def body(self) -> str:
        """Return the note's text."""
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\ntime {self.time_us}\n"


def key_hash(name: str, public_key: bytes) -> bytes:
    """Return the 4 bytes that name a key in signature lines (C2SP signed-note)."""
    return hashlib.sha256(name.encode() + b"\n" + ALGORITHM + public_key).digest()[:4]


def format_vkey(name: str, public_key: bytes) -> str:
    """Return a verifier key: `<name>+<hash>+<base64>`."""
    return f"{name}+{key_hash(name, public_key).hex()}+{_b64(ALGORITHM + public_key)}"


def parse_vkey(text: str) -> tuple[str, bytes]:
    """Return (name, raw public key). Raises: Malformed."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not _is_text(text):
        raise Malformed("not a verifier key", code="bad-key")
    name, hash_, encoded = parts
    key = _unb64(encoded)
    if len(key) != 33 or key[:1] != ALGORITHM or key_hash(name, key[1:]).hex() != hash_:
        raise Malformed("not a verifier key", code="bad-key")
    return name, key[1:]


def sign(checkpoint: Checkpoint, name: str, public_key: bytes, signer: Signer) -> str:
    """Return the signed note."""
    body = checkpoint.body()
    signature = key_hash(name, public_key) + signer.sign(body.encode())
    return f"{body}\n\u2014 {name} {_b64(signature)}\n"


def parse_note(note: str) -> tuple[Checkpoint, str, bytes, bytes]:
    """Return (checkpoint, key name, key hash, signature), not verified. Raises: Malformed."""
    body, separator, lines = note.partition("\n\n")
    fields = body.split("\n")
    signature_line = lines.split("\n")[0]
    if not separator or len(fields) < 4 or not _is_text(note) or not signature_line.startswith("\u2014 "):
        raise Malformed("not a checkpoint", code="bad-checkpoint")
    words = signature_line.split(" ")
    time = _TIME.fullmatch(fields[3])
    if len(words) != 3 or time is None or not fields[1].isascii() or not fields[1].isdigit() or len(fields[1]) > 18:
        raise Malformed("not a checkpoint", code="bad-checkpoint")
    root, signature = _unb64(fields[2]), _unb64(words[2])
    if len(root) != 32 or len(signature) != 68 or len(fields) != 4:
        raise Malformed("not a checkpoint", code="bad-checkpoint")
    return Checkpoint(fields[0], int(fields[1]), root, int(time[1])), words[1], signature[:4], signature[4:]


def _is_text(text: str) -> bool:
    """Whether it has an encoding: a lone surrogate has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not base64", code="bad-base64") from error
