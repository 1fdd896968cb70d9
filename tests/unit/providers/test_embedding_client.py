"""Turns at the embedding process, and several providers of one kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from partywall.decision.action import ActionType
from partywall.errors import BadReply, Bug, NotFound, Unavailable
from partywall.providers.by_action import ByAction
from partywall.providers.embeddings.client import PORTION, EmbeddingClient
from partywall.wire.embeddings import VECTOR_BYTES, Embed, Embedded, Spans


class Process:
    """In place of the socket: says which texts came when, and answers one after the other."""

    def __init__(self, *, vector_bytes: int = VECTOR_BYTES) -> None:
        self.seen: list[list[str]] = []
        self.open = self.most = 0
        self._vector_bytes = vector_bytes

    async def call(self, body: bytes, *, timeout_s: float) -> bytes:
        texts = msgspec.msgpack.decode(body, type=Embed).texts
        self.seen.append(texts)
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.001)
        self.open -= 1
        return msgspec.msgpack.encode(Embedded(b"\0" * self._vector_bytes * len(texts), [3] * len(texts)))

    async def close(self) -> None:
        pass


async def test_texts_go_a_few_at_a_time_in_order() -> None:
    process = Process()
    texts = [f"t{at}" for at in range(2 * PORTION + 1)]
    vectors, tokens = await EmbeddingClient(process).embed("a", texts, timeout_s=5)  # type: ignore[arg-type]
    assert [text for seen in process.seen for text in seen] == texts
    assert max(map(len, process.seen)) == PORTION
    assert (len(vectors), tokens) == (len(texts) * VECTOR_BYTES, 3 * len(texts))


async def test_a_tenant_has_one_message_under_way_and_waits_for_no_other_tenants() -> None:
    process = Process()
    client = EmbeddingClient(process)  # type: ignore[arg-type]
    await asyncio.gather(*(client.embed("a", ["x"] * PORTION * 3, timeout_s=5) for _ in range(3)))
    assert process.most == 1
    process.seen.clear()
    long = asyncio.create_task(client.embed("a", ["long"] * PORTION * 5, timeout_s=5))
    await asyncio.sleep(0)
    await client.embed("b", ["short"], timeout_s=5)
    assert ["short"] in process.seen[:2]
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    await client.embed("a", ["after"], timeout_s=5)  # a turn that was cancelled is given back
    assert client._turns == {}


async def test_a_process_that_answers_something_else_is_a_bad_reply() -> None:
    client = EmbeddingClient(Process(vector_bytes=8))  # type: ignore[arg-type]
    with pytest.raises(BadReply):
        await client.embed("a", ["x"], timeout_s=5)


async def test_cutting_takes_a_turn_too_and_whoever_hangs_up_keeps_it_until_the_answer() -> None:
    """Else one tenant's long texts, or its hang-ups, fill the process that all tenants share."""
    process = Slow()
    client = EmbeddingClient(process)  # type: ignore[arg-type]
    cuts = [asyncio.create_task(client.split("a", "x" * 9, timeout_s=5)) for _ in range(8)]
    await until(lambda: process.open == 1)
    neighbour = asyncio.create_task(client.split("b", "y", timeout_s=5))
    await until(lambda: process.open == 2)
    for one in cuts:
        one.cancel()
    await asyncio.wait(cuts)
    again = [asyncio.create_task(client.embed("a", ["x"], timeout_s=0.2)) for _ in range(8)]
    await asyncio.wait(again)
    assert all(isinstance(one.exception(), Unavailable) or one.cancelled() for one in again)
    assert process.most == 2
    process.answers.set()
    assert await neighbour == [(0, 1)]
    await until(lambda: client._turns == {})


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():  # noqa: ASYNC110  # what is waited for is no event
            await asyncio.sleep(0.005)


class Slow(Process):
    """Answers nobody before it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def call(self, body: bytes, *, timeout_s: float) -> bytes:
        self.open += 1
        self.most = max(self.most, self.open)
        await self.answers.wait()
        self.open -= 1
        return msgspec.msgpack.encode(Spans([(0, 1)]))


class Part:
    """A provider of some actions."""

    def __init__(self, kind: str, *actions: ActionType) -> None:
        self.kind, self.actions = kind, frozenset(actions)

    def prepare(self, call: Any, facts: Any) -> Any:
        return (self, call.action)

    async def perform(self, permit: Any, payload: bytes, road: Any) -> Any:
        return (self, payload)


def test_each_action_has_one_provider() -> None:
    asks, embeds = Part("model", ActionType.MODEL_REQUEST), Part("model", ActionType.EMBED)
    both = ByAction(asks, embeds)  # type: ignore[arg-type]
    assert both.actions == {ActionType.MODEL_REQUEST, ActionType.EMBED}
    with pytest.raises(NotFound):
        both.locate(ActionType.EMBED, "x", None)  # type: ignore[arg-type]
    for wrong in (Part("model", ActionType.EMBED), Part("tool", ActionType.TOOL_CALL)):
        with pytest.raises(Bug):
            ByAction(asks, embeds, wrong)  # type: ignore[arg-type]
