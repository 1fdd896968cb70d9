"""A worker's end of the ledger: appends of one turn of the event loop leave as one message."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from partywall.decision.record import Record
from partywall.errors import BadReply, PartywallError, Unavailable
from partywall.ipc import Client, decode_fault
from partywall.ledger.messages import Append, Appended, LedgerReply, Read, ReadReply, Status, StatusReply

MESSAGE_BYTES: Final = 8 * 1024 * 1024
_encode = msgspec.msgpack.Encoder().encode
_reply = msgspec.msgpack.Decoder(LedgerReply)


class LedgerClient:
    """Implements `decision.ports.Ledger`. path: the ledger's socket."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._client = Client(path, timeout_s=timeout_s)
        self._waiting: dict[bool, list[tuple[Record, asyncio.Future[None]]]] = {False: [], True: []}
        self._sends: set[asyncio.Task[None]] = set()

    async def append(self, record: Record, *, durable: bool) -> None:
        """Return once the record is written; with `durable`, once it is on disk.

        Raises: Malformed, NotFound (the log's key was destroyed); Unavailable: it may be written all the same, when it
        was the reply that never came.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiting = self._waiting[durable]
        if not waiting:
            loop.call_soon(self._send, durable)
        waiting.append((record, future))
        await future

    async def read(self, permit: bytes, payload: bytes) -> ReadReply:
        """Return a page of a log. Raises: Unauthenticated, NotFound, Malformed, Unavailable."""
        reply = _reply.decode(await self._client.call(_encode(Read(permit, payload)), timeout_s=30.0))
        if not isinstance(reply, ReadReply):
            raise BadReply("the ledger gave another answer than a page")
        return reply

    async def status(self) -> StatusReply:
        """Return the ledger's health. Raises: Unavailable."""
        reply = _reply.decode(await self._client.call(_encode(Status())))
        if not isinstance(reply, StatusReply):
            raise BadReply("the ledger gave another answer than its status")
        return reply

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    def _send(self, durable: bool) -> None:  # noqa: FBT001  # called by the loop
        waiting, self._waiting[durable] = self._waiting[durable], []
        if self._client.is_connected:
            self._post(waiting, durable=durable)
            return
        task = asyncio.ensure_future(self._connect_and_post(waiting, durable=durable))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def _connect_and_post(self, waiting: _Waiting, *, durable: bool) -> None:
        try:
            await self._client.connect()
        except PartywallError as error:
            _fail(waiting, error)
        else:
            self._post(waiting, durable=durable)

    def _post(self, waiting: _Waiting, *, durable: bool) -> None:
        """Send records as one message, or as several where they are too much for one."""
        try:
            body = _encode(Append([record for record, _ in waiting], durable))
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            if len(waiting) == 1:
                _fail(waiting, Unavailable("a record cannot be written", private=type(error).__name__))
                return
            body = None
        if body is None or (len(body) > MESSAGE_BYTES and len(waiting) > 1):
            middle = len(waiting) // 2
            self._post(waiting[:middle], durable=durable)
            self._post(waiting[middle:], durable=durable)
        elif len(body) > MESSAGE_BYTES:
            _fail(waiting, Unavailable("a record is too long", code="record-too-long"))
        else:
            self._client.post(body).add_done_callback(lambda done: _settle(waiting, done))


_Waiting = list[tuple[Record, asyncio.Future[None]]]


def _settle(waiting: _Waiting, done: asyncio.Future[bytes]) -> None:
    """Give each record's caller its own answer."""
    if done.cancelled():
        _fail(waiting, Unavailable("the ledger client was closed"))
        return
    if (error := done.exception()) is not None:
        _fail(waiting, error)
        return
    try:
        reply = _reply.decode(done.result())
    except (msgspec.DecodeError, UnicodeDecodeError):
        _fail(waiting, BadReply("the ledger's reply cannot be read"))
        return
    if not isinstance(reply, Appended) or reply.count + len(reply.refused) != len(waiting):
        _fail(waiting, BadReply("the ledger did not append"))
        return
    for position, (_record, future) in enumerate(waiting):
        if future.done():
            continue
        if reply.refused and position in reply.refused:
            future.set_exception(decode_fault(reply.refused[position]))
        else:
            future.set_result(None)


def _fail(waiting: _Waiting, fault: BaseException) -> None:
    for _record, future in waiting:
        if not future.done():
            future.set_exception(fault)
