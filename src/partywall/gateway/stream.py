"""Open streams: text held back until it is safe, the right to stream decided again and again, one honest outcome.

A chunk leaves when no detector's match can still grow into it; at the end everything left is flushed. A stream is cut
when its principal is revoked or suspended, its policy or grants change to no, its time is over, or the worker drains.
Source: ADR-0003, attacks.md ID-5.
"""

from __future__ import annotations

import asyncio
import hashlib
import string
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Self

from partywall.decision.envelope import Envelope
from partywall.decision.ports import Delta
from partywall.decision.record import Result
from partywall.errors import PartywallError, ProviderTimeout
from partywall.gateway.obligations import HELD_LIMIT, Budget, Shaper, shape_value

Render = Callable[[Delta], bytes]

_WORD: Final = string.ascii_letters + string.digits + "_-."
STALL_S: Final = 2.0
"""How long a stream that was cut waits for its caller to fetch the reason before it is ended without it."""
CLOSE_LIMIT_S: Final = 5.0
"""How long an upstream may take to let go before the outcome is recorded all the same."""


class HoldBack:
    """Redacts text that arrives in pieces as if it had come at once. Invariant: the join of all that leaves is
    `shaper.shape(join of all that came)`, but for a match longer than any detector's longest, which hides more.
    """

    def __init__(self, shaper: Shaper) -> None:
        self._shaper = shaper
        self._text = ""
        self._start = 0
        self._in_endless_word = False
        self._budget = Budget(shaper.limit_bytes)

    def feed(self, text: str) -> str:
        """Return what may leave now."""
        if self._in_endless_word:
            text = text.lstrip(_WORD)
            self._in_endless_word = not text
        self._text += text
        safe = self._shaper.safe_length(self._text, self._start)
        if len(self._text) - safe > HELD_LIMIT:
            self._in_endless_word = True
            return self.flush()
        return self._leave(safe)

    def flush(self) -> str:
        """Return the rest."""
        return self._leave(len(self._text))

    def _leave(self, stop: int) -> str:
        """Let go of the text up to stop; its last character stays as context: whether a word goes on there."""
        ready = self._shaper.redact(self._text, self._start, stop)
        kept = max(0, stop - 1)
        self._text, self._start = self._text[kept:], stop - kept
        return self._budget.take(ready)

    def event(self, event: Any) -> Any:
        """Return an event that is no text in pieces, shaped as a whole."""
        return shape_value(event, self._shaper, self._budget)


