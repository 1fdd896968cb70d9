"""Signed checkpoints of every log that grew, and the operator's commitment to all heads at once.

The operator tree has a leaf H(key, log) | root for each log, sorted, padded with random ones to a power of two, so that
neither names nor number show. Source: architecture.md "The ledger", ADR-0006.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from partywall.durable import write_durably
from partywall.ledger.checkpoint import Checkpoint, format_vkey, sign
from partywall.ledger.logs import Logs
from partywall.ledger.merkle import root_of

NEWEST_BYTES: Final = 65_536


class Witness:
    """folder: `Home.ledger`; public: where the verifier key is published. origin: of this node."""

    def __init__(self, folder: Path, public: Path, *, origin: str) -> None:
        self._folder = folder / "checkpoints"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._origin = origin
        seed = _secret(folder / "checkpoint-key")
        self._blind = _secret(folder / "blinding-key")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public_key = self._key.public_key().public_bytes_raw()
        self._sizes: dict[str, int] = {}
        public.mkdir(parents=True, exist_ok=True)
        path = public / "ledger.pub"
        if not path.exists() or path.read_text() != self.vkey + "\n":
            path.write_text(self.vkey + "\n")
            path.chmod(0o644)

    @property
    def vkey(self) -> str:
        """The verifier key, as a tenant gets it."""
        return format_vkey(self._origin, self._public_key)

    def origin_of(self, log: str) -> str:
        """The origin line of one log."""
        return f"{self._origin}/{log}"

    def sign_all(self, logs: Logs) -> int:
        """Sign a checkpoint of each log that grew, and then the operator's; return how many."""
        grown = [log for log in logs.names() if self._sizes.get(log) != logs.size(log)]
        for log in grown:
            self.sign(logs, log)
        if grown:
            self._sign_operator(logs)
        return len(grown)

    def sign(self, logs: Logs, log: str) -> str:
        """Sign, keep and return a checkpoint of one log as it is now."""
        size = logs.size(log)
        newest = self.newest(log)
        if newest is not None and self._sizes.get(log) == size:
            return newest
        note = self._note(Checkpoint(self.origin_of(log), size, logs.root(log), logs.time_us(log)))
        self._keep(log, note)
        self._sizes[log] = size
        return note

    def newest(self, log: str) -> str | None:
        """Return the newest checkpoint of a log."""
        kept = self.kept(log)
        return kept[-1] if kept else None

    def kept(self, log: str) -> list[str]:
        """Return the checkpoints of a log, oldest first; the newest few hundred."""
        path = self._path(log)
        if not path.exists():
            return []
        with path.open("rb") as file:
            start = max(0, path.stat().st_size - NEWEST_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")
        whole = lines[1:-1] if start else lines[:-1]
        return [json.loads(line) for line in whole]

    def _sign_operator(self, logs: Logs) -> None:
        heads = sorted(
            hashlib.sha256(b"\x00" + hmac.digest(self._blind, log.encode(), "sha256") + logs.root(log)).digest()
            for log in logs.names()
        )
        padded = 1 << max(0, (len(heads) - 1).bit_length())
        heads = sorted([*heads, *(os.urandom(32) for _ in range(padded - len(heads)))])
        newest_us = max(logs.time_us(log) for log in logs.names())
        self._keep(
            "operator", self._note(Checkpoint(f"{self._origin}/operator", len(heads), root_of(heads), newest_us))
        )

    def _note(self, checkpoint: Checkpoint) -> str:
        return sign(checkpoint, self._origin, self._public_key, self._key)

    def _keep(self, log: str, note: str) -> None:
        descriptor = os.open(self._path(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, json.dumps(note).encode() + b"\n")
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, log: str) -> Path:
        return self._folder / f"{log}.jsonl"


def _secret(path: Path) -> bytes:
    if not path.exists():
        write_durably(path, os.urandom(32))
    return path.read_bytes()
