"""Frames of every local socket: 4 bytes big-endian length, then that many bytes (msgpack inside).

Source: docs/request-path.md.
"""

from __future__ import annotations

from partywall.errors import Malformed

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 16 * 1024 * 1024


def encode_frame(body: bytes) -> bytes:
    """Return body with its length before it. Raises: Malformed when it is too long."""
    if len(body) > MAX_FRAME_BYTES:
        raise Malformed("frame too long", code="frame-too-long")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class FrameBuffer:
    """Collects bytes and gives back whole frames; holds at most one frame's length and one read."""

    __slots__ = ("_buffer", "_limit_bytes")

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._limit_bytes = limit_bytes

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames completed by data. Raises: Malformed when a length is over the limit."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start, end = 0, len(buffer)
        while end - start >= LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if length > self._limit_bytes:
                raise Malformed("frame too long", code="frame-too-long")
            stop = start + LENGTH_BYTES + length
            if stop > end:
                break
            frames.append(bytes(buffer[start + LENGTH_BYTES : stop]))
            start = stop
        del buffer[:start]
        return frames
