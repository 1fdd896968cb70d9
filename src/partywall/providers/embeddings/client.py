"""The embedding process as a gateway reaches it: a few texts at a time, one tenant's beside another's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import msgspec

from partywall.errors import BadReply
from partywall.ipc import Client
from partywall.wire.embeddings import VECTOR_BYTES, Embed, Embedded, Spans, Split

PORTION: Final = 4
"""Texts of one message: what a caller who hangs up leaves behind, and what another tenant waits for at most."""

_Reply = TypeVar("_Reply")
_encode = msgspec.msgpack.Encoder().encode
_embedded = msgspec.msgpack.Decoder(Embedded)
_spans = msgspec.msgpack.Decoder(Spans)


class EmbeddingClient:
    """client: of the process's socket. One message of a tenant is under way at a time, so that tenants take turns."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    async def embed(self, tenant: str, texts: Sequence[str], *, timeout_s: float) -> tuple[bytes, int]:
        """Return the vectors (little-endian 32-bit floats) of all texts, and how many tokens these have together.

        Raises: Malformed for a text that is too long; Unavailable; BadReply.
        """
        vectors, tokens = bytearray(), 0
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        for start in range(0, len(texts), PORTION):
            portion = list(texts[start : start + PORTION])
            async with self._turn(tenant):
                left_s = max(0.05, deadline_s - asyncio.get_running_loop().time())
                reply = _decoded(_embedded, await self._client.call(_encode(Embed(portion)), timeout_s=left_s))
            if len(reply.vectors) != VECTOR_BYTES * len(portion):
                raise BadReply("the embedding process answered something else")
            vectors += reply.vectors
            tokens += sum(reply.tokens)
        return bytes(vectors), tokens

    async def split(self, text: str, *, timeout_s: float) -> list[tuple[int, int]]:
        """Return (start, stop) of each chunk of a text. Raises: Unavailable, BadReply."""
        return _decoded(_spans, await self._client.call(_encode(Split(text)), timeout_s=timeout_s)).spans

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    @asynccontextmanager
    async def _turn(self, tenant: str) -> AsyncIterator[None]:
        lock, waiting = self._turns.get(tenant) or (asyncio.Lock(), 0)
        self._turns[tenant] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(tenant)
            if waiting > 1:
                self._turns[tenant] = (lock, waiting - 1)


def _decoded(decoder: msgspec.msgpack.Decoder[_Reply], raw_reply: bytes) -> _Reply:
    try:
        return decoder.decode(raw_reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadReply("the embedding process answered something else") from error
