"""Server-sent events from an upstream, bounded: whole `data:` payloads, however the bytes were cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

from partywall.errors import BadReply
from partywall.providers.models.http1 import Response

EVENT_LIMIT_BYTES = 1_048_576


class EventBuffer:
    """Collects bytes and gives back the data of whole events. Raises: BadReply past the limits."""

    def __init__(self, limit_bytes: int) -> None:
        self._buffer = bytearray()
        self._left_bytes = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of each event that data completes; comments and other fields are dropped."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise BadReply("the upstream's stream is too long", code="reply-too-large")
        self._buffer += data.replace(b"\r\n", b"\n")
        if len(self._buffer) > EVENT_LIMIT_BYTES:
            raise BadReply("an event of the upstream is too long", code="reply-too-large")
        events: list[bytes] = []
        while (end := self._buffer.find(b"\n\n")) >= 0:
            lines = bytes(self._buffer[:end]).split(b"\n")
            del self._buffer[: end + 2]
            found = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
            if found:
                events.append(b"\n".join(found))
        return events


async def events_of(response: Response, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """Yield the data of each event of a streamed response."""
    buffer = EventBuffer(limit_bytes)
    while (chunk := await response.chunk()) is not None:
        for event in buffer.feed(chunk):
            yield event
