"""One caller's connection: what is slow, endless or never read is let go, before any credential is asked for.

The server beneath bounds none of it: a header could grow without end, a request could take for ever to arrive, and a
caller that stops reading would hold its stream, its upstream and its place among the concurrent requests.
Source: RFC 9112 section 9.5, RFC 6585 section 5.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from partywall.gateway.joined import Joined
from partywall.gateway.leaving import SCOPE_KEY, Callbacks

HEAD_LIMIT_BYTES: Final = 65_536
"""Of request line and headers as they arrive; `http.py` is stricter with what was read."""
HEAD_LIMIT_S: Final = 15.0
REQUEST_LIMIT_S: Final = 60.0
WRITE_LIMIT_S: Final = 60.0
LOOK_S: Final = 5.0


class Connection(HttpToolsProtocol):
    """Times in seconds: head_limit_s until the headers are whole, request_limit_s until the body is, write_limit_s
    without room for more of the reply; all seen within look_s.
    """

    head_limit_s: float = HEAD_LIMIT_S
    request_limit_s: float = REQUEST_LIMIT_S
    write_limit_s: float = WRITE_LIMIT_S
    look_s: float = LOOK_S

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._began = False
        self._since_s: float | None = None
        self._stalled_since_s: float | None = None
        self._look: asyncio.TimerHandle | None = None
        self._leaving: Callbacks = set()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start to watch."""
        super().connection_made(cast("asyncio.Transport", Joined(transport, self.loop)))
        self._since_s = self.loop.time()
        self._look = self.loop.call_later(self.look_s, self._watch)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching, and tell whoever works for this caller."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)
        for leave in tuple(self._leaving):
            leave()

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that is too long ends the connection."""
        already_in_head, self._began = self._in_head, False
        super().data_received(data)
        if already_in_head and self._in_head and not self._began:  # of a piece with other requests in it, none counts
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                self.transport.close()
        if self._since_s is None and (self.cycle is None or self.cycle.response_complete):
            self._since_s = self.loop.time()  # bytes between two requests that begin none

    def on_message_begin(self) -> None:
        """A request begins to arrive."""
        self._in_head, self._began, self._head_bytes = True, True, 0
        self._since_s = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are whole."""
        self._in_head = False
        self.scope[SCOPE_KEY] = self._leaving  # type: ignore[typeddict-unknown-key]  # our own server's, for our own doors
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here."""
        self._in_head, self._since_s = False, None
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The caller does not read what it is sent."""
        self._stalled_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled_since_s = None
        super().resume_writing()

    def _watch(self) -> None:
        now_s = self.loop.time()
        limit_s = self.head_limit_s if self._in_head else self.request_limit_s
        if self._since_s is not None and now_s - self._since_s > limit_s:
            self.transport.close()
        elif self._stalled_since_s is not None and now_s - self._stalled_since_s > self.write_limit_s:
            self.transport.abort()  # closing would wait for the caller to read
        else:
            self._look = self.loop.call_later(self.look_s, self._watch)
