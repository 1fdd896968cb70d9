"""PURE. Offline verification of a filtered export: each leaf that is there is proven; that none is missing is not.

An extract is JSON lines: `{"extract": 1, origin, log, vkey, keys, checkpoint, search}`, then `{seq, leaf, proof}` each.
Detected: a leaf edited, made up, of another log, at another number, or twice. Source: RFC 9162, ADR-0006 "Search".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from partywall.errors import Malformed
from partywall.ledger.activity import decode_tie
from partywall.ledger.checkpoint import Checkpoint
from partywall.ledger.leaf import Cipher, Header, context_of, leaf_hash, parse_header, unseal
from partywall.ledger.merkle import HASH_BYTES, verify_inclusion
from partywall.ledger.verify import Primitives, Report, signed_checkpoint, unb64, verify_archive

EXTRACT: Final = 1
_header = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Proven(msgspec.Struct, gc=False):
    seq: int
    leaf: bytes
    proof: list[bytes]


_proven = msgspec.json.Decoder(_Proven)


class _Verification:
    def __init__(self, head: dict[str, Any], primitives: Primitives, report: Report) -> None:
        self._primitives = primitives
        self._report = report
        self._ciphers: dict[int, Cipher] = {
            int(version): primitives.cipher(unb64(key)) for version, key in dict(head.get("keys") or {}).items()
        }
        self._context = context_of(report.log)
        self._checkpoint = self._checked(str(head.get("checkpoint")))
        self._before: Header | None = None
        self._rises: bool | None = None

    def take(self, line: bytes) -> None:
        report, where = self._report, f"line {self._report.leaves + 2}"
        report.leaves += 1
        try:
            said = _proven.decode(line)
            header = parse_header(said.leaf)
        except _UNREADABLE:
            report.find("malformed", where, "cannot be read as a leaf with its proof")
            return
        except Malformed as error:
            report.find("edited", where, error.public)
            return
        if header.seq != said.seq:
            report.find("sequence", where, f"is called number {said.seq} and says it is number {header.seq}")
        self._check_order(header, where)
        if self._is_in_log(said):
            report.proven += 1
        elif self._checkpoint is not None:
            report.find("edited", where, "its proof does not lead to the signed log: changed, made up or moved")
        self._open(said.leaf, header, where)

    def _checked(self, note: str) -> Checkpoint | None:
        """Return the checkpoint that everything must lead to; without one, nothing is proven."""
        report = self._report
        try:
            checkpoint = signed_checkpoint(note, report.vkey, self._primitives)
        except Malformed as error:
            report.find("checkpoint", "checkpoint", error.public)
            return None
        if checkpoint.origin != report.origin or report.origin != f"{report.vkey.partition('+')[0]}/{report.log}":
            report.find("checkpoint", "checkpoint", "is of another log")
            return None
        report.checkpoints, report.covered = 1, checkpoint.size
        return checkpoint

    def agree(self, note: str) -> None:
        """Compare with a checkpoint that was kept: an extract can only be compared with one of its own size."""
        try:
            kept = signed_checkpoint(note, self._report.vkey, self._primitives)
        except Malformed as error:
            self._report.find("checkpoint", "given checkpoint", error.public)
            return
        if self._checkpoint is None or kept.size != self._checkpoint.size:
            detail = "covers another size: only a whole export can be compared with it"
            self._report.find("checkpoint", "given checkpoint", detail)
        elif (kept.origin, kept.root) != (self._checkpoint.origin, self._checkpoint.root):
            self._report.find("forked", "given checkpoint", "signs another content of as many leaves")

    def _is_in_log(self, said: _Proven) -> bool:
        checkpoint = self._checkpoint
        if checkpoint is None or any(len(step) != HASH_BYTES for step in said.proof):
            return False
        return verify_inclusion(leaf_hash(said.leaf), said.seq, checkpoint.size, said.proof, checkpoint.root)

    def _check_order(self, header: Header, where: str) -> None:
        """All rise or all fall, and times with them: a leaf given twice would count twice."""
        before, self._before = self._before, header
        if before is None:
            return
        rises = header.seq > before.seq
        if header.seq == before.seq or (self._rises is not None and rises != self._rises):
            self._report.find("sequence", where, "is there twice, or out of order")
        self._rises = rises
        earlier, later = (before, header) if rises else (header, before)
        if later.time_us < earlier.time_us:
            self._report.find("time", where, "has a time that does not fit its number")

    def _open(self, leaf: bytes, header: Header, where: str) -> None:
        cipher = self._ciphers.get(header.key_version)
        if cipher is None:
            return
        try:
            tie = decode_tie(unseal(cipher, self._context, leaf))
        except Exception:  # the cipher's own error type is not known in this zone
            self._report.find("edited", where, "does not open under its log's key: changed, or of another log")
            return
        self._report.opened += 1
        if tie.tenant != self._report.log:
            self._report.find("edited", where, "is another tenant's")
        if tie.phase == "denial":
            self._report.denials += 1


def verify_export(
    lines: Iterable[bytes], primitives: Primitives, *, vkey: str | None = None, older: Iterable[str] = ()
) -> Report:
    """Return the report of an archive or an extract, whichever it says it is; see `verify_archive`.

    Raises: Malformed when it is neither.
    """
    rest = iter(lines)
    first = next(rest, None)
    try:
        head = {} if first is None else _header.decode(first)
    except (*_UNREADABLE, ValueError):
        head = {}
    if "extract" not in head:
        return verify_archive(
            rest if first is None else itertools.chain((first,), rest), primitives, vkey=vkey, older=older
        )
    if head["extract"] != EXTRACT:
        raise Malformed("not an extract of this version", code="bad-archive")
    report = Report(
        log=str(head.get("log")), origin=str(head.get("origin")), complete=False, unresolved=[], findings=[]
    )
    report.vkey = vkey or str(head.get("vkey"))
    if vkey is not None and vkey.strip() != head.get("vkey"):
        report.find("key", "header", "the extract names another key than the one you gave")
    try:
        work = _Verification(head, primitives, report)
    except (ValueError, TypeError) as error:
        raise Malformed("not an extract", code="bad-archive") from error
    for note in older:
        work.agree(note)
    for line in rest:
        work.take(line)
    return report
