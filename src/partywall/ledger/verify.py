"""PURE. Offline verification of one log's archive: nobody needs to be trusted but the signer's key.

An archive is JSON lines: `{"archive": 1, origin, log, vkey, keys, checkpoints}`, then `{"leaf": base64}` in order.
Detected: a leaf edited, deleted, inserted, reordered or omitted, a log truncated, forked or rolled back in time, a
checkpoint of another key. Source: ADR-0006, attacks.md AU-1.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from partywall.errors import Malformed
from partywall.ledger.activity import Tie, decode_tie
from partywall.ledger.checkpoint import Checkpoint, Verifier, key_hash, parse_note, parse_vkey
from partywall.ledger.leaf import Cipher, context_of, leaf_hash, parse_header, unseal
from partywall.ledger.merkle import Frontier

ARCHIVE: Final = 1
FINDINGS_LIMIT: Final = 100
UNKNOWN: Final = "unknown"
_header = msgspec.json.Decoder(dict[str, Any])


class _Leaf(msgspec.Struct, gc=False):
    leaf: bytes


_leaf = msgspec.json.Decoder(_Leaf)


class Finding(msgspec.Struct, frozen=True):
    """What does not hold. kind: edited | sequence | time | checkpoint | truncated | forked | malformed | key."""

    kind: str
    where: str
    detail: str


class Report(msgspec.Struct):
    """The result. opened: leaves whose content was readable; unresolved: intents without an outcome.

    proven: leaves of an extract that stand in the signed log, each by a proof of its own. An extract is not `complete`:
    what it leaves out, nobody can tell.
    """

    log: str = ""
    origin: str = ""
    vkey: str = ""
    leaves: int = 0
    opened: int = 0
    checkpoints: int = 0
    covered: int = 0
    denials: int = 0
    proven: int = 0
    complete: bool = True
    unresolved: list[str] = []
    findings: list[Finding] = []

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def find(self, kind: str, where: str, detail: str) -> None:
        """Add a finding; after a hundred, only the first hundred are kept."""
        if len(self.findings) < FINDINGS_LIMIT:
            self.findings.append(Finding(kind, where, detail))


class Primitives(msgspec.Struct, frozen=True):
    """Cryptography from outside this zone. cipher: AES-256-GCM of a key; verifier: Ed25519 of a raw public key."""

    cipher: Callable[[bytes], Cipher]
    verifier: Callable[[bytes], Verifier]


class _Verification:
    def __init__(self, primitives: Primitives, report: Report, vkey: str | None, older: list[str]) -> None:
        self._primitives = primitives
        self._report = report
        self._given_vkey = vkey
        self._frontier = Frontier()
        self._time_us = 0
        self._ciphers: dict[int, Cipher] = {}
        self._notes: list[tuple[str, str]] = [(note, "given checkpoint") for note in older]
        self._roots: dict[int, bytes] = {}
        self._wanted: set[int] = set()
        self._context = b""
        self._open: dict[str, None] = {}
        self._unknown: set[str] = set()

    def take_header(self, head: dict[str, Any]) -> None:
        report = self._report
        if head.get("archive") != ARCHIVE:
            raise Malformed("not an archive of this version", code="bad-archive")
        report.log, report.origin = str(head.get("log")), str(head.get("origin"))
        self._context = context_of(report.log)
        report.vkey = self._given_vkey or str(head.get("vkey"))
        if self._given_vkey is not None and self._given_vkey.strip() != head.get("vkey"):
            report.find("key", "header", "the archive names another key than the one you gave")
        for version, encoded in dict(head.get("keys") or {}).items():
            self._ciphers[int(version)] = self._primitives.cipher(unb64(encoded))
        self._check_names()
        for note in head.get("checkpoints") or []:
            self._notes.append((str(note), "checkpoint"))
        for note, _where in self._notes:
            try:
                self._wanted.add(parse_note(note)[0].size)
            except Malformed:
                continue

    def take_leaf(self, leaf: bytes) -> None:
        report = self._report
        number = report.leaves
        report.leaves += 1
        self._frontier.push(leaf_hash(leaf))
        if report.leaves in self._wanted:
            self._roots[report.leaves] = self._frontier.root()
        try:
            header = parse_header(leaf)
        except Malformed as error:
            report.find("edited", f"leaf {number}", error.public)
            return
        if header.seq != number:
            report.find(
                "sequence", f"leaf {number}", f"says it is number {header.seq}: leaves are missing, added or moved"
            )
        if header.time_us < self._time_us:
            report.find("time", f"leaf {number}", "is older than the leaf before it")
        else:
            self._time_us = header.time_us
        cipher = self._ciphers.get(header.key_version)
        if cipher is not None:
            self._open_leaf(cipher, leaf, number)

    def take_unreadable(self) -> None:
        """Count a line that is not a leaf: what follows it is then not where it should be."""
        self._report.find("malformed", f"line after leaf {self._report.leaves - 1}", "cannot be read as a leaf")

    def finish(self) -> None:
        report = self._report
        for note, where in self._notes:
            self._check_note(note, where)
        if not self._notes:
            report.find("checkpoint", "archive", "holds no signed checkpoint: nothing vouches for its end")
        elif report.leaves > report.covered:
            report.find("checkpoint", "archive", f"{report.leaves - report.covered} leaves are under no checkpoint")
        report.unresolved = list(self._open)

    def _open_leaf(self, cipher: Cipher, leaf: bytes, number: int) -> None:
        try:
            tie = decode_tie(unseal(cipher, self._context, leaf))
        except Exception:  # the cipher's own error type is not known in this zone
            detail = "does not open under its log's key: changed, or of another log"
            self._report.find("edited", f"leaf {number}", detail)
            return
        self._report.opened += 1
        self._follow(tie, number)

    def _follow(self, tie: Tie, number: int) -> None:
        report = self._report
        if tie.tenant != report.log:
            report.find("edited", f"leaf {number}", "is another tenant's")
        if tie.phase == "intent":
            self._open[tie.act] = None
        elif tie.phase == "outcome":
            if tie.act in self._open:
                del self._open[tie.act]
            elif tie.act not in self._unknown:
                report.find("sequence", f"leaf {number}", "is an outcome without its intent")
            if tie.result == UNKNOWN:  # by the sweeper: the one that was waited for may still come
                self._unknown.add(tie.act)
            else:
                self._unknown.discard(tie.act)
        else:
            report.denials += 1

    def _check_names(self) -> None:
        """The signer's name, the origin and the log must be of one piece: `<name>/<log>`."""
        report = self._report
        if report.origin != f"{report.vkey.partition('+')[0]}/{report.log}":
            report.find("checkpoint", "header", "names an origin that is not this log's under this key")

    def _check_note(self, note: str, where: str) -> None:
        report = self._report
        try:
            checkpoint = signed_checkpoint(note, report.vkey, self._primitives)
        except Malformed as error:
            report.find("checkpoint", where, error.public)
            return
        report.checkpoints += 1
        self._check_root(checkpoint, where)

    def _check_root(self, checkpoint: Checkpoint, where: str) -> None:
        report = self._report
        if checkpoint.origin != report.origin:
            report.find("checkpoint", where, "is of another log")
        elif checkpoint.size > report.leaves:
            report.find("truncated", where, f"covers {checkpoint.size} leaves; the archive has {report.leaves}")
        elif checkpoint.size and self._roots.get(checkpoint.size) != checkpoint.root:
            report.find("forked", where, f"signs another content of the first {checkpoint.size} leaves")
        else:
            report.covered = max(report.covered, checkpoint.size)


