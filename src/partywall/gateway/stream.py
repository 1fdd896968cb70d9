"""Open streams: text held back until it is safe, the right to stream decided again and again, one honest outcome.

A chunk leaves when no detector's match can still grow into it; at the end everything left is flushed. A stream is cut
when its principal is revoked or suspended, its policy or grants change to no, its time is over, or the worker drains.
Source: ADR-0003, attacks.md ID-5.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from partywall.decision.envelope import Envelope
from partywall.decision.ports import Delta
from partywall.decision.record import Result
from partywall.errors import PartywallError
from partywall.gateway.obligations import Shaper, map_text, truncate

Render = Callable[[Delta], bytes]


class HoldBack:
    """Redacts text that arrives in pieces as if it had come at once. Invariant: the join of all that leaves is
    `shaper.shape(join of all that came)`.
    """

    def __init__(self, shaper: Shaper) -> None:
        self._shaper = shaper
        self._held = ""
        self._left_bytes = shaper.limit_bytes

    def feed(self, text: str) -> str:
        """Return what may leave now."""
        self._held += text
        safe = self._shaper.safe_length(self._held)
        ready, self._held = self._held[:safe], self._held[safe:]
        return self._limit(self._shaper.redact(ready))

    def flush(self) -> str:
        """Return the rest."""
        ready, self._held = self._held, ""
        return self._limit(self._shaper.redact(ready))

    def _limit(self, text: str) -> str:
        if self._left_bytes is None:
            return text
        text = truncate(text, self._left_bytes)
        self._left_bytes -= len(text.encode())
        return text


class OpenStream:
    """One streamed answer. result, reason: how it ended; emitted_*: what the caller was really sent."""

    def __init__(
        self,
        deltas: AsyncIterator[Delta],
        shaper: Shaper,
        *,
        render: Render,
        envelope: Envelope,
        reply_limit_bytes: int,
        closed: Callable[[OpenStream], Awaitable[None]],
    ) -> None:
        self.envelope = envelope
        self.result = Result.CANCELLED
        self.reason = "caller-went-away"
        self.emitted_bytes = 0
        self._deltas = deltas
        self._shaper = shaper
        self._held = HoldBack(shaper)
        self._render = render
        self._limit_bytes = reply_limit_bytes
        self._closed = closed
        self._digest = hashlib.sha256()
        self._cut: asyncio.Future[tuple[Result, str]] = asyncio.get_running_loop().create_future()

    @property
    def emitted_sha256(self) -> bytes:
        """Digest of the emitted bytes."""
        return self._digest.digest()

    def cut(self, result: Result, reason: str) -> None:
        """End it before its next chunk."""
        if not self._cut.done():
            self._cut.set_result((result, reason))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield rendered events until the end or the cut; then record the outcome, whatever happened."""
        try:
            while True:
                delta = await self._next()
                if delta is None:
                    break
                for rendered in self._shape(delta):
                    self._count(rendered)
                    yield rendered
                if self.emitted_bytes > self._limit_bytes:
                    self.cut(Result.CUT, "reply-too-large")
            if not self._cut.done():
                self.result, self.reason = Result.COMPLETE, ""
                if rest := self._held.flush():
                    rendered = self._render(Delta(text=rest, event=None))
                    self._count(rendered)
                    yield rendered
            else:
                self.result, self.reason = self._cut.result()
                rendered = self._render(Delta(text="", event=None, fault=self.reason))
                self._count(rendered)
                yield rendered
        except PartywallError as error:
            self.result, self.reason = Result.FAILED, error.code
            rendered = self._render(Delta(text="", event=None, fault=error.code))
            self._count(rendered)
            yield rendered
        finally:
            self._cut.cancel()
            await asyncio.shield(self._end())

    async def _next(self) -> Delta | None:
        """Return the next delta; None at the end or when it was cut."""
        if self._cut.done():
            return None
        step: asyncio.Future[Delta] = asyncio.ensure_future(anext(self._deltas))
        try:
            await asyncio.wait((step, self._cut), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not step.done():
                step.cancel()
        if self._cut.done():
            return None
        try:
            return step.result()
        except StopAsyncIteration:
            return None

    def _shape(self, delta: Delta) -> list[bytes]:
        """Return the events to send for a delta: text as far as it is safe, other events after the held text."""
        if delta.text and delta.event is None:
            ready = self._held.feed(delta.text)
            return [self._render(Delta(text=ready, event=None))] if ready else []
        rendered = []
        if rest := self._held.flush():
            rendered.append(self._render(Delta(text=rest, event=None)))
        event = map_text(delta.event, self._shaper.redact)
        rendered.append(self._render(Delta(text="", event=event)))
        return rendered

    def _count(self, rendered: bytes) -> None:
        self.emitted_bytes += len(rendered)
        self._digest.update(rendered)

    async def _end(self) -> None:
        close = getattr(self._deltas, "aclose", None)
        if close is not None:
            await close()
        await self._closed(self)


class StreamRegistry:
    """Every open stream of one worker. still_allowed: why it must end, or None."""

    def __init__(self, still_allowed: Callable[[Envelope], str | None], *, recheck_s: float) -> None:
        self._still_allowed = still_allowed
        self._recheck_s = recheck_s
        self._open: set[OpenStream] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, stream: OpenStream, *, seconds_left: float) -> AsyncIterator[bytes]:
        """Yield the stream's chunks while it is registered; cut it when its time is over."""
        loop = asyncio.get_running_loop()
        self._open.add(stream)
        deadline = loop.call_later(seconds_left, stream.cut, Result.CUT, "request-timeout")
        if self._timer is None:
            self._timer = loop.call_later(self._recheck_s, self._tick)
        chunks = stream.chunks()
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            deadline.cancel()
            self._open.discard(stream)
            await chunks.aclose()  # type: ignore[attr-defined]

    def recheck(self) -> None:
        """Decide every open stream again, now; cut those that may not go on."""
        for stream in list(self._open):
            reason = self._still_allowed(stream.envelope)
            if reason is not None:
                stream.cut(Result.DENIED_MIDWAY, reason)

    def drain(self) -> None:
        """Cut every stream: the worker stops."""
        for stream in list(self._open):
            stream.cut(Result.CUT, "draining")

    def _tick(self) -> None:
        self._timer = None
        self.recheck()
        if self._open:
            self._timer = asyncio.get_running_loop().call_later(self._recheck_s, self._tick)
