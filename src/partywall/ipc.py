"""Framed request and reply over local stream sockets, pipelined and coalesced; the peer's uid is checked.

A frame is msgpack `[sequence, ok, body]`; body is the caller's own message, or an encoded fault. Many requests
made in one turn of the event loop leave in one write, and a server's handler sees all that one read brought.
Source: `wire/frame.py`, docs/request-path.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self, cast

import msgspec

from partywall import errors
from partywall.errors import Bug, Malformed, PartywallError, Unavailable
from partywall.settings import Home
from partywall.wire.frame import FrameBuffer, encode_frame


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    sequence: int
    ok: bool
    body: bytes


class _Fault(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    code: str
    public: str
    retry_after_s: float | None = None


_encode = msgspec.msgpack.Encoder().encode
_envelope = msgspec.msgpack.Decoder(_Envelope)
_fault = msgspec.msgpack.Decoder(_Fault)


class Peer(int):
    """The other end of a connection: its uid, which also knows its process. pid: 0 when it is of another namespace."""

    pid: int

    def __new__(cls, uid: int, pid: int = 0) -> Self:
        made = super().__new__(cls, uid)
        made.pid = pid
        return made


Handler = Callable[[int, Sequence[bytes]], Sequence[Awaitable[bytes]]]
"""(peer uid, a `Peer`; the requests of one read) -> one awaitable reply for each, in order."""

Answered = Callable[[bytes | PartywallError], None]
"""What a client does with the reply, or with why there is none."""


def one_by_one(answer: Callable[[int, bytes], Awaitable[bytes]]) -> Handler:
    """Return a handler that answers each request by itself."""

    def handle(peer_uid: int, bodies: Sequence[bytes]) -> Sequence[Awaitable[bytes]]:
        return [answer(peer_uid, body) for body in bodies]

    return handle


def encode_fault(error: BaseException) -> bytes:
    """Return an error as it may leave the process: typed and public, without its cause."""
    if isinstance(error, PartywallError):
        fault = _Fault(type(error).__name__, error.code, error.public, error.retry_after_s)
    else:
        fault = _Fault("Bug", "internal", "internal error")
    return _encode(fault)


def decode_fault(body: bytes) -> PartywallError:
    """Return the typed error that a peer sent."""
    try:
        fault = _fault.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Bug("unreadable fault")
    kind = getattr(errors, fault.kind, Bug)
    if not (isinstance(kind, type) and issubclass(kind, PartywallError)):
        kind = Bug
    return kind(fault.public, code=fault.code, retry_after_s=fault.retry_after_s)


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._frames = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._peer = Peer(-1)
        self._tasks: set[asyncio.Future[bytes]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class
        self._peer = peer_of(transport.get_extra_info("socket"))
        if not self._server.admits(self._peer):
            self._transport.abort()
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._server.connections:
            self._server.connections.discard(self)
            self._server.on_lost(self._peer)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            requests = [_envelope.decode(frame) for frame in self._frames.feed(data)]
        except (Malformed, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.close()
            return
        if not requests:
            return
        replies = self._server.handler(self._peer, [request.body for request in requests])
        for request, reply in zip(requests, replies, strict=True):
            task = asyncio.ensure_future(reply)
            self._tasks.add(task)
            task.add_done_callback(lambda done, n=request.sequence: self._answer(n, done))  # type: ignore[misc]

    def _answer(self, sequence: int, done: asyncio.Future[bytes]) -> None:
        self._tasks.discard(done)
        if done.cancelled():
            envelope = _Envelope(sequence, False, encode_fault(Unavailable("shutting down")))
        elif (error := done.exception()) is not None:
            if not isinstance(error, PartywallError):
                self._server.on_bug(error)
            envelope = _Envelope(sequence, False, encode_fault(error))
        else:
            envelope = _Envelope(sequence, True, done.result())
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        try:
            frame = encode_frame(_encode(envelope))
        except Malformed as error:  # longer than a frame: the caller must hear of it all the same
            self._server.on_bug(error)
            frame = encode_frame(_encode(_Envelope(sequence, False, encode_fault(Bug("a reply that is too long")))))
        self._out.append(frame)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Server:
    """Serves one socket path until closed. allowed_uids None admits any local user that can open the path.

    on_lost: told when a connection that was admitted has ended.
    """

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        allowed_uids: frozenset[int] | None,
        mode: int = 0o660,
        on_bug: Callable[[BaseException], None] = lambda _error: None,
        on_lost: Callable[[Peer], None] = lambda _peer: None,
    ) -> None:
        self.handler = handler
        self.on_bug = on_bug
        self.on_lost = on_lost
        self.connections: set[_Connection] = set()
        self._path = path
        self._allowed_uids = allowed_uids
        self._mode = mode
        self._server: asyncio.Server | None = None

    def admits(self, uid: int) -> bool:
        """Whether a peer of this uid may speak; root always may."""
        return self._allowed_uids is None or uid == 0 or uid in self._allowed_uids

    async def start(self) -> None:
        """Bind (replacing a socket that a dead process left) and listen."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        loop = asyncio.get_running_loop()
        old = os.umask(0o777 & ~self._mode)
        try:
            self._server = await loop.create_unix_server(lambda: _Connection(self), path=str(self._path))
        finally:
            os.umask(old)

    async def close(self) -> None:
        """Stop listening, close every connection, remove the socket."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


class Client(asyncio.Protocol):
    """One pipelined connection, made on first use and again after it broke.

    A request whose reply never came fails with Unavailable: the caller does not know whether it was done.
    """

    def __init__(self, path: Path, *, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._frames = FrameBuffer()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, tuple[Answered, asyncio.TimerHandle]] = {}
        self._out: list[bytes] = []
        self._sequence = 0
        self._connecting: asyncio.Lock = asyncio.Lock()

    async def call(self, body: bytes, *, timeout_s: float | None = None) -> bytes:
        """Return the reply to body. Raises: the peer's typed error, or Unavailable."""
        await self.connect()
        return await self.post(body, timeout_s=timeout_s)

    async def connect(self) -> None:
        """Connect unless connected. Raises: Unavailable."""
        if self._transport is None:
            await self._connect()

    @property
    def is_connected(self) -> bool:
        """Whether `post` may be called."""
        return self._transport is not None

    def post(self, body: bytes, *, timeout_s: float | None = None) -> asyncio.Future[bytes]:
        """Send body on the live connection and return the future reply; it fails as `call` does."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def answered(reply: bytes | PartywallError) -> None:
            if future.done():
                return
            if isinstance(reply, bytes):
                future.set_result(reply)
            else:
                future.set_exception(reply)

        self.send(body, answered, timeout_s=timeout_s)
        return future

    def send(self, body: bytes, answered: Answered, *, timeout_s: float | None = None) -> None:
        """Send body on the live connection with what else is sent in this turn; answered is called exactly once.

        Raises: Malformed when body is too long for a frame.
        """
        if self._transport is None:
            answered(Unavailable(f"{self._path.stem} is out of reach", retry_after_s=1.0))
            return
        loop = asyncio.get_running_loop()
        sequence = self._sequence + 1
        frame = encode_frame(_encode(_Envelope(sequence, True, body)))
        self._sequence = sequence
        self._waiting[sequence] = (answered, loop.call_later(timeout_s or self._timeout_s, self._expire, sequence))
        if not self._out:
            loop.call_soon(self.flush)
        self._out.append(frame)

    def flush(self) -> None:
        """Let what was sent in this turn leave now."""
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    async def close(self) -> None:
        """Close the connection; calls under way fail with Unavailable."""
        if self._transport is not None:
            self._transport.close()

    async def _connect(self) -> None:
        async with self._connecting:
            if self._transport is not None:
                return
            loop = asyncio.get_running_loop()
            try:
                await asyncio.wait_for(loop.create_unix_connection(lambda: self, path=str(self._path)), self._timeout_s)
            except (OSError, TimeoutError) as error:
                raise Unavailable(f"{self._path.stem} is out of reach", retry_after_s=1.0) from error

    def _expire(self, sequence: int) -> None:
        waiting = self._waiting.pop(sequence, None)
        if waiting is not None:
            waiting[0](Unavailable(f"{self._path.stem} did not answer in time", retry_after_s=1.0))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._frames = FrameBuffer()
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        waiting, self._waiting = self._waiting, {}
        for answered, expiry in waiting.values():
            expiry.cancel()
            answered(Unavailable(f"{self._path.stem} went away", retry_after_s=1.0))

    def data_received(self, data: bytes) -> None:
        try:
            replies = [_envelope.decode(frame) for frame in self._frames.feed(data)]
        except (Malformed, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self._transport is not None:
                self._transport.abort()
            return
        for reply in replies:
            waiting = self._waiting.pop(reply.sequence, None)
            if waiting is None:
                continue
            answered, expiry = waiting
            expiry.cancel()
            answered(reply.body if reply.ok else decode_fault(reply.body))


def peer_of(sock: socket.socket) -> Peer:
    """Return the process at the other end of a local socket (SO_PEERCRED)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", credentials)
    return Peer(uid, pid)


def callers(home: Home) -> frozenset[int]:
    """Return the uids that may speak to a daemon: the gateway's, which owns its secrets, and the daemon's own."""
    own = {os.geteuid()}
    with contextlib.suppress(FileNotFoundError):
        own.add(home.secrets("gateway").stat().st_uid)
    return frozenset(own)
