"""HTTP/1.1 to models, in the worker's own event loop: no thread, no redirect, no proxy, no cookie, no decompression.

A reply is read by llhttp in its strict mode and bounded in every part. A connection carries the calls of one tenant
only, one at a time, and is kept only after a reply that was framed and whole. Nothing is ever sent twice.
Source: RFC 9112, ADR-0003.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from partywall.errors import LimitExceeded, ProviderFault, ProviderRefused, ProviderTimeout

CONNECT_LIMIT_S: Final = 5.0
IDLE_LIMIT_S: Final = 4.0
"""How long an unused connection is kept: shorter than servers do, so that few are closed under a request."""
IDLE_CONNECTIONS: Final = 512
HEAD_LIMIT_BYTES: Final = 65_536
BUFFER_BYTES: Final = 262_144
"""What is read ahead of the reader before the upstream has to wait."""


class Address(msgspec.Struct, frozen=True):
    """Where a URL leads, and the first lines of each request to it."""

    host: str
    port: int
    secure: bool
    head: bytes


@functools.lru_cache(maxsize=1_024)
def address_of(url: str) -> Address:
    """Return where an http or https URL leads. Raises: ProviderRefused for any other."""
    try:
        parts = urlsplit(url)
        host, secure = parts.hostname, parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
    except ValueError:
        host = None
    if host is None or parts.scheme not in {"http", "https"} or not url.isascii() or not url.isprintable():
        raise ProviderRefused("the model has no usable address", code="upstream-unreachable")
    where = parts.netloc.rpartition("@")[2]
    path = (parts.path or "/").replace(" ", "%20")
    if parts.query:
        path += "?" + parts.query.replace(" ", "%20")
    head = f"POST {path} HTTP/1.1\r\nhost: {where}\r\naccept: */*\r\ncontent-type: application/json\r\n"
    return Address(host, port, secure, head.encode())


class Response:
    """A reply under way. `status` is known; the body comes by `read` or `chunk`. Close it unless it was read whole."""

    __slots__ = ("_connection", "_expiry", "_fault", "_parts", "_size", "_waiter", "complete", "status")

    def __init__(self, connection: _Connection, timeout_s: float) -> None:
        self.status = 0
        self.complete = False
        self._connection = connection
        self._parts: list[bytes] = []
        self._size = 0
        self._fault: ProviderFault | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._expiry = asyncio.get_running_loop().call_later(timeout_s, self._expire)

    async def head(self) -> Response:
        """Return once the status is known. Raises: ProviderFault."""
        while not self.status and not self.complete:
            await self._wait()
        self._check()
        return self

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body. Raises: LimitExceeded, ProviderFault."""
        parts: list[bytes] = []
        left_bytes = limit_bytes
        while (part := await self.chunk()) is not None:
            left_bytes -= len(part)
            if left_bytes < 0:
                self.close()
                raise LimitExceeded("the model's reply is too large", code="reply-too-large")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def chunk(self) -> bytes | None:
        """Return what has come, None at the end. Raises: ProviderFault when it broke, and never an end instead."""
        while not self._parts:
            self._check()
            if self.complete:
                return None
            await self._wait()
        parts, self._parts = self._parts, []
        if self._size > BUFFER_BYTES:
            self._connection.resume()
        self._size = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go: of a reply that is not whole, nothing more is read and its connection ends."""
        if not self.complete:
            self.fail(ProviderFault("the model's connection broke", code="upstream-broken"))

    # --- called by the connection -------------------------------------------------------------------------------------

    def begin(self, status: int) -> None:
        """The head is here."""
        self.status = status
        self._wake()

    def add(self, part: bytes) -> None:
        """More of the body is here."""
        self._parts.append(part)
        self._size += len(part)
        if self._size > BUFFER_BYTES:
            self._connection.pause()
        self._wake()

    def finish(self) -> None:
        """The body is whole."""
        self.complete = True
        self._expiry.cancel()
        self._wake()

    def fail(self, fault: ProviderFault) -> None:
        """It will never be whole."""
        if self.complete:
            return
        self._fault = fault
        self._parts.clear()
        self.finish()
        self._connection.abort()

    def _expire(self) -> None:
        self.fail(ProviderTimeout("the model did not answer in time"))

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None


class _Connection(asyncio.Protocol):
    """One connection of one tenant to one address."""

    def __init__(self, pool: Upstreams, key: _Key) -> None:
        self.idle_since_s = 0.0
        self.key = key
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._framed = False
        self._interim = False
        self._head_bytes = 0
        self._transport: asyncio.Transport | None = None

    @property
    def usable(self) -> bool:
        """Whether a request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, timeout_s: float) -> Response:
        """Send one request and return the reply to come."""
        assert self._transport is not None
        self._response = response = Response(self, timeout_s)
        self._framed, self._head_bytes = False, 0
        self._transport.write(request)
        return response

    def pause(self) -> None:
        """Let the upstream wait."""
        if self.usable:
            cast("asyncio.Transport", self._transport).pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.usable:
            cast("asyncio.Transport", self._transport).resume_reading()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:  # nobody asked: such a connection is never used again
            self.abort()
            return
        if not response.status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            response.fail(_broken())
            self.abort()
            return
        if not response.status and self._head_bytes > HEAD_LIMIT_BYTES:
            response.fail(_broken())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pool.forget(self)
        response, self._response = self._response, None
        if response is None:
            return
        if exc is None and response.status and not self._framed:
            response.finish()  # a body that ends with its connection
        else:
            response.fail(_broken())

    # --- httptools ----------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._response is None:
            raise ValueError("a reply that nobody asked for")

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            self._framed = False
        elif self._response is not None:
            self._framed = self._framed or status in {204, 304}
            self._response.begin(status)

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            self._response.add(body)

    def on_message_complete(self) -> None:
        if self._interim:
            return
        response, self._response = self._response, None
        if response is None:
            return
        kept = self._framed and self._parser.should_keep_alive() and not response.complete
        response.finish()
        if kept:
            self.resume()
            self._pool.keep(self)
        elif self._transport is not None:
            self._transport.close()


