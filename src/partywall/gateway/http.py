"""The HTTP shell: raw ASGI in, a bounded `Request` out, and the replies that doors give.

Doors plug in by path prefix. Everything a door raises becomes one error body. A caller that goes away ends
its stream. Source: docs/request-path.md.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping
from typing import Any, Final, Protocol

from partywall.errors import Bug, LimitExceeded, Malformed, NotFound, PartywallError, Unavailable
from partywall.gateway.http_errors import headers_of, openai_body, problem_body, status_of
from partywall.gateway.leaving import SCOPE_KEY, Callbacks, Cancelled
from partywall.gateway.routes.document import Documented
from partywall.telemetry.log import Log

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADERS_LIMIT_BYTES: Final = 32_768
TENANT_SHARE: Final = 4
"""One tenant has at most the limit over this of the concurrent requests, open streams among them."""
SINGLE: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"mcp-method",
        b"mcp-name",
        b"mcp-protocol-version",
        b"mcp-session-id",
        b"origin",
        b"traceparent",
        b"x-api-key",
    }
)
"""Headers that decide something here: twice would mean two things."""
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Request:
    """One request. Header names are lower-case bytes; the body is read once, bounded."""

    __slots__ = (
        "_admit",
        "_body_limit_bytes",
        "_leaving",
        "_receive",
        "_send",
        "headers",
        "method",
        "path",
        "query",
        "repeated",
        "started",
        "tenant",
        "trace_id",
    )

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        body_limit_bytes: int,
        admit: Callable[[str], None] = lambda _tenant: None,
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.repeated = len(self.headers) != len(scope["headers"])
        self.trace_id = _trace_id(self.headers.get(b"traceparent"))
        self.started = False
        self.tenant: str | None = None
        self._admit = admit
        self._leaving: Callbacks | None = scope.get(SCOPE_KEY)
        self._receive = receive
        self._send = send
        self._body_limit_bytes = body_limit_bytes

    def header(self, name: str) -> str | None:
        """Return a header's text (latin-1), or None."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def credential(self) -> str | None:
        """Return the bearer credential of `Authorization`, or of `X-API-Key`."""
        value = self.headers.get(b"authorization")
        if value is not None:
            scheme, _, rest = value.decode("latin-1").partition(" ")
            return rest.strip() if scheme.lower() == "bearer" else None
        return self.header("x-api-key")

    def of(self, tenant: str | None) -> None:
        """Say whose request it is, once that is known. Raises: LimitExceeded when that tenant has its share already."""
        if tenant is not None:
            self._admit(tenant)
            self.tenant = tenant

    async def body(self) -> bytes:
        """Return the whole body. Raises: LimitExceeded (413), Malformed when the caller went away."""
        limit = self._body_limit_bytes
        announced = self.headers.get(b"content-length", b"0")
        if not announced.isdigit() or len(announced) > 18 or int(announced) > limit:
            raise LimitExceeded(f"the body is longer than {limit} bytes", code="body-too-large")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Malformed("the caller went away", code="disconnected")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise LimitExceeded(f"the body is longer than {limit} bytes", code="body-too-large")
            parts.append(part)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def cancelled_when_gone(self) -> Cancelled:
        """Return the context in which work ends when the caller goes away. Raises: Malformed (`disconnected`) then."""
        return Cancelled(self._leaving)

    async def disconnected(self) -> None:
        """Return once the caller has gone away; call only after `body`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(
        self,
        status: int,
        body: bytes = b"",
        *,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole reply."""
        self.started = True
        sent = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        if headers:
            sent += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        await self._send({"type": "http.response.body", "body": body})

    async def reply_stream(
        self,
        chunks: AsyncIterator[bytes],
        *,
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send chunks as they come; the iterator is closed when the caller goes away, even before the first."""
        sent = [(b"content-type", media_type.encode()), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        if headers:
            sent += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self.started = True
        try:
            await self._send({"type": "http.response.start", "status": 200, "headers": sent})
            await self._until_gone(self._pump(chunks))
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _pump(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def _until_gone(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work to its end, or until the caller goes away. Raises: what work raises."""
        doing = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self.disconnected())
        try:
            await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            if not doing.done():
                doing.cancel()
                await asyncio.wait((doing,))
        if not doing.cancelled() and (error := doing.exception()) is not None:
            raise error


class Door(Protocol):
    """Speaks one protocol: parses, calls the pipeline, and replies."""

    @property
    def prefixes(self) -> tuple[str, ...]:
        """The paths below which it answers."""
        ...

    @property
    def routes(self) -> tuple[Documented, ...]:
        """Everything that it answers, for the OpenAPI document."""
        ...

    @property
    def openai_errors(self) -> bool:
        """Whether its errors take OpenAI's form."""
        ...

    async def __call__(self, request: Request) -> None: ...


