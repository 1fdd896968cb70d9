"""A worker's end of the ledger: what is appended while an earlier message is under way leaves as one message.

So the busier the ledger is, the larger its groups are, and nothing waits when it is not.
"""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Final

import msgspec

from partywall.decision.record import Record
from partywall.errors import BadReply, PartywallError, Unavailable
from partywall.ipc import Client, decode_fault
from partywall.ledger.messages import Append, Appended, LedgerReply, Read, ReadReply, Status, StatusReply

MESSAGE_BYTES: Final = 8 * 1024 * 1024
HOLD_S: Final = 0.002
"""How long a record waits at most for the messages before it to be answered, so that it can join a larger group."""
_encode = msgspec.msgpack.Encoder().encode
_reply = msgspec.msgpack.Decoder(LedgerReply)


class LedgerClient:
    """Implements `decision.ports.Ledger`. path: the ledger's socket."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._client = Client(path, timeout_s=timeout_s)
        self._waiting: dict[bool, list[tuple[Record, asyncio.Future[None]]]] = {False: [], True: []}
        self._sends: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._next_send: asyncio.Handle | None = None

    async def append(self, record: Record, *, durable: bool) -> None:
        """Return once the record is written; with `durable`, once it is on disk.

        Raises: Malformed, NotFound (the log's key was destroyed); Unavailable: it may be written all the same, when it
        was the reply that never came.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting[durable].append((record, future))
        if self._next_send is None:
            under_way = self._under_way > 0
            self._next_send = loop.call_later(HOLD_S, self._send) if under_way else loop.call_soon(self._send)
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

    def _send(self) -> None:
        self._next_send = None
        for durable in (True, False):
            waiting, self._waiting[durable] = self._waiting[durable], []
            if not waiting:
                continue
            if self._client.is_connected:
                self._post(waiting, durable=durable)
                continue
            task = asyncio.ensure_future(self._connect_and_post(waiting, durable=durable))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)
        self._client.flush()

    def _answered(self, waiting: _Waiting, reply: bytes | PartywallError) -> None:
        self._under_way -= 1
        _settle(waiting, reply)
        if self._next_send is not None and self._under_way == 0:
            self._next_send.cancel()
            self._next_send = asyncio.get_running_loop().call_soon(self._send)

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
            self._under_way += 1
            self._client.send(body, functools.partial(self._answered, waiting))


_Waiting = list[tuple[Record, asyncio.Future[None]]]


def _settle(waiting: _Waiting, answer: bytes | PartywallError) -> None:
    """Give each record's caller its own answer."""
    if not isinstance(answer, bytes):
        _fail(waiting, answer)
        return
    try:
        reply = _reply.decode(answer)
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
