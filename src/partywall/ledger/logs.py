"""All logs of one origin: a record becomes a sealed leaf at the end of its tenant's log, or nothing happens.

Synchronous; the writer process calls it between two turns of its loop. The journal is the truth; trees and `state` are
mended from it at start. Invariant: nothing of one log depends on another. Source: ADR-0006.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from partywall.decision.action import ActionType
from partywall.decision.record import Phase, Record, Result
from partywall.durable import write_durably
from partywall.errors import NotFound, PartywallError, Unavailable
from partywall.ledger.activity import CLASS_CODES, Activity, decode_activity, encode_activity, prompt_key_of, type_uid
from partywall.ledger.journal import LEAF_LIMIT_BYTES, Journal
from partywall.ledger.leaf import NONCE_BYTES, Header, leaf_hash, open_leaf, parse_header, seal
from partywall.ledger.reserve import Reserve
from partywall.ledger.tree import Tree
from partywall.wire.ids import ActId, TenantId

PURPOSE: Final = "ledger"
TREE_LIMIT: Final = 256
CIPHER_LIMIT: Final = 4096


class KeyStore(Protocol):
    """What of the `Keys` port is needed here, without a loop."""

    def data_key_now(self, tenant: TenantId, purpose: str, version: int | None = None) -> tuple[int, bytes]: ...


class OpenIntent(msgspec.Struct, array_like=True):
    """An intent without an outcome yet: where its leaf lies, and since when."""

    log: TenantId
    act: ActId
    place: int
    since_s: float


class _LogState(msgspec.Struct, array_like=True):
    size: int
    time_us: int


class _State(msgspec.Struct, array_like=True):
    place: int
    logs: dict[str, _LogState]
    open: list[OpenIntent]


class _Sealer(msgspec.Struct):
    version: int
    cipher: AESGCM
    prompt_key: bytes


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
        self.open_intents: dict[ActId, OpenIntent] = {}
        self._recover()

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record], *, durable: bool) -> None:
        """Seal and write records, in order, all or none. Raises: Unavailable; NotFound when a key was destroyed."""
        opening = sum(record.phase is Phase.INTENT for record in records)
        if opening:
            self._reserve.require(len(self.open_intents) + opening)
        sizes: dict[str, _LogState] = {}
        entries: list[tuple[bytes, bytes]] = []
        nonces = os.urandom(NONCE_BYTES * len(records))
        now_us = int(self._clock() * 1_000_000)
        for index, record in enumerate(records):
            state = sizes.get(record.log)
            if state is None:
                known = self._logs.get(record.log)
                state = _LogState(0, 0) if known is None else _LogState(known.size, known.time_us)
                sizes[record.log] = state
            state.time_us = max(state.time_us, now_us)
            nonce = nonces[index * NONCE_BYTES : (index + 1) * NONCE_BYTES]
            entries.append((record.log.encode(), self._seal(record, state, nonce)))
            state.size += 1
        places = self._write(entries, durable=durable, may_release=not opening)
        for record, place, (_log, leaf) in zip(records, places, entries, strict=True):
            tree = self._tree(record.log)
            tree.append(place, leaf_hash(leaf))
            self._logs[record.log] = _LogState(tree.size, sizes[record.log].time_us)
            self._track(record.phase, record.act, record.log, place)

    def sweep(self, older_than_s: float, *, region: str) -> int:
        """Close intents that have been open for so long as `unknown`; return how many."""
        horizon_s = self._clock() - older_than_s
        closed = 0
        for intent in [intent for intent in self.open_intents.values() if intent.since_s < horizon_s]:
            try:
                self.append([self._unknown(intent, region)], durable=True)
            except NotFound:
                self.open_intents.pop(intent.act, None)  # its log was shredded
            closed += 1
        return closed

    def flush(self) -> None:
        """Write the trees and the state, so that the next start scans little."""
        self._journal.sync()
        for tree in self._trees.values():
            tree.flush()
        state = _State(self._journal.place, self._logs, list(self.open_intents.values()))
        write_durably(self._state_path, msgspec.msgpack.encode(state))

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._journal.close()
        self._reserve.close()

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
        """Return a log's root now."""
        return self._tree(log).frontier.root()

    def tree(self, log: str) -> Tree:
        """Return a log's tree, for proofs."""
        return self._tree(log)

    def leaves(self, log: str, start: int, stop: int) -> list[bytes]:
        """Return raw leaves [start, stop)."""
        return [self._journal.read(place) for place in self._tree(log).places(start, min(stop, self.size(log)))]

    def open(self, log: str, leaf: bytes) -> Activity:
        """Return what a leaf says. Raises: NotFound when its key was destroyed."""
        _version, key = self._keys.data_key_now(TenantId(log), PURPOSE, parse_header(leaf).key_version)
        return decode_activity(open_leaf(AESGCM(key), log, leaf))

    def keys(self, log: str, versions: set[int]) -> dict[int, bytes]:
        """Return the data keys of these versions, for the tenant's own export."""
        return {version: self._keys.data_key_now(TenantId(log), PURPOSE, version)[1] for version in versions}

    # --- inside -------------------------------------------------------------------------------------------------------

    def _seal(self, record: Record, state: _LogState, nonce: bytes) -> bytes:
        sealer = self._sealer(record.log)
        content = encode_activity(record, sealer.prompt_key)
        if len(content) > LEAF_LIMIT_BYTES - 1024:
            raise Unavailable("a record is too long", code="record-too-long")
        header = Header(
            state.size, state.time_us, type_uid(record.action), CLASS_CODES[record.action_class], sealer.version
        )
        return seal(sealer.cipher, record.log, header, nonce, content)

    def _write(self, entries: list[tuple[bytes, bytes]], *, durable: bool, may_release: bool) -> list[int]:
        while True:
            try:
                return self._journal.append(entries, durable=durable)
            except PartywallError as error:
                if error.code != "ledger-full" or not may_release or not self._reserve.release():
                    raise

    def _track(self, phase: Phase, act: ActId, log: TenantId, place: int) -> None:
        if phase is Phase.INTENT:
            self.open_intents[act] = OpenIntent(log, act, place, self._clock())
        elif phase is Phase.OUTCOME:
            self.open_intents.pop(act, None)

    def _unknown(self, intent: OpenIntent, region: str) -> Record:
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
            reason="no-outcome",
            policy_revision=activity.policy_revision,
            result=Result.UNKNOWN,
        )

    def _sealer(self, log: TenantId) -> _Sealer:
        sealer = self._sealers.get(log)
        if sealer is None:
            version, key = self._keys.data_key_now(log, PURPOSE)
            sealer = _Sealer(version, AESGCM(key), prompt_key_of(key))
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
            tree = Tree(self._trees_folder, log, self.size(log))
            self._trees[log] = tree
            if len(self._trees) > TREE_LIMIT:
                _name, oldest = self._trees.popitem(last=False)
                oldest.flush()
        else:
            self._trees.move_to_end(log)
        return tree

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
        self.open_intents = {intent.act: intent for intent in state.open}
        replayed = 0
        for place, log_bytes, leaf in self._journal.scan(state.place):
            log = log_bytes.decode()
            header = parse_header(leaf)
            known = self._logs.setdefault(log, _LogState(0, 0))
            if header.seq != known.size:
                raise Unavailable(f"the journal misses a leaf of {log}", code="ledger-damaged")
            self._tree(log).append(place, leaf_hash(leaf))
            known.size, known.time_us = header.seq + 1, header.time_us
            self._replay_phase(log, place, leaf, header.time_us / 1_000_000)
            replayed += 1
        if replayed:
            self.flush()

    def _replay_phase(self, log: str, place: int, leaf: bytes, time_s: float) -> None:
        try:
            activity = self.open(log, leaf)
        except NotFound:
            return  # shredded: nothing to close
        act = ActId(activity.act)
        if activity.phase == Phase.INTENT.value:
            self.open_intents[act] = OpenIntent(TenantId(log), act, place, time_s)
        elif activity.phase == Phase.OUTCOME.value:
            self.open_intents.pop(act, None)
