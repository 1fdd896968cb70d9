"""Signed checkpoints of every log that grew, and the operator's commitment to all heads at once.

The operator tree has a leaf H(key, log) | root for each log, sorted, padded with random ones to a power of two, so that
neither names nor number show. Source: architecture.md "The ledger", ADR-0006.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from partywall.durable import write_all, write_durably
from partywall.errors import Malformed, PartywallError, Unavailable
from partywall.ledger.checkpoint import Checkpoint, format_vkey, parse_note, sign
from partywall.ledger.logs import Logs
from partywall.ledger.merkle import root_of

NEWEST_BYTES: Final = 65_536
NOTES_BYTES: Final = 2_048
QUIET_STEP: Final = 64


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
        self._newest: dict[str, tuple[Checkpoint, str]] = {}
        self._blinded: dict[str, bytes] = {}
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

    def sign_all(self, logs: Logs) -> None:
        """Sign a checkpoint of each log that grew, and then the operator's. Raises: as `sign_each`."""
        for _step in self.sign_each(logs):
            pass

    def sign_each(self, logs: Logs) -> Iterator[None]:
        """Do as `sign_all`, a step at a time: between two of them other work may be done, and logs may grow.

        Raises: what the first of them that failed raised, when all have been tried.
        """
        fault: Exception | None = None
        any_grown = False
        for at, log in enumerate(logs.names()):
            if self.size_signed(log) == logs.size(log):
                if at % QUIET_STEP == 0:
                    yield
                continue
            any_grown = True
            try:
                self.sign(logs, log)
            except (OSError, PartywallError) as error:  # one log's trouble is not another's
                fault = fault or error
            yield
        if any_grown and self._blinded:
            self._sign_operator(logs)
        if fault is not None:
            raise fault

    def sign(self, logs: Logs, log: str) -> str:
        """Sign, keep and return a checkpoint of one log as it is now, once all of it is on disk.

        Raises: Unavailable (`ledger-rolled-back`) when an earlier checkpoint covers more than the log holds, as after
        the restore of an old copy: a second history must not be signed.
        """
        size = logs.size(log)
        signed = self._newest_of(log)
        if signed is not None:
            checkpoint, note = signed
            if checkpoint.size > size or (checkpoint.size == size and checkpoint.root != logs.root(log)):
                raise Unavailable("this log was signed with more than it holds", code="ledger-rolled-back")
            if checkpoint.size == size:
                return note
        logs.sync()
        checkpoint = Checkpoint(self.origin_of(log), size, logs.root(log), logs.time_us(log))
        note = self._note(checkpoint)
        self._keep(log, note)
        self._take(log, checkpoint, note)
        return note

    def size_signed(self, log: str) -> int:
        """Return how many leaves the newest checkpoint of a log covers."""
        signed = self._newest_of(log)
        return 0 if signed is None else signed[0].size

    def _newest_of(self, log: str) -> tuple[Checkpoint, str] | None:
        if log not in self._newest and (kept := self.kept(log, NOTES_BYTES) or self.kept(log)):
            self._take(log, parse_note(kept[-1])[0], kept[-1])
        return self._newest.get(log)

    def _take(self, log: str, checkpoint: Checkpoint, note: str) -> None:
        blinded = hmac.digest(self._blind, log.encode(), "sha256") + checkpoint.root
        self._newest[log] = checkpoint, note
        self._blinded[log] = hashlib.sha256(b"\x00" + blinded).digest()

    def kept(self, log: str, limit_bytes: int = NEWEST_BYTES) -> list[str]:
        """Return the checkpoints of a log, oldest first; the newest few hundred, as many as limit_bytes hold."""
        path = self._path(log)
        if not path.exists():
            return []
        with path.open("rb") as file:
            start = max(0, path.stat().st_size - limit_bytes)
            file.seek(start)
            lines = file.read().split(b"\n")
        whole = lines[1:-1] if start else lines[:-1]
        return [note for line in whole if (note := _note_of(line)) is not None]

    def _sign_operator(self, logs: Logs) -> None:
        """Commit to the newest signed head of every log."""
        heads = list(self._blinded.values())
        padded = 1 << max(0, (len(heads) - 1).bit_length())
        heads = sorted([*heads, *(os.urandom(32) for _ in range(padded - len(heads)))])
        newest_us = max(logs.time_us(log) for log in logs.names())
        self._keep(
            "operator", self._note(Checkpoint(f"{self._origin}/operator", len(heads), root_of(heads), newest_us))
        )

    def _note(self, checkpoint: Checkpoint) -> str:
        return sign(checkpoint, self._origin, self._public_key, self._key)

    def _keep(self, log: str, note: str) -> None:
        """Add a line, whole or not at all."""
        descriptor = os.open(self._path(log), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            torn = end and os.pread(descriptor, 1, end - 1) != b"\n"  # by a crash
            try:
                write_all(descriptor, (b"\n" if torn else b"") + json.dumps(note).encode() + b"\n")
                os.fdatasync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def _path(self, log: str) -> Path:
        return self._folder / f"{log}.jsonl"


def _secret(path: Path) -> bytes:
    if not path.exists():
        write_durably(path, os.urandom(32))
    return path.read_bytes()


def _note_of(line: bytes) -> str | None:
    """Return the note of a kept line, or None for what a crash left of one."""
    try:
        note = json.loads(line)
        parse_note(note)
    except (ValueError, TypeError, AttributeError, Malformed):
        return None
    return str(note)
