"""Open streams: however one ends, its upstream is let go and exactly one outcome tells what was handed out."""

import asyncio
import hashlib

import pytest

from partywall.decision.ports import Delta
from partywall.decision.record import Result
from partywall.decision.verdict import Redact, Truncate
from partywall.errors import BadReply, ProviderTimeout
from partywall.gateway import stream as stream_module
from partywall.gateway.obligations import Shaper
from partywall.gateway.stream import HoldBack, OpenStream, StreamRegistry

KEY = "pw_" + "a2" * 13 + "_" + "Ab-_" * 10 + "xyz"


class Upstream:
    """Yields its deltas, then waits or raises; letting go of it takes a moment, as with a real connection."""

    def __init__(self, *deltas, then=None):
        self.deltas, self.then, self.closed = deltas, then, 0

    async def __call__(self):
        try:
            for delta in self.deltas:
                yield delta if isinstance(delta, Delta) else Delta(text=delta)
            if isinstance(self.then, BaseException):
                raise self.then
            if self.then == "hang":
                await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            self.closed += 1


class Scene:
    def __init__(self, upstream, *obligations, limit_bytes=1_000, allowed=lambda _envelope: None):
        self.upstream, self.outcomes, self.sent = upstream, [], []
        self.registry = StreamRegistry(allowed, recheck_s=0.05)
        stream = OpenStream(
            upstream(),
            Shaper(obligations),
            render=render,
            envelope=None,
            reply_limit_bytes=limit_bytes,
            closed=self.closed,
        )
        self.stream = self.registry.open(stream, seconds_left=1.0)

    async def closed(self, stream):
        self.outcomes.append((stream.result, stream.reason, stream.emitted_bytes, stream.emitted_sha256))

    async def read(self):
        async for chunk in self.stream:
            self.sent.append(chunk)

    async def reading(self, *, chunks):
        """Start to read, and return once so many chunks came."""
        task = asyncio.ensure_future(self.read())
        while len(self.sent) < chunks:  # noqa: ASYNC110  # the reader is the code under test
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.005)
        return task

    def check(self, result, reason):
        """One outcome, true to what was handed out; nothing is left open."""
        data = b"".join(self.sent)
        assert self.outcomes == [(result, reason, len(data), hashlib.sha256(data).digest())]
        assert self.upstream.closed == 1
        assert len(self.registry) == 0


def render(delta):
    if delta.fault is not None:
        return f"<{delta.fault}>".encode()
    return delta.text.encode() if delta.event is None else f"<{delta.event}>".encode()


async def test_a_whole_stream():
    scene = Scene(Upstream("one ", "two ", Delta(event={"finish": "stop"})))
    await scene.read()
    assert scene.sent == [b"one ", b"two ", b"<{'finish': 'stop'}>"]
    scene.check(Result.COMPLETE, "")


async def test_text_that_was_held_back_leaves_before_the_end():
    scene = Scene(Upstream("key pw_", "aa", "a."))
    await scene.read()
    assert b"".join(scene.sent) == b"key pw_aaa."
    scene.check(Result.COMPLETE, "")


async def test_a_cut_while_the_upstream_is_awaited_tells_the_caller_why():
    scene = Scene(Upstream("one ", then="hang"))
    task = await scene.reading(chunks=1)
    scene.stream.cut(Result.DENIED_MIDWAY, "revoked")
    await asyncio.wait_for(task, 1)
    assert scene.sent == [b"one ", b"<revoked>"]
    scene.check(Result.DENIED_MIDWAY, "revoked")


async def test_a_cut_between_two_chunks_drops_what_is_ready():
    scene = Scene(Upstream("key pw_", Delta(event={"n": 1}), "late"))
    assert await anext(scene.stream) == b"key "
    scene.stream.cut(Result.CUT, "draining")
    await scene.read()
    assert scene.sent == [b"<draining>"]
    scene.sent.insert(0, b"key ")
    scene.check(Result.CUT, "draining")


async def test_the_first_reason_for_a_cut_stands():
    scene = Scene(Upstream("one ", then="hang"))
    task = await scene.reading(chunks=1)
    scene.stream.cut(Result.CUT, "draining")
    scene.stream.cut(Result.DENIED_MIDWAY, "revoked")
    await task
    scene.check(Result.CUT, "draining")


