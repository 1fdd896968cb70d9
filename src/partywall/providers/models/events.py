"""Server-sent events from an upstream, bounded: whole `data:` payloads, however the bytes were cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

from partywall.errors import BadReply
from partywall.providers.models.http1 import Response

EVENT_LIMIT_BYTES = 1_048_576


class EventBuffer:
    """Collects bytes and gives back the data of whole events. A line ends in CR, LF or CRLF, wherever bytes are cut.

    Raises: BadReply past the limits. Source: WHATWG HTML 9.2.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._left_bytes = limit_bytes
        self._line = bytearray()
        self._data: list[bytes] = []
        self._event_bytes = 0
        self._after_return = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that data completes; comments and other fields are dropped."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise BadReply("the upstream's stream is too long", code="reply-too-large")
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        events: list[bytes] = []
        if data:
            self._after_return = data.endswith(b"\r")
            *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._end_line(line, events)
            self._line += rest
        if self._event_bytes + len(self._line) > EVENT_LIMIT_BYTES:
            raise BadReply("an event of the upstream is too long", code="reply-too-large")
        return events

    def _end_line(self, rest: bytes, events: list[bytes]) -> None:
        line = bytes(self._line) + rest if self._line else rest
        self._line.clear()
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data, self._event_bytes = [], 0
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._event_bytes += len(line)


async def events_of(response: Response, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """Yield the data of each event of a streamed response."""
    buffer = EventBuffer(limit_bytes)
    while (chunk := await response.chunk()) is not None:
        for event in buffer.feed(chunk):
            yield event
