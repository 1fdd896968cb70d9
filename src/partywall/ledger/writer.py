"""The ledger process: takes records from workers, writes them in groups, signs checkpoints, closes orphans.

All requests that arrived in one turn of the loop become one write and, when any of them asks for it, one fdatasync: the
more load, the larger the group. It talks to nobody and holds the logs' keys and the checkpoint key. Source: ADR-0006.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import hashlib
import itertools
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from partywall.decision.action import ActionType, parse_resource
from partywall.decision.record import Record
from partywall.errors import Bug, Malformed, NotFound, PartywallError, Unauthenticated, Unavailable
from partywall.ipc import Peer, Server, callers, encode_fault
from partywall.ledger.answers import Answers
from partywall.ledger.indexing import index_all
from partywall.ledger.jobs import LOOK_S, Departed, attempt, checkpoint_each, every, sweep_each
from partywall.ledger.leaf import parse_header
from partywall.ledger.logs import KeyStore, Logs
from partywall.ledger.messages import Append, Appended, LedgerRequest, Read, ReadQuery, ReadReply, Status, StatusReply
from partywall.ledger.search import Searcher
from partywall.ledger.witness import Witness
from partywall.settings import Home, Settings
from partywall.signing import PermitVerifier
from partywall.telemetry.log import Log
from partywall.wire.permit import SignedPermit

SHOW_LIMIT: Final = 1_000
EXPORT_LIMIT: Final = 20_000
PAGE_BYTES: Final = 1024 * 1024
STEP_LEAVES: Final = 32
STEP_BYTES: Final = 65_536
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(LedgerRequest)
_query = msgspec.json.Decoder(ReadQuery)
_json = msgspec.json.Encoder(order="deterministic").encode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class LedgerServer:
    """Answers the messages of `ledger/messages.py` over one socket. failed: called when the disk failed for good."""

    def __init__(
        self, logs: Logs, witness: Witness, home: Home, log: Log, *, boot: str, failed: Callable[[], None]
    ) -> None:
        self._logs = logs
        self._witness = witness
        self._home = home
        self._log = log
        self._boot = boot
        self._failed = failed
        self._verifier: PermitVerifier | None = None
        self._pending: list[tuple[Append, asyncio.Future[bytes], int]] = []
        self._reading = asyncio.Lock()
        self.commits = 0
        """Groups written so far: whoever works in the background looks whether anybody waits."""
        self.searcher = Searcher(home.ledger, logs, damaged=self._tell_damaged)
        self._answers = Answers(logs, witness, self.searcher, shown=self._shown)

    def handle(self, peer: int, bodies: Sequence[bytes]) -> Sequence[Awaitable[bytes]]:
        """Return a reply for each request; appends wait for the group they join."""
        pid = peer.pid if isinstance(peer, Peer) else 0
        return [self._answer(body, pid) for body in bodies]

    def _answer(self, body: bytes, pid: int) -> asyncio.Future[bytes]:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        try:
            request = _request.decode(body)
        except _UNREADABLE:
            future.set_exception(Malformed("not a ledger request"))
            return future
        if isinstance(request, Append):
            if not self._pending:
                asyncio.get_running_loop().call_soon(self._commit)
            self._pending.append((request, future, pid))
            return future
        return asyncio.ensure_future(self._tell(request))

    async def _tell(self, request: Read | Status) -> bytes:
        try:
            return _encode(self._status() if isinstance(request, Status) else await self._read(request))
        except PartywallError:
            raise
        except Exception as error:  # one reader's trouble must not cut the connection of all
            self._log.error("ledger.read-failed", error)
            raise Bug("the ledger failed") from error

    def _commit(self) -> None:
        """Write the group; each record is taken or refused by itself."""
        self.commits += 1
        pending, self._pending = self._pending, []
        durable = any(request.durable for request, _, _ in pending)
        records: list[Record] = [record for request, _, _ in pending for record in request.records]
        origins = [pid for request, _, pid in pending for _record in request.records]
        try:
            refused = self._logs.append_each(records, durable=durable, origins=origins)
        except Exception as error:  # whatever it was, the workers must hear no
            self._log.error("ledger.append-failed", error)
            for _, future, _ in pending:
                if not future.done():
                    future.set_exception(Bug("the ledger failed"))
            return
        if self._logs.is_failed:
            self._failed()
        start = 0
        for request, future, _pid in pending:
            count = len(request.records)
            if not future.done():
                future.set_result(_encode(_appended(refused, start, count)))
            start += count

    def _status(self) -> StatusReply:
        names = self._logs.names()
        free = shutil.disk_usage(self._home.ledger).free
        return StatusReply(self._boot, len(names), sum(self._logs.size(name) for name in names), free)

    async def _read(self, request: Read) -> ReadReply:
        """Read under a permit that names this log. Raises: Unauthenticated, Malformed, NotFound."""
        permit = self._gate().verify(request.permit, hashlib.sha256(request.payload).digest(), time.time())
        try:
            query = _query.decode(request.payload)
        except _UNREADABLE as error:
            raise Malformed("not a ledger query") from error
        self._require(permit, query)
        if query.start < 0 or query.limit < 1:
            raise Malformed("start and limit count from 0 and 1", code="bad-request")
        if query.mode == "show":
            return await self._show(query)
        if query.mode == "export":
            return await self._export(query)
        if query.mode == "checkpoint":
            return self._checkpoint(query)
        if query.mode in {"search", "extract"} and query.search is not None:
            answer = self._answers.search if query.mode == "search" else self._answers.extract
            return ReadReply(await self._stepped(answer(query.log, query.search)), None)
        raise Malformed("mode is show, export, checkpoint, search or extract", code="bad-request")

    def _require(self, permit: SignedPermit, query: ReadQuery) -> None:
        """Raises: Unauthenticated unless the permit is for reading that very log."""
        resource = parse_resource(permit.resource)
        if permit.action != ActionType.AUDIT_READ or resource.kind != "audit" or resource.tenant != query.log:
            raise Unauthenticated("a permit for something else", code="bad-permit")

    async def _page(self, query: ReadQuery, limit: int, form: Callable[[int, bytes], T]) -> list[T]:
        """Return what form makes of each (sequence number, leaf) of a page.

        One step of one reader a turn of the loop, in order of asking: whoever appends waits for no page of another.
        """
        page: list[T] = []
        at, stop, left_bytes = query.start, query.start + min(query.limit, limit), PAGE_BYTES
        while at < stop and left_bytes > 0:
            async with self._reading:
                leaves = self._logs.leaves(query.log, at, min(stop, at + STEP_LEAVES), min(STEP_BYTES, left_bytes))
                if not leaves:
                    break
                page += map(form, itertools.count(at), leaves)
                at, left_bytes = at + len(leaves), left_bytes - sum(map(len, leaves))
                await asyncio.sleep(0)
        return page

    async def _stepped(self, steps: Generator[None, None, T]) -> T:
        """Return what the steps come to: like a page, one of them a turn of the loop."""
        while True:
            async with self._reading:
                try:
                    next(steps)
                except StopIteration as end:
                    result: T = end.value
                    return result
                await asyncio.sleep(0)

    def _tell_damaged(self, log: str, page: int) -> None:
        self._log.warning("ledger.index-damaged", tenant=log, count=page)

    async def _show(self, query: ReadQuery) -> ReadReply:
        shown = await self._page(query, SHOW_LIMIT, lambda seq, leaf: self._shown(query.log, seq, leaf))
        following = self._following(query, len(shown))
        return ReadReply(
            _json({"leaves": shown, "next_start": following, "size": self._logs.size(query.log)}), following
        )

    def _shown(self, log: str, seq: int, leaf: bytes) -> msgspec.Raw:
        try:
            activity = msgspec.to_builtins(self._logs.open(log, leaf))
        except NotFound:
            activity = None
        return msgspec.Raw(_json({"seq": seq, "time_us": parse_header(leaf).time_us, "activity": activity}))

    async def _export(self, query: ReadQuery) -> ReadReply:
        versions: set[int] = set()

        def encode(_seq: int, leaf: bytes) -> str:
            versions.add(parse_header(leaf).key_version)
            return _b64(leaf)

        encoded = await self._page(query, EXPORT_LIMIT, encode)
        try:
            keys = {str(version): _b64(key) for version, key in self._logs.keys(query.log, versions).items()}
        except NotFound:
            keys = {}
        following = self._following(query, len(encoded))
        body = {
            "origin": self._witness.origin_of(query.log),
            "log": query.log,
            "vkey": self._witness.vkey,
            "start": query.start,
            "leaves": encoded,
            "keys": keys,
            "next_start": following,
            "checkpoints": self._signed(query.log) if following is None else [],
        }
        return ReadReply(_json(body), following)

    def _checkpoint(self, query: ReadQuery) -> ReadReply:
        if not self._logs.size(query.log):
            raise NotFound("this log is empty")
        note = self._witness.sign(self._logs, query.log)
        return ReadReply(
            _json({"checkpoint": note, "vkey": self._witness.vkey, "size": self._logs.size(query.log)}), None
        )

    def _following(self, query: ReadQuery, count: int) -> int | None:
        """Return where the next page starts; None at the end."""
        stop = query.start + count
        return stop if count and stop < self._logs.size(query.log) else None

    def _signed(self, log: str) -> list[str]:
        """Return a log's checkpoints, the last over all of it; one that cannot be signed now is left out."""
        if self._logs.size(log):
            try:
                self._witness.sign(self._logs, log)
            except (OSError, Unavailable) as error:
                self._log.error("ledger.checkpoint-failed", error)
        return self._witness.kept(log)

    def _gate(self) -> PermitVerifier:
        if self._verifier is None:
            try:
                key = (self._home.public_keys / "issuer.pub").read_bytes()
            except OSError as error:
                raise Unavailable("the issuer's key is not published yet", retry_after_s=1.0) from error
            self._verifier = PermitVerifier(key, f"ledger/{self._boot}")
        return self._verifier


