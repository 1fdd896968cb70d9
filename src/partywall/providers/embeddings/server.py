"""The embedding process: answers on a local socket, text by text, in the order in which requests take turns.

It holds no text longer than it takes to answer, no cache, and no name of any tenant. Work is done on two threads (one
for the model, one for cutting texts), so that the loop goes on listening.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import msgspec

from partywall.errors import Malformed, Unavailable
from partywall.ipc import Server, callers, one_by_one
from partywall.providers.embeddings.encoder import Encoder
from partywall.settings import Home, Settings
from partywall.telemetry.log import Log
from partywall.wire.embeddings import Embed, Embedded, Request, Spans

REQUESTS_LIMIT: Final = 64
_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Request)
_Result = TypeVar("_Result")


class Embeddings:
    """Answers messages. encoder: the loaded model."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._model_thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._split_thread = ThreadPoolExecutor(1, thread_name_prefix="split")
        self._open = 0

    async def answer(self, _peer_uid: int, body: bytes) -> bytes:
        """Return the encoded reply. Raises: Malformed; Unavailable when too many ask at once."""
        try:
            request = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed("not a message to the embedding process") from error
        if self._open >= REQUESTS_LIMIT:
            raise Unavailable("the embedding model is busy", code="embeddings-busy", retry_after_s=1.0)
        self._open += 1
        try:
            if isinstance(request, Embed):
                return _encode(await self._embed(request.texts))
            return _encode(Spans(await self._on(self._split_thread, self._encoder.split, request.text)))
        finally:
            self._open -= 1

    async def _embed(self, texts: list[str]) -> Embedded:
        """One text at a time: between any two, whoever else waits has a turn."""
        vectors, tokens = bytearray(), []
        for text in texts:
            vector, count = await self._on(self._model_thread, self._encoder.embed, text)
            vectors += vector
            tokens.append(count)
        return Embedded(bytes(vectors), tokens)

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[str], _Result], text: str) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(thread, work, text)

    def close(self) -> None:
        """Stop working; what is being computed is thrown away."""
        for thread in (self._model_thread, self._split_thread):
            thread.shutdown(wait=False, cancel_futures=True)


async def serve(home: Home, settings: Settings, log: Log, stop: asyncio.Event) -> None:
    """Serve until stop is set. The socket appears when the model is loaded."""
    loop = asyncio.get_running_loop()
    encoder = await loop.run_in_executor(None, lambda: Encoder(threads=settings.embeddings.threads))
    embeddings = Embeddings(encoder)
    await embeddings.answer(0, _encode(Embed(["warm"])))
    ctypes.CDLL(None).malloc_trim(0)  # loading needs twice what the model keeps
    server = Server(
        home.embeddings_socket,
        one_by_one(embeddings.answer),
        allowed_uids=callers(home),
        on_bug=lambda error: log.error("embeddings.bug", error),
    )
    try:
        await server.start()
        log.info("embeddings.ready", pid=os.getpid())
        await stop.wait()
    finally:
        await server.close()
        embeddings.close()