_Key = tuple[str, Address]


class Upstreams:
    """Connections to models, kept for the next call of the same tenant. timeout_s: of one whole exchange."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._idle: dict[_Key, list[_Connection]] = {}
        self._kept = 0
        self._timer: asyncio.TimerHandle | None = None
        self._context: ssl.SSLContext | None = None
        self._closed = False

    async def post(self, owner: str, url: str, body: bytes, *, headers: Mapping[str, str] | None = None) -> Response:
        """Send body once, and return the reply when its head is here. owner: whose connections may be used.

        Raises: ProviderRefused when out of reach, ProviderTimeout, ProviderFault.
        """
        address = address_of(url)
        key = (owner, address)
        connection = self._take(key) or await self._connect(key)
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
        request = b"%scontent-length: %d\r\n%b\r\n%b" % (address.head, len(body), more.encode("latin-1"), body)
        response = connection.send(request, self._timeout_s)
        return await response.head()

    async def close(self) -> None:
        """End every kept connection, and keep none any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for connections in list(self._idle.values()):
            for connection in list(connections):
                connection.abort()
        self._idle.clear()

    def keep(self, connection: _Connection) -> None:
        """Keep a connection whose reply was whole."""
        if self._closed or self._kept >= IDLE_CONNECTIONS or not connection.usable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.setdefault(connection.key, []).append(connection)
        self._kept += 1
        if self._timer is None:
            self._timer = loop.call_later(IDLE_LIMIT_S / 2, self._tidy)

    def forget(self, connection: _Connection) -> None:
        """Know a lost connection no more."""
        connections = self._idle.get(connection.key)
        if connections is not None and connection in connections:
            connections.remove(connection)
            self._kept -= 1
            if not connections:
                del self._idle[connection.key]

    def _take(self, key: _Key) -> _Connection | None:
        """Return the kept connection that was used last."""
        connections = self._idle.get(key)
        while connections:
            connection = connections.pop()
            self._kept -= 1
            if not connections:
                del self._idle[key]
            if connection.usable:
                return connection
        return None

    async def _connect(self, key: _Key) -> _Connection:
        _, address = key
        loop = asyncio.get_running_loop()
        try:
            making = loop.create_connection(
                lambda: _Connection(self, key), address.host, address.port, ssl=self._tls() if address.secure else None
            )
            _, connection = await asyncio.wait_for(making, CONNECT_LIMIT_S)
        except (OSError, TimeoutError, ssl.SSLError) as error:
            raise ProviderRefused(
                "the model is out of reach", code="upstream-unreachable", retry_after_s=2.0
            ) from error
        return connection

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context

    def _tidy(self) -> None:
        """End what was not used for a while."""
        self._timer = None
        loop = asyncio.get_running_loop()
        oldest_s = loop.time() - IDLE_LIMIT_S
        for connections in list(self._idle.values()):
            for connection in list(connections):
                if connection.idle_since_s <= oldest_s:
                    connection.abort()
                    self.forget(connection)
        if self._idle:
            self._timer = loop.call_later(IDLE_LIMIT_S / 2, self._tidy)


def _broken() -> ProviderFault:
    return ProviderFault("the model's connection broke", code="upstream-broken")