class HttpServer:
    """The ASGI application: routes by prefix, bounds everything, and answers each failure in the door's own form.

    probes: `/healthz` and `/readyz`, outside the road: they carry nothing of any tenant.
    """

    def __init__(
        self,
        doors: Iterable[Door],
        *,
        log: Log,
        body_limit_bytes: int,
        concurrent_limit: int,
        health: Callable[[], Awaitable[tuple[bool, bytes]]],
    ) -> None:
        self._doors = [(prefix, door) for door in doors for prefix in door.prefixes]
        self._log = log
        self._body_limit_bytes = body_limit_bytes
        self._concurrent_limit = concurrent_limit
        self._health = health
        self._open = 0
        self._share = max(1, concurrent_limit // TENANT_SHARE)
        self._open_of: dict[str, int] = {}
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send, body_limit_bytes=self._body_limit_bytes, admit=self._admit)
        self._open += 1
        door: Door | None = None
        try:
            if self._open > self._concurrent_limit:
                raise Unavailable("too many requests at once", code="too-busy", retry_after_s=1.0)
            _check_head(scope)
            if request.repeated:
                request.headers = _joined(scope["headers"])
            if request.path in {"/healthz", "/readyz"}:
                await self._probe(request)
                return
            door = self._door(request.path)
            await door(request)
        except PartywallError as error:
            await self._fail(request, error, door)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the edge: nothing may pass as a traceback
            self._log.error("request.failed", error, trace_id=request.trace_id)
            await self._fail(request, Bug("internal error"), door)
        finally:
            self._open -= 1
            if request.tenant is not None:
                self._let_go(request.tenant)

    def _admit(self, tenant: str) -> None:
        count = self._open_of.get(tenant, 0)
        if count >= self._share:
            raise LimitExceeded("your tenant has too many requests at once", code="tenant-too-busy", retry_after_s=1.0)
        self._open_of[tenant] = count + 1

    def _let_go(self, tenant: str) -> None:
        self._open_of[tenant] -= 1
        if not self._open_of[tenant]:
            del self._open_of[tenant]

    def _door(self, path: str) -> Door:
        for prefix, door in self._doors:
            if path.startswith(prefix) and (
                len(path) == len(prefix) or prefix.endswith("/") or path[len(prefix)] == "/"
            ):
                return door
        raise NotFound("there is nothing here")

    async def _probe(self, request: Request) -> None:
        if request.path == "/healthz":
            await request.reply(200, b'{"status":"ok"}')
            return
        if self.draining:
            await request.reply(503, b'{"status":"draining"}')
            return
        ready, body = await self._health()
        await request.reply(200 if ready else 503, body)

    async def _fail(self, request: Request, error: PartywallError, door: Door | None) -> None:
        if isinstance(error, Bug):
            self._log.error("request.bug", error, trace_id=request.trace_id, code=error.code)
        if request.started:
            return
        if door is not None and door.openai_errors:
            body, media_type = openai_body(error), "application/json"
        else:
            body, media_type = problem_body(error, request.trace_id), "application/problem+json"
        await request.reply(status_of(error), body, media_type=media_type, headers=headers_of(error))


def _check_head(scope: Scope) -> None:
    """Raises: LimitExceeded for headers that are too long; Malformed for a path that could be read as another."""
    if _size_of(scope["headers"]) > HEADERS_LIMIT_BYTES:
        raise LimitExceeded("the headers are too long", code="headers-too-large")
    if b"%2f" in scope.get("raw_path", b"").lower():
        raise Malformed("a slash inside a segment of a path means nothing here", code="encoded-slash")


def _size_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
    return size


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return repeated headers as one list. Raises: Malformed for one that must have one meaning (RFC 9110 5.3)."""
    joined: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in joined and name in SINGLE:
            raise Malformed("a header stands twice in the request", code="repeated-header")
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


class _TraceIds:
    """Random trace ids, from entropy drawn for many at once."""

    def __init__(self, batch: int = 256) -> None:
        self._batch = batch
        self._ready: list[str] = []

    def __call__(self) -> str:
        if not self._ready:
            drawn = os.urandom(16 * self._batch).hex()
            self._ready = [drawn[at : at + 32] for at in range(0, len(drawn), 32)]
        return self._ready.pop()


_new_trace_id: Final = _TraceIds()


def _trace_id(traceparent: bytes | None) -> str:
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    if match is not None and match[1] != b"0" * 32:
        return match[1].decode()
    return _new_trace_id()