class OpenStream:
    """One streamed answer: iterate to send it, `aclose` when the caller is gone; both end in exactly one outcome.

    result, reason: how it ended; emitted_*: what the caller was really handed; bug: what broke, for the operator's log.
    closed: records the outcome.
    """

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
        self.bug: Exception | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._deltas = deltas
        self._held = HoldBack(shaper)
        self._render = render
        self._limit_bytes = reply_limit_bytes
        self._closed = closed
        self._digest = hashlib.sha256()
        self._ready: deque[bytes] = deque()
        self._cut: tuple[Result, str] | None = None
        self._over = False
        self._reader: asyncio.Task[object] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def emitted_sha256(self) -> bytes:
        """Digest of the emitted bytes."""
        return self._digest.digest()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next rendered chunk. Raises: StopAsyncIteration once the outcome is recorded."""
        while True:
            if self._cut is not None and not self._over:
                self._conclude(*self._cut)
            if self._ready:
                return self._emit(self._ready.popleft())
            if self._over:
                await self._end()
                raise StopAsyncIteration
            await self._advance()

    async def aclose(self) -> None:
        """End it, wherever it is: the caller went away. Twice is once."""
        self._give_up()
        await self._end()

    def cut(self, result: Result, reason: str) -> None:
        """End it before its next chunk, even while it waits for the upstream or for its caller."""
        if self._cut is not None or self._over:
            return
        self._cut = (result, reason)
        if self._reader is not None:
            self._reader.cancel()
        else:
            asyncio.get_running_loop().call_later(STALL_S, self._abandon)

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _advance(self) -> None:
        """Fetch one delta and make it ready, or conclude."""
        try:
            delta = await self._pull()
            if delta is not None:
                self._ready.extend(self._shape(delta))
        except StopAsyncIteration:
            self._finish()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except PartywallError as error:
            self._conclude(Result.UNKNOWN if isinstance(error, ProviderTimeout) else Result.FAILED, error.code)
        except Exception as error:  # whatever broke, the caller gets no more and the record says so
            self.bug = error
            self._conclude(Result.FAILED, "internal")

    async def _pull(self) -> Delta | None:
        """Return the upstream's next delta; None when the stream was cut meanwhile.

        A cut cancels this task, as a deadline would: the upstream ends in its own `finally`, and no task a chunk is
        needed.
        """
        self._reader = task = asyncio.current_task()
        try:
            delta: Delta | None = await anext(self._deltas)
        except asyncio.CancelledError:
            if self._cut is None or task is None or task.uncancel():
                raise  # the caller went away, whether or not the stream was cut as well
            delta = None
        finally:
            self._reader = None
        return None if self._cut is not None else delta

    def _shape(self, delta: Delta) -> list[bytes]:
        """Return the events to send for a delta: text as far as it is safe, other events after the held text."""
        if delta.text and delta.event is None:
            ready = self._held.feed(delta.text)
            return [self._render(Delta(text=ready, event=None))] if ready else []
        rendered = []
        if rest := self._held.flush():
            rendered.append(self._render(Delta(text=rest, event=None)))
        rendered.append(self._render(Delta(text="", event=self._held.event(delta.event))))
        return rendered

    def _finish(self) -> None:
        """The upstream said all: what is still held leaves."""
        self._over = True
        self.result, self.reason = Result.COMPLETE, ""
        if rest := self._held.flush():
            self._ready.append(self._render(Delta(text=rest, event=None)))

    def _conclude(self, result: Result, reason: str) -> None:
        """Nothing more of the upstream leaves; the caller is told why."""
        self._over = True
        self.result, self.reason = result, reason
        self._ready.clear()
        self._ready.append(self._render(Delta(text="", event=None, fault=reason)))

    def _emit(self, rendered: bytes) -> bytes:
        self.emitted_bytes += len(rendered)
        self._digest.update(rendered)
        if self.emitted_bytes > self._limit_bytes and not self._over:
            self._cut = self._cut or (Result.CUT, "reply-too-large")
        return rendered

    def _abandon(self) -> None:
        """A caller that does not fetch its last words (a full pipe, a forgotten reader) holds nothing open."""
        if not self._over:
            self._give_up()
            self._start_end()

    def _give_up(self) -> None:
        if not self._over and self._cut is not None:
            self.result, self.reason = self._cut
        self._over = True
        self._ready.clear()

    async def _end(self) -> None:
        await asyncio.shield(self._start_end())

    def _start_end(self) -> asyncio.Task[None]:
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._close())
        return self._ending

    async def _close(self) -> None:
        """Let go of the upstream, then record the outcome, whatever happens on the way."""
        self.on_end()
        close = getattr(self._deltas, "aclose", None)
        try:
            if close is not None:
                await asyncio.wait_for(close(), CLOSE_LIMIT_S)
        except Exception:  # noqa: S110  # an upstream that does not let go changes nothing of what was emitted
            pass
        finally:
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

    def open(self, stream: OpenStream, *, seconds_left: float) -> OpenStream:
        """Keep the stream until it ends; cut it when its time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(seconds_left, stream.cut, Result.CUT, "request-timeout")

        def ended() -> None:
            deadline.cancel()
            self._open.discard(stream)

        stream.on_end = ended
        self._open.add(stream)
        if self._timer is None:
            self._timer = loop.call_later(self._recheck_s, self._tick)
        return stream

    def recheck(self) -> None:
        """Decide every open stream again, now; cut those that may not go on."""
        for stream in list(self._open):
            try:
                reason = self._still_allowed(stream.envelope)
            except Exception:  # what cannot be decided is denied
                reason = "internal"
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
