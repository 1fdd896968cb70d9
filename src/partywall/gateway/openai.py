"""OpenAI's door: `/v1/chat/completions`, `/v1/embeddings` and `/v1/models`, so that its SDK works unmodified."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Effect
from partywall.decision.principal import Principal
from partywall.errors import CallerFault, NotFound
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.http import Request
from partywall.gateway.routes.document import MEMBERS, Described, Doc, Documented, Link
from partywall.wire import replies
from partywall.wire.openai import ChatReply, ChatRequest, parse_chat
from partywall.wire.openai_embeddings import EmbeddingsReply, EmbeddingsRequest, parse_embeddings
from partywall.wire.strict_json import parse_json

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"
MODELS: Final = "/v1/models"


_EXAMPLE: Final = {"model": "small", "messages": [{"role": "user", "content": "Hello"}]}
ROUTES: Final = (
    Described(
        "POST",
        CHAT,
        Doc(
            summary="Ask a model; with `stream` the answer is server-sent events",
            tag="models",
            who=MEMBERS,
            request=ChatRequest,
            reply=ChatReply,
            errors={404: ("not-found",)},
            example=_EXAMPLE,
            openai=True,
        ),
    ),
    Described(
        "POST",
        EMBEDDINGS,
        Doc(
            summary="Turn texts into vectors",
            tag="models",
            who=MEMBERS,
            request=EmbeddingsRequest,
            reply=EmbeddingsReply,
            errors={404: ("not-found",)},
            example={"model": "minilm", "input": ["Hello"]},
            openai=True,
        ),
    ),
    Described(
        "GET",
        MODELS,
        Doc(
            summary="List the models that you may ask",
            tag="models",
            who=MEMBERS,
            reply=replies.ListedModels,
            errors={404: ("not-found",)},
            openai=True,
            links=(Link(to="GET /v1/models/{model}", path={"model": "/data/0/id"}),),
        ),
    ),
    Described(
        "GET",
        MODELS + "/{model}",
        Doc(
            summary="Show one model that you may ask",
            tag="models",
            who=MEMBERS,
            reply=replies.ListedModel,
            errors={404: ("not-found",)},
            openai=True,
        ),
    ),
)
"""What the OpenAPI document says of this door."""


class Submitter(Protocol):
    """The road (`gateway/pipeline.py`)."""

    async def submit(self, principal: Principal, call: Call) -> Effect: ...


class OpenAiDoor:
    """Parses, submits, replies in OpenAI's form. Nothing that it read names a tenant."""

    prefixes = (CHAT, EMBEDDINGS, MODELS)
    routes: tuple[Documented, ...] = ROUTES
    openai_errors = True

    def __init__(self, pipeline: Submitter, authenticator: Authenticator) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator

    async def __call__(self, request: Request) -> None:
        principal = self._authenticator.authenticate(request.credential())
        request.of(principal.tenant)
        if request.path == CHAT:
            _only(request, "POST")
            await self._chat(request, principal)
        elif request.path == EMBEDDINGS:
            _only(request, "POST")
            await self._embeddings(request, principal)
        elif request.path == MODELS or request.path.startswith(MODELS + "/"):
            _only(request, "GET")
            await self._models(request, principal)
        else:
            raise NotFound("there is nothing here")

    async def _chat(self, request: Request, principal: Principal) -> None:
        chat = parse_chat(parse_json(await request.body()))
        call = Call(
            action=ActionType.MODEL_REQUEST,
            kind="model",
            name=chat.model,
            payload=chat,
            trace_id=request.trace_id,
            stream=chat.stream,
            parameters=_sanitized(chat),
        )
        with request.cancelled_when_gone():
            effect = await self._pipeline.submit(principal, call)
        if isinstance(effect.body, bytes):
            await request.reply(200, effect.body, headers=effect.headers)
        else:
            await request.reply_stream(effect.body, media_type=effect.media_type, headers=effect.headers)

    async def _embeddings(self, request: Request, principal: Principal) -> None:
        asked = parse_embeddings(parse_json(await request.body()))
        call = Call(
            action=ActionType.EMBED,
            kind="model",
            name=asked.model,
            payload=asked,
            trace_id=request.trace_id,
            parameters={"inputs": len(asked.texts)},
        )
        with request.cancelled_when_gone():
            effect = await self._pipeline.submit(principal, call)
        assert isinstance(effect.body, bytes)
        await request.reply(200, effect.body, headers=effect.headers)

    async def _models(self, request: Request, principal: Principal) -> None:
        call = Call(action=ActionType.MODEL_LIST, kind="model", name="*", payload={}, trace_id=request.trace_id)
        effect = await self._pipeline.submit(principal, call)
        assert isinstance(effect.body, bytes)
        name = request.path[len(MODELS) + 1 :]
        await request.reply(200, _one_of(effect.body, name) if name else effect.body)


def _one_of(listing: bytes, name: str) -> bytes:
    for model in msgspec.json.decode(listing)["data"]:
        if model["id"] == name:
            return msgspec.json.encode(model)
    raise NotFound("there is no such model here")


def _sanitized(chat: ChatRequest) -> dict[str, object]:
    """Return what the record says of a request: counts and switches, never content."""
    return {
        "messages": len(chat.messages),
        "stream": chat.stream,
        "tools": len(chat.tools or ()),
        "max_tokens": chat.max_completion_tokens or chat.max_tokens or 0,
    }


def _only(request: Request, method: str) -> None:
    if request.method != method:
        raise CallerFault(f"use {method} here", code="method-not-allowed")