def signed_checkpoint(note: str, vkey: str, primitives: Primitives) -> Checkpoint:
    """Return the checkpoint of a note that the key of vkey signed. Raises: Malformed, saying what is wrong with it."""
    checkpoint, name, hash_, signature = parse_note(note)
    vkey_name, public_key = parse_vkey(vkey)
    if name != vkey_name or hash_ != key_hash(name, public_key):
        raise Malformed("was signed with another key", code="bad-checkpoint")
    try:
        primitives.verifier(public_key).verify(signature, checkpoint.body().encode())
    except Exception as error:  # the verifier's own error type is not known in this zone
        raise Malformed("has a wrong signature", code="bad-checkpoint") from error
    return checkpoint


def verify_archive(
    lines: Iterable[bytes], primitives: Primitives, *, vkey: str | None = None, older: Iterable[str] = ()
) -> Report:
    """Return the report of an archive. lines: as bytes, the header first. vkey: as the operator published it.

    older: checkpoints kept from earlier, which must agree. Raises: Malformed when it is not an archive at all.
    """
    report = Report(unresolved=[], findings=[])
    work = _Verification(primitives, report, vkey, list(older))
    started = False
    for line in lines:
        try:
            if started:
                work.take_leaf(_leaf.decode(line).leaf)
            else:
                work.take_header(_header.decode(line))
                started = True
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
            if not started:
                raise Malformed("not an archive", code="bad-archive") from error
            work.take_unreadable()
    if not started:
        raise Malformed("an empty archive", code="bad-archive")
    work.finish()
    return report


def unb64(text: object) -> bytes:
    """Return what base64 text says. Raises: Malformed."""
    if not isinstance(text, str):
        raise Malformed("not base64", code="bad-base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("not base64", code="bad-base64") from error