async def serve(home: Home, settings: Settings, log: Log, stop: asyncio.Event, *, keys: KeyStore) -> None:
    """Serve until stop is set; then write everything down and sign it. keys: of the logs, for this process alone.

    Raises: Unavailable when another process has these logs open, or when the disk failed.
    """
    with _alone(home.ledger):
        logs = Logs(home.ledger, keys, reserve_bytes=settings.ledger.reserve_bytes)
        try:
            await _serve(home, settings, log, stop, logs)
        finally:
            logs.close()
        if logs.is_failed:
            raise Unavailable("the ledger's disk failed", code="ledger-failed")


async def _serve(home: Home, settings: Settings, log: Log, stop: asyncio.Event, logs: Logs) -> None:
    witness = Witness(home.ledger, home.public_keys, origin=settings.ledger.origin)
    server = LedgerServer(logs, witness, home, log, boot=secrets.token_hex(16), failed=stop.set)
    departed = Departed(logs, log, region=settings.region, grace_s=settings.ledger.departed_s)
    socket = Server(
        home.ledger_socket,
        server.handle,
        allowed_uids=callers(home),
        on_bug=lambda error: log.error("ledger.bug", error),
        on_lost=lambda peer: departed.hung_up(peer.pid),
    )
    home.ledger_socket.parent.mkdir(parents=True, exist_ok=True)
    await socket.start()
    log.info("ledger.ready", leaves=sum(logs.size(name) for name in logs.names()))
    checkpoint, sweep = lambda: checkpoint_each(logs, witness), lambda: sweep_each(logs, settings, log)
    jobs = [
        asyncio.ensure_future(every(settings.ledger.checkpoint_s, checkpoint, log)),
        asyncio.ensure_future(every(settings.ledger.sweep_s, sweep, log)),
        asyncio.ensure_future(every(LOOK_S, departed.close_each, log)),
        asyncio.ensure_future(index_all(logs, server.searcher, log, commits=lambda: server.commits)),
    ]
    try:
        await stop.wait()
    finally:
        for job in jobs:
            job.cancel()
        await socket.close()
        await asyncio.sleep(0)
        await attempt(checkpoint, log)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two writers of one journal would destroy it. Raises: Unavailable."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Unavailable("another process has this ledger open", code="ledger-locked", retry_after_s=1.0) from error
    finally:
        os.close(descriptor)


def _appended(refused: dict[int, PartywallError], start: int, count: int) -> Appended:
    """Return the reply to the request whose records lie at [start, start + count) of the group."""
    if not refused:
        return Appended(count)
    own = {at: encode_fault(refused[start + at]) for at in range(count) if start + at in refused}
    return Appended(count - len(own), own)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