async def test_a_caller_that_is_cancelled():
    scene = Scene(Upstream("one ", then="hang"))
    task = await scene.reading(chunks=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.check(Result.CANCELLED, "caller-went-away")


async def test_a_caller_that_is_cancelled_just_as_it_is_cut_stays_cancelled():
    scene = Scene(Upstream("one ", then="hang"))
    task = await scene.reading(chunks=1)
    scene.stream.cut(Result.DENIED_MIDWAY, "revoked")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.check(Result.DENIED_MIDWAY, "revoked")


async def test_a_caller_that_closes():
    scene = Scene(Upstream("one ", then="hang"))
    scene.sent.append(await anext(scene.stream))
    await scene.stream.aclose()
    await scene.stream.aclose()
    scene.check(Result.CANCELLED, "caller-went-away")
    with pytest.raises(StopAsyncIteration):
        await anext(scene.stream)


async def test_a_caller_that_never_begins():
    scene = Scene(Upstream("one "))
    await scene.stream.aclose()
    assert [outcome[:3] for outcome in scene.outcomes] == [(Result.CANCELLED, "caller-went-away", 0)]
    assert len(scene.registry) == 0


async def test_a_caller_that_stopped_reading_holds_nothing_open(monkeypatch):
    monkeypatch.setattr(stream_module, "STALL_S", 0.02)
    scene = Scene(Upstream("one ", "two ", then="hang"))
    scene.sent.append(await anext(scene.stream))
    scene.stream.cut(Result.DENIED_MIDWAY, "revoked")
    await asyncio.sleep(0.1)
    scene.check(Result.DENIED_MIDWAY, "revoked")
    await scene.read()
    assert scene.sent == [b"one "]


async def test_an_upstream_that_fails():
    scene = Scene(Upstream("one ", then=BadReply("no", code="bad-reply")))
    await scene.read()
    assert scene.sent == [b"one ", b"<bad-reply>"]
    scene.check(Result.FAILED, "bad-reply")


async def test_an_upstream_that_did_not_answer_in_time_may_have_acted():
    scene = Scene(Upstream("one ", then=ProviderTimeout("no answer", code="timeout")))
    await scene.read()
    assert scene.sent == [b"one ", b"<timeout>"]
    scene.check(Result.UNKNOWN, "timeout")


async def test_an_upstream_that_crashes():
    crash = RuntimeError("secret")
    scene = Scene(Upstream("one ", then=crash))
    await scene.read()
    assert scene.sent == [b"one ", b"<internal>"]
    assert scene.stream.bug is crash
    scene.check(Result.FAILED, "internal")


async def test_a_stream_over_its_limit_is_cut():
    scene = Scene(Upstream("12345678", "12345678", "never", then="hang"), limit_bytes=10)
    await scene.read()
    assert scene.sent == [b"12345678", b"12345678", b"<reply-too-large>"]
    scene.check(Result.CUT, "reply-too-large")


async def test_time_is_over():
    scene = Scene(Upstream("one ", then="hang"))
    await asyncio.wait_for(scene.read(), 3)
    assert scene.sent == [b"one ", b"<request-timeout>"]
    scene.check(Result.CUT, "request-timeout")


@pytest.mark.parametrize("answer", ["suspended", RuntimeError("the decider broke")])
async def test_what_may_not_go_on_or_cannot_be_decided_is_cut_by_the_clock(answer):
    def allowed(_envelope):
        if isinstance(answer, Exception):
            raise answer
        return answer

    scene = Scene(Upstream("one ", then="hang"), allowed=allowed)
    await asyncio.wait_for(scene.read(), 0.8)
    scene.check(Result.DENIED_MIDWAY, answer if isinstance(answer, str) else "internal")


async def test_the_clock_goes_on_while_a_stream_is_open():
    asked = []
    scene = Scene(Upstream("one ", then="hang"), allowed=asked.append)
    task = await scene.reading(chunks=1)
    await asyncio.sleep(0.3)
    assert len(asked) >= 4
    scene.registry.drain()
    await task
    count = len(asked)
    await asyncio.sleep(0.15)
    assert len(asked) <= count + 1, "nothing is open, and nothing is asked"


async def test_an_outcome_that_cannot_be_recorded_is_the_streams_last_word():
    scene = Scene(Upstream("one "))

    async def closed(_stream):
        raise BadReply("no")

    scene.stream._closed = closed
    with pytest.raises(BadReply):
        await scene.read()
    assert scene.sent == [b"one "]


async def test_a_credential_in_pieces_and_in_an_event_is_redacted():
    event = Delta(event={"tool_calls": [{"function": {"arguments": KEY}, KEY: 1}]})
    scene = Scene(Upstream(*KEY, " ", event))
    await scene.read()
    assert b"Ab-_" not in b"".join(scene.sent)
    assert b"".join(scene.sent).count(b"[redacted:credential]") == 3


def test_a_truncated_text_ends_where_it_was_cut():
    held = HoldBack(Shaper([Truncate(3)]))
    assert held.feed("éé") == "é"
    assert held.feed("a") == "", "one byte is left, and another character must not take it"
    assert held.flush() == ""


def test_truncation_counts_events_and_text_together():
    held = HoldBack(Shaper([Truncate(6), Redact(("email",))]))
    assert held.feed("four. ") == "four. "
    assert held.event({"arguments": "more", "type": "function"}) == {"arguments": "", "type": "function"}
