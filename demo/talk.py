"""Chats: the official `openai` client before the local model, whole and streamed."""

from __future__ import annotations

import time

import msgspec
from openai import AsyncOpenAI
from rich.markup import escape

from demo.report import Chapter, Skip
from demo.stage import Stage
from demo.tenants import Tenant

QUESTIONS = ("Say hello to the team in one short sentence.", "Name one thing that a good assistant never does.")


class Talk(msgspec.Struct):
    """One answer. first_s: until its first piece; tokens: as the model counted them."""

    tenant: str
    streamed: bool
    text: str
    pieces: int
    tokens: int
    first_s: float
    whole_s: float


async def talks(stage: Stage, chapter: Chapter) -> None:
    """Have every tenant's agent ask the model."""
    tenants = stage.everyone()
    if stage.options.no_model:
        raise Skip(stage.options.no_model)
    with stage.console.status("asking SmolLM2 …"):
        said = [one for tenant in tenants for one in await talk(stage.running().url, tenant)]
    for one in said:
        how = "streamed" if one.streamed else "whole"
        stage.console.print(f"  [bold]{one.tenant}[/] [dim]{how}[/] {escape(' '.join(one.text.split())[:160])}")
        chapter.must(one.text.strip() and one.tokens > 0, f"{one.tenant}: an empty answer ({how})")
        chapter.must(not one.streamed or one.pieces > 1, f"{one.tenant}: the stream came in one piece")
    chapter.figures = {"talks": [msgspec.to_builtins(one) for one in said]}
    tokens, seconds = sum(one.tokens for one in said), sum(one.whole_s for one in said)
    chapter.says = f"{len(said)} answers, {tokens} tokens at {tokens / seconds:.0f}/s, whole and streamed"


async def talk(base_url: str, tenant: Tenant) -> list[Talk]:
    """Ask both questions, the first whole, the second streamed."""
    async with AsyncOpenAI(base_url=f"{base_url}/v1", api_key=tenant.key, max_retries=0, timeout=60) as client:
        tenant.made["model.list"] += 1
        listed = [model.id async for model in client.models.list()]
        own = [tenant.model_slug] + ([tenant.embedder_slug] if tenant.embedder else [])
        if sorted(listed) != sorted(own):
            raise RuntimeError(f"{tenant.slug} sees the models {listed}")
        return [await _whole(client, tenant), await _streamed(client, tenant)]


async def _whole(client: AsyncOpenAI, tenant: Tenant) -> Talk:
    started = time.monotonic()
    tenant.made["model.request"] += 1
    answer = await client.chat.completions.create(
        model=tenant.model_slug, messages=[{"role": "user", "content": QUESTIONS[0]}], max_tokens=32
    )
    took = time.monotonic() - started
    text = answer.choices[0].message.content or ""
    tokens = answer.usage.completion_tokens if answer.usage is not None else 0
    return Talk(tenant.slug, False, text, 1, tokens, took, took)


async def _streamed(client: AsyncOpenAI, tenant: Tenant) -> Talk:
    started = time.monotonic()
    tenant.made["model.request"] += 1
    stream = await client.chat.completions.create(
        model=tenant.model_slug,
        messages=[{"role": "user", "content": QUESTIONS[1]}],
        max_tokens=48,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, pieces, tokens, first_s = "", 0, 0, 0.0
    async for chunk in stream:
        if chunk.usage is not None:
            tokens = chunk.usage.completion_tokens
        piece = chunk.choices[0].delta.content if chunk.choices else None
        if piece:
            first_s = first_s or time.monotonic() - started
            text += piece
            pieces += 1
    return Talk(tenant.slug, True, text, pieces, tokens, first_s, time.monotonic() - started)
