"""The embedding process as a gateway reaches it: a few texts at a time, one tenant's beside another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from partywall.errors import BadReply, Unavailable
from partywall.ipc import Client
from partywall.wire.embeddings import VECTOR_BYTES, Embed, Embedded, Spans, Split

PORTION: Final = 4
"""Texts of one message: what a caller who hangs up leaves behind, and what another tenant waits for at most."""
TURN_LIMIT_S: Final = 120.0
"""How long a turn lasts whose caller went away, when the process does not answer."""

_Reply = TypeVar("_Reply")
_encode = msgspec.msgpack.Encoder().encode
_embedded = msgspec.msgpack.Decoder(Embedded)
_spans = msgspec.msgpack.Decoder(Spans)


class EmbeddingClient:
    """client: of the process's socket. One message of a tenant is under way at a time, so that tenants take turns.

    A turn ends with the answer and not with its caller: who hangs up leaves work behind, and must not begin more of it.
    """

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
            reply = _decoded(_embedded, await self._ask(tenant, _encode(Embed(portion)), deadline_s))
            if len(reply.vectors) != VECTOR_BYTES * len(portion):
                raise BadReply("the embedding process answered something else")
            vectors += reply.vectors
            tokens += sum(reply.tokens)
        return bytes(vectors), tokens

    async def split(self, tenant: str, text: str, *, timeout_s: float) -> list[tuple[int, int]]:
        """Return (start, stop) of each chunk of a text. Raises: Unavailable, BadReply."""
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        return _decoded(_spans, await self._ask(tenant, _encode(Split(text)), deadline_s)).spans

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    async def _ask(self, tenant: str, body: bytes, deadline_s: float) -> bytes:
        """Return the reply to one message, when it is the tenant's turn."""
        lock, waiting = self._turns.get(tenant) or (asyncio.Lock(), 0)
        self._turns[tenant] = (lock, waiting + 1)
        try:
            async with asyncio.timeout_at(deadline_s):
                try:
                    await lock.acquire()
                except asyncio.CancelledError:
                    self._leave(tenant)
                    raise
                asked = asyncio.ensure_future(self._client.call(body, timeout_s=TURN_LIMIT_S))
                asked.add_done_callback(lambda done: self._answered(tenant, lock, done))
                return await asyncio.shield(asked)
        except TimeoutError:
            raise Unavailable("the embedding process did not answer in time", retry_after_s=1.0) from None

    def _answered(self, tenant: str, lock: asyncio.Lock, done: asyncio.Future[bytes]) -> None:
        if not done.cancelled():
            done.exception()  # its caller may be gone, and then nobody else looks at it
        lock.release()
        self._leave(tenant)

    def _leave(self, tenant: str) -> None:
        lock, waiting = self._turns.pop(tenant)
        if waiting > 1:
            self._turns[tenant] = (lock, waiting - 1)


def _decoded(decoder: msgspec.msgpack.Decoder[_Reply], raw_reply: bytes) -> _Reply:
    try:
        return decoder.decode(raw_reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadReply("the embedding process answered something else") from error
