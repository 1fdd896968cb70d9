"""All logs of one origin: a record becomes a sealed leaf at the end of its tenant's log, or nothing happens.

Synchronous; the writer process calls it between two turns of its loop. The journal is the truth; trees and `state` are
mended from it. Invariant: nothing of one log depends on another, and no record's failure is another's.
Source: ADR-0006.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.decision.action import ActionType
from partywall.decision.record import Phase, Record, Result
from partywall.durable import write_durably
from partywall.errors import Malformed, NotFound, PartywallError, Unavailable
from partywall.ledger.activity import CLASS_CODES, Activity, PromptKey, decode_activity, encode_activity, type_uid
from partywall.ledger.journal import LEAF_LIMIT_BYTES, Journal
from partywall.ledger.leaf import NONCE_BYTES, Header, leaf_hash, open_leaf, parse_header, seal
from partywall.ledger.reserve import Reserve
from partywall.ledger.tree import Damaged, Tree
from partywall.wire.ids import ActId, TenantId

PURPOSE: Final = "ledger"
TREE_LIMIT: Final = 256
CIPHER_LIMIT: Final = 4096
SWEEP_LIMIT: Final = 50


class KeyStore(Protocol):
    """What of the `Keys` port is needed here, without a loop."""

    def data_key_now(self, tenant: TenantId, purpose: str, version: int | None = None) -> tuple[int, bytes]: ...


class OpenIntent(msgspec.Struct, array_like=True):
    """An intent without an outcome yet: where its leaf lies, since when, and of which process (0: nobody knows)."""

    log: TenantId
    act: ActId
    place: int
    since_s: float
    origin: int = 0


class _LogState(msgspec.Struct, array_like=True):
    """root: of the tree when its files were last written, to know them again."""

    size: int
    time_us: int
    root: bytes | None = None


class _State(msgspec.Struct, array_like=True):
    place: int
    logs: dict[str, _LogState]
    open: list[OpenIntent]


class _Sealer(msgspec.Struct):
    version: int
    cipher: AESGCM
    prompt_key: PromptKey


class _Head(msgspec.Struct):
    """The end of one log while a batch is put together."""

    tree: Tree
    sealer: _Sealer
    size: int
    time_us: int


class _Entry(msgspec.Struct):
    record: Record
    head: _Head
    leaf: bytes
    origin: int


class Logs:
    """folder: `Home.ledger`. clock: Unix seconds."""

    def __init__(
        self, folder: Path, keys: KeyStore, *, reserve_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._trees_folder = folder / "trees"
        self._trees_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._state_path = folder / "state"
        self._keys = keys
        self._clock = clock
        self._journal = Journal(folder / "journal")
        self._reserve = Reserve(folder / "reserve", reserve_bytes)
        self._trees: OrderedDict[str, Tree] = OrderedDict()
        self._sealers: OrderedDict[str, _Sealer] = OrderedDict()
        self._logs: dict[str, _LogState] = {}
        self.open_intents: dict[tuple[TenantId, ActId], OpenIntent] = {}
        self._recover()

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record], *, durable: bool) -> None:
        """Write records, in order. Raises: what `append_each` says of the first that was refused."""
        refused = self.append_each(records, durable=durable)
        if refused:
            raise refused[min(refused)]

    def append_each(
        self, records: Sequence[Record], *, durable: bool, origins: Sequence[int] | None = None
    ) -> dict[int, PartywallError]:
        """Seal and write records, in order; return by position why some were refused, the others being written.

        origins: by position, the process that a record came from, where it is known (`close_of`).
        Refusals: NotFound (the log's key was destroyed), Malformed, Unavailable. On a full disk only outcomes are
        still taken: what was kept free for them is given to them and to nothing else.
        """
        refused: dict[int, PartywallError] = {}
        taken = self._with_reserve(records, refused)
        while taken:
            batch = self._sealed(records, taken, refused, origins)
            taken = [position for position in taken if position not in refused]
            try:
                self._write(batch, durable=durable)
                break
            except Unavailable as error:
                outcomes = [position for position in taken if records[position].phase is Phase.OUTCOME]
                if error.code != "ledger-full" or (len(outcomes) == len(taken) and not self._reserve.release()):
                    outcomes = []
                refused.update((position, error) for position in taken if position not in outcomes)
                taken = outcomes
        self._put_away()
        return refused

    def sweep(self, older_than_s: float, *, region: str) -> int:
        """Close intents that have been open for so long as `unknown`, some dozens a call; return how many."""
        horizon_s = self._clock() - older_than_s
        old = [intent for intent in self.open_intents.values() if intent.since_s < horizon_s][:SWEEP_LIMIT]
        return self._close(old, region, "no-outcome")

    def close_of(self, origin: int, *, region: str) -> Iterator[int]:
        """Close the intents of a process that is gone as `unknown`, some dozens a step; yield how many were."""
        left = [intent for intent in self.open_intents.values() if intent.origin == origin]
        for start in range(0, len(left), SWEEP_LIMIT):
            chunk = left[start : start + SWEEP_LIMIT]
            still = [intent for intent in chunk if (intent.log, intent.act) in self.open_intents]
            yield self._close(still, region, "worker-gone")

    def _close(self, intents: Sequence[OpenIntent], region: str, reason: str) -> int:
        records: list[Record] = []
        for intent in intents:
            try:
                records.append(self._unknown(intent, region, reason))
            except NotFound:
                self.open_intents.pop((intent.log, intent.act), None)  # its log was shredded
            except PartywallError:  # damaged: it stays open, and the others are closed
                key = (intent.log, intent.act)
                self.open_intents[key] = self.open_intents.pop(key)
        return len(records) - len(self.append_each(records, durable=True))

    def sync(self) -> None:
        """Have every leaf on disk. Raises: Unavailable."""
        self._journal.sync()

    def flush_each(self) -> Iterator[None]:
        """Write one tree a step, so that a `flush` right after has little left. Raises: OSError."""
        for log, tree in list(self._trees.items()):
            if self._trees.get(log) is tree:  # not put away since
                self._write_tree(log, tree)
                yield

    def flush(self) -> None:
        """Write the trees and the state, so that the next start scans little. Raises: OSError; Unavailable."""
        self._journal.sync()
        for log, tree in self._trees.items():
            self._write_tree(log, tree)
        state = _State(self._journal.place, self._logs, list(self.open_intents.values()))
        write_durably(self._state_path, msgspec.msgpack.encode(state))

    def close(self) -> None:
        """Flush where that is possible, and close: the next start mends what could not be written."""
        with contextlib.suppress(OSError, Unavailable):
            self.flush()
        with contextlib.suppress(OSError, Unavailable):
            self._journal.close()
        self._reserve.close()

    @property
    def is_failed(self) -> bool:
        """Whether a sync failed: nothing is appended any more, and only a new process can look what the disk holds."""
        return self._journal.is_failed

    # --- reading ------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return every log."""
        return list(self._logs)

    def size(self, log: str) -> int:
        """Return the number of leaves of a log."""
        state = self._logs.get(log)
        return 0 if state is None else state.size

    def time_us(self, log: str) -> int:
        """Return the time of a log's newest leaf."""
        state = self._logs.get(log)
        return 0 if state is None else state.time_us

    def root(self, log: str) -> bytes:
        """Return a log's root now: of a tree that was put away, as it was written down then."""
        state = self._logs.get(log)
        if log not in self._trees and state is not None and state.root is not None:
            return state.root
        return self._tree(log).frontier.root()

    def tree(self, log: str) -> Tree:
        """Return a log's tree, for proofs."""
        return self._tree(log)

    def leaves(self, log: str, start: int, stop: int, limit_bytes: int | None = None) -> list[bytes]:
        """Return raw leaves from start to stop or the end, or fewer: as many as limit_bytes take, but at least one."""
        stop = min(stop, self.size(log))
        if start >= stop:
            return []
        taken: list[bytes] = []
        taken_bytes = 0
        for place in self._places(log, start, stop):
            leaf = self._journal.read(place)
            taken_bytes += len(leaf)
            if taken and limit_bytes is not None and taken_bytes > limit_bytes:
                break
            taken.append(leaf)
        return taken

    def subtrees(self, log: str, level: int, start: int, stop: int) -> list[bytes]:
        """Return the hashes of complete subtrees of 2**level leaves, as `Tree.subtrees`."""
        try:
            return self._tree(log).subtrees(level, start, stop)
        except Damaged:
            return self._mended(log).subtrees(level, start, stop)

    def newest_key(self, log: str) -> tuple[int, bytes]:
        """Return (version, data key) of a log that has leaves. Raises: NotFound when it was destroyed."""
        return self._keys.data_key_now(TenantId(log), PURPOSE)

    def open(self, log: str, leaf: bytes) -> Activity:
        """Return what a leaf says. Raises: NotFound when its key was destroyed; Unavailable when it is damaged."""
        _version, key = self._keys.data_key_now(TenantId(log), PURPOSE, parse_header(leaf).key_version)
        try:
            return decode_activity(open_leaf(AESGCM(key), log, leaf))
        except (InvalidTag, Malformed, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unavailable("a leaf on disk is damaged", code="ledger-damaged") from error

    def keys(self, log: str, versions: set[int]) -> dict[int, bytes]:
        """Return the data keys of these versions, for the tenant's own export."""
        return {version: self._keys.data_key_now(TenantId(log), PURPOSE, version)[1] for version in versions}

    # --- inside -------------------------------------------------------------------------------------------------------

    def _with_reserve(self, records: Sequence[Record], refused: dict[int, PartywallError]) -> list[int]:
        """Return which records may be written: no intent without room for its outcome."""
        everything = list(range(len(records)))
        opening = [position for position in everything if records[position].phase is Phase.INTENT]
        if not opening:
            return everything
        try:
            self._reserve.require(len(self.open_intents) + len(opening))
        except Unavailable as error:
            refused.update(dict.fromkeys(opening, error))
            return [position for position in everything if position not in refused]
        return everything

    def _sealed(
        self,
        records: Sequence[Record],
        taken: list[int],
        refused: dict[int, PartywallError],
        origins: Sequence[int] | None,
    ) -> list[_Entry]:
        """Return the leaves of these records; those that cannot become one are refused.

        All that can fail for one log fails here, before anything is written.
        """
        heads: dict[str, _Head] = {}
        entries: list[_Entry] = []
        nonces = os.urandom(NONCE_BYTES * len(taken))
        now_us = int(self._clock() * 1_000_000)
        for at, position in enumerate(taken):
            record = records[position]
            try:
                head = heads.get(record.log)
                if head is None:
                    head = heads[record.log] = self._head(record.log, now_us)
                nonce = nonces[at * NONCE_BYTES : (at + 1) * NONCE_BYTES]
                origin = 0 if origins is None else origins[position]
                entries.append(_Entry(record, head, self._seal(record, head, nonce), origin))
            except PartywallError as error:
                refused[position] = error
            except OSError as error:
                refused[position] = Unavailable("a log cannot be read", code="ledger-unreadable", private=str(error))
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                refused[position] = Malformed("a record that cannot be written", private=type(error).__name__)
            else:
                head.size += 1
        return entries

    def _head(self, log: TenantId, now_us: int) -> _Head:
        sealer = self._sealer(log)  # first: it refuses what is no log's name
        return _Head(self._tree(log), sealer, self.size(log), max(self.time_us(log), now_us))

    def _seal(self, record: Record, head: _Head, nonce: bytes) -> bytes:
        sealer = head.sealer
        content = encode_activity(record, sealer.prompt_key)
        if len(content) > LEAF_LIMIT_BYTES - 1024:
            raise Malformed("a record is too long", code="record-too-long")
        header = Header(
            head.size, head.time_us, type_uid(record.action), CLASS_CODES[record.action_class], sealer.version
        )
        return seal(sealer.cipher, record.log, header, nonce, content)

    def _write(self, batch: list[_Entry], *, durable: bool) -> None:
        """Write leaves and take them into their logs. Raises: Unavailable, and then nothing is."""
        if not batch:
            return
        places = self._journal.append([(entry.record.log.encode(), entry.leaf) for entry in batch], durable=durable)
        for entry, place in zip(batch, places, strict=True):
            record, head = entry.record, entry.head
            head.tree.append(place, leaf_hash(entry.leaf))
            state = self._logs.get(record.log)
            if state is None:
                state = self._logs[record.log] = _LogState(0, 0)
            state.size, state.time_us = head.tree.size, head.time_us
            self._track(record, place, entry.origin)

    def _track(self, record: Record, place: int, origin: int) -> None:
        key = (record.log, record.act)
        if record.phase is Phase.INTENT:
            self.open_intents[key] = OpenIntent(*key, place, self._clock(), origin)
        elif record.phase is Phase.OUTCOME:
            self.open_intents.pop(key, None)

    def _unknown(self, intent: OpenIntent, region: str, reason: str) -> Record:
        activity = self.open(intent.log, self._journal.read(intent.place))
        return Record(
            phase=Phase.OUTCOME,
            log=intent.log,
            act=intent.act,
            time_s=self._clock(),
            action=ActionType(activity.action),
            action_class=next(class_ for class_ in CLASS_CODES if class_.value == activity.action_class),
            resource=activity.resource,
            principal_kind="system",
            principal_id="system:sweeper",
            trace_id=activity.trace_id,
            region=region,
            reason=reason,
            policy_revision=activity.policy_revision,
            result=Result.UNKNOWN,
        )

    def _sealer(self, log: TenantId) -> _Sealer:
        sealer = self._sealers.get(log)
        if sealer is None:
            version, key = self._keys.data_key_now(log, PURPOSE)
            sealer = _Sealer(version, AESGCM(key), PromptKey(key))
            self._sealers[log] = sealer
            if len(self._sealers) > CIPHER_LIMIT:
                self._sealers.popitem(last=False)
        return sealer

    def forget_keys(self, log: TenantId) -> None:
        """Drop what is cached of a log's key, after a rotation or a shredding."""
        self._sealers.pop(log, None)

    def _tree(self, log: str) -> Tree:
        tree = self._trees.get(log)
        if tree is None:
            tree = self._trees[log] = self._load_tree(log)
        else:
            self._trees.move_to_end(log)
        return tree

    def _load_tree(self, log: str) -> Tree:
        state = self._logs.get(log) or _LogState(0, 0)
        try:
            return Tree(self._trees_folder, log, state.size, state.root)
        except Damaged:
            return self._rebuilt(log, state)

    def _rebuilt(self, log: str, state: _LogState) -> Tree:
        """Return a log's tree, made anew from the journal. Raises: Unavailable when that has other leaves."""
        tree = Tree(self._trees_folder, log, 0)
        for place, name, leaf in self._journal.scan(0) if state.size else ():
            if name == log.encode():
                tree.append(place, leaf_hash(leaf))
                if tree.size == state.size:
                    break
        if tree.size != state.size or (state.root is not None and tree.frontier.root() != state.root):
            raise Unavailable(f"the journal misses leaves of {log}", code="ledger-damaged")
        return tree

    def _places(self, log: str, start: int, stop: int) -> list[int]:
        try:
            return self._tree(log).places(start, stop)
        except Damaged:
            return self._mended(log).places(start, stop)

    def _mended(self, log: str) -> Tree:
        """Return a log's tree, made anew because its files were damaged after it was loaded."""
        tree = self._rebuilt(log, _LogState(self.size(log), 0, self._tree(log).frontier.root()))
        self._trees[log] = tree
        return tree

    def _put_away(self) -> None:
        """Keep the trees that were used last; write down the others."""
        while len(self._trees) > TREE_LIMIT:
            log, tree = next(iter(self._trees.items()))
            try:
                self._write_tree(log, tree)
            except OSError:
                return  # a full disk: what is not written stays here
            del self._trees[log]

    def _write_tree(self, log: str, tree: Tree) -> None:
        tree.flush()
        if log in self._logs:
            self._logs[log].root = tree.frontier.root()

    def _recover(self) -> None:
        """Take the state, then replay what the journal holds beyond it."""
        state = _State(0, {}, [])
        if self._state_path.exists():
            try:
                state = msgspec.msgpack.decode(self._state_path.read_bytes(), type=_State)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise Unavailable(
                    "the ledger's state file is damaged: remove it to rebuild", code="ledger-damaged"
                ) from error
        self._logs = state.logs
        # Of another run of this process: what was number 4711 then may be anybody now.
        self.open_intents = {
            (intent.log, intent.act): msgspec.structs.replace(intent, origin=0) for intent in state.open
        }
        replayed = 0
        for place, log_bytes, leaf in self._journal.scan(state.place, mend=True):
            log = log_bytes.decode()
            header = parse_header(leaf)
            known = self._logs.setdefault(log, _LogState(0, 0))
            if header.seq != known.size:
                raise Unavailable(f"the journal misses a leaf of {log}", code="ledger-damaged")
            self._tree(log).append(place, leaf_hash(leaf))
            known.size, known.time_us = header.seq + 1, header.time_us
            self._replay_phase(log, place, leaf, header.time_us / 1_000_000)
            replayed += 1
            self._put_away()
        if replayed:
            with contextlib.suppress(OSError):  # a full disk must not stop the start
                self.flush()

    def _replay_phase(self, log: str, place: int, leaf: bytes, time_s: float) -> None:
        try:
            activity = self.open(log, leaf)
        except NotFound:
            return  # shredded: nothing to close
        key = (TenantId(log), ActId(activity.act))
        if activity.phase == Phase.INTENT.value:
            self.open_intents[key] = OpenIntent(*key, place, time_s)
        elif activity.phase == Phase.OUTCOME.value:
            self.open_intents.pop(key, None)
