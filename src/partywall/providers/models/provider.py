"""Language models behind the wall: an OpenAI-style upstream that only the operator chose, and nothing of the caller's.

The bytes sent are the permit's, to the URL in the tenant's facts, with no header of the caller. The reply is rebuilt
from allow-listed fields. Source: ADR-0003, attacks.md KV-1, KV-4, ID-2.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final, Self

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import ModelFacts, SubjectFacts, TenantFacts
from partywall.decision.labels import Label, Trust
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Delta, Effect, Located, Prepared, Road
from partywall.errors import BadReply, CallerFault, Malformed, NotFound, ProviderFault, ProviderRefused
from partywall.providers.models.events import events_of
from partywall.providers.models.http1 import Response, Upstreams
from partywall.wire.ids import ActId
from partywall.wire.openai import ChatChunk, ChatReply, ChatRequest, parse_chat

LISTED: Final = frozenset({ActionType.MODEL_REQUEST, ActionType.EMBED})
CHAT_PATH: Final = "/v1/chat/completions"
_encode = msgspec.json.Encoder(order="deterministic").encode
_reply = msgspec.json.Decoder(ChatReply)
_chunk = msgspec.json.Decoder(ChatChunk)


class _Note(msgspec.Struct, frozen=True):
    """What `prepare` found, for `perform`."""

    model: ModelFacts
    request: ChatRequest

    @property
    def wants_usage(self) -> bool:
        options = self.request.stream_options
        return options is not None and options.include_usage


class ModelProvider:
    """Chat completions and the list of models, for one cell at a time."""

    kind = "model"
    actions = frozenset({ActionType.MODEL_REQUEST, ActionType.MODEL_LIST})

    def __init__(
        self,
        *,
        region: str,
        clock: Clock,
        timeout_s: float = 60.0,
        reply_limit_bytes: int = 16_777_216,
    ) -> None:
        self._region = region
        self._clock = clock
        self._reply_limit_bytes = reply_limit_bytes
        self._upstreams = Upstreams(timeout_s=timeout_s)

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the model of this cell and the exact bytes for its upstream.

        Raises: NotFound; Malformed, about that model.
        """
        if call.action is ActionType.MODEL_LIST:
            return Prepared(resource=Resource(self._region, facts.id, "model", "*"), payload=b"{}", note=facts)
        model = find_model(facts, call.name)
        resource = Resource(self._region, facts.id, "model", model.id)
        try:
            request = call.payload if isinstance(call.payload, ChatRequest) else parse_chat(call.payload)
            if model.purpose != "chat":
                raise Malformed("this model makes embeddings: ask for them at /v1/embeddings", code="not-a-chat-model")
        except CallerFault as fault:
            fault.about = resource
            raise
        return Prepared(
            resource=resource,
            payload=upstream_bytes(request, model),
            hosted=model.hosted,
            note=_Note(model, request),
        )

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return the model of this cell; `*` to list. Raises: NotFound."""
        if action is ActionType.MODEL_LIST:
            if name != "*":
                raise NotFound("there is no such thing here")
            return Located(Resource(self._region, facts.id, "model", "*"))
        model = find_model(facts, name)
        return Located(Resource(self._region, facts.id, "model", model.id), model.hosted)

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return the slug of every model of this cell; `*` to list."""
        return ["*"] if action is ActionType.MODEL_LIST else sorted(model.slug for model in facts.models.values())

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """List the models, or send the payload to the model's upstream."""
        claims = permit.redeem(permit.claims.action.type, payload, self._clock())
        note = permit.note
        if isinstance(note, TenantFacts):
            return Effect(body=_listing(note, claims, self._clock()))
        assert isinstance(note, _Note)
        label = Label(tenant=claims.tenant, classification=note.model.classification, trust=Trust.UNTRUSTED)
        if note.request.stream:
            return await self._stream(note, claims, payload, label)
        return await self._complete(note.model, claims, payload, label)

    async def close(self) -> None:
        """Close the connections to upstreams."""
        await self._upstreams.close()

    async def _ask(self, model: ModelFacts, claims: PermitClaims, payload: bytes) -> Response:
        """Send the payload and return the reply of a model that accepted it. Raises: ProviderFault."""
        response = await self._upstreams.post(claims.tenant, model.upstream + CHAT_PATH, payload)
        try:
            raise_for(response)
        except ProviderFault:
            response.close()
            raise
        return response

    async def _complete(self, model: ModelFacts, claims: PermitClaims, payload: bytes, label: Label) -> Effect:
        response = await self._ask(model, claims, payload)
        body = await response.read(self._reply_limit_bytes)
        try:
            upstream = _reply.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadReply("the model's reply is not a chat completion") from error
        reply = msgspec.structs.replace(
            upstream,
            id=completion_id(claims.act),
            created=int(self._clock()),
            model=model.slug,
            object="chat.completion",
        )
        return Effect(body=_encode(reply), label=label, usage=upstream.usage.as_dict())

    async def _stream(self, note: _Note, claims: PermitClaims, payload: bytes, label: Label) -> Effect:
        response = await self._ask(note.model, claims, payload)
        render = ChunkRenderer(completion_id(claims.act), int(self._clock()), note.model.slug)
        effect = Effect(body=b"", label=label, render=render, media_type="text/event-stream")
        effect.body = _Deltas(self._deltas(response, effect, include_usage=note.wants_usage), response)
        return effect

    async def _deltas(self, response: Response, effect: Effect, *, include_usage: bool) -> AsyncGenerator[Delta, None]:
        """Yield text as it comes and tool calls whole; usage and the end mark last.

        Raises: BadReply for what is no stream of chunks, or one without an end mark: a cut answer must not look whole.
        """
        tools = _ToolCalls()
        finished: str | None = None
        try:
            async for data in events_of(response, limit_bytes=self._reply_limit_bytes):
                if data == b"[DONE]":
                    finished = finished or "stop"
                    break
                chunk = _chunk.decode(data)
                if chunk.usage is not None:
                    effect.usage = chunk.usage.as_dict()
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield Delta(text=choice.delta.content)
                    tools.add(choice.delta)
                    finished = choice.finish_reason or finished
            if finished is None:
                raise BadReply("the model's stream ended early", code="upstream-ended-early")
            if whole := tools.whole():
                yield Delta(event={"tool_calls": whole})
            yield Delta(event={"finish_reason": finished})
            if include_usage and effect.usage:
                yield Delta(event={"usage": effect.usage})
            yield Delta(event={"done": True})
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadReply("the model's stream is not one of chat completion chunks") from error
        finally:
            response.close()


class _Deltas:
    """The deltas of a streamed reply. Closing lets the upstream go, even when nobody began to read."""

    def __init__(self, deltas: AsyncGenerator[Delta, None], response: Response) -> None:
        self._deltas = deltas
        self._response = response

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delta:
        return await anext(self._deltas)

    async def aclose(self) -> None:
        await self._deltas.aclose()
        self._response.close()


class ChunkRenderer:
    """Writes deltas as OpenAI's server-sent events, with our own id, time and model name."""

    def __init__(self, id_: str, created: int, model: str) -> None:
        self._frame = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": model}
        self._first = True

    def __call__(self, delta: Delta) -> bytes:
        if delta.fault is not None:
            error = {"message": f"the stream was ended: {delta.fault}", "type": "permission_error", "code": delta.fault}
            return _event({"error": error | {"param": None}})
        event = delta.event or {}
        if event.get("done"):
            return b"data: [DONE]\n\n"
        if "usage" in event:
            return _event({**self._frame, "choices": [], "usage": event["usage"]})
        if "finish_reason" in event:
            return self._chunk({}, event["finish_reason"])
        if "tool_calls" in event:
            return self._chunk({"tool_calls": event["tool_calls"]}, None)
        return self._chunk({"content": delta.text}, None)

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        if self._first:
            delta, self._first = {"role": "assistant", **delta}, False
        return _event({**self._frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


class _ToolCalls:
    """Collects streamed tool calls, so that obligations see whole arguments."""

    def __init__(self) -> None:
        self._calls: dict[int, dict[str, str]] = {}

    def add(self, delta: Any) -> None:
        for call in delta.tool_calls:
            if len(self._calls) >= 128:
                raise BadReply("the model asked for too many tools")
            kept = self._calls.setdefault(call.index or 0, {"id": "", "name": "", "arguments": ""})
            kept["id"] = call.id or kept["id"]
            kept["name"] += call.function.name
            kept["arguments"] += call.function.arguments

    def whole(self) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for index, call in sorted(self._calls.items())
        ]


def find_model(facts: TenantFacts, name: str) -> ModelFacts:
    """Return the model of this slug or id in this cell. Raises: NotFound."""
    model = facts.models.get(name)
    if model is not None:
        return model
    for model in facts.models.values():
        if model.slug == name:
            return model
    raise NotFound("there is no such model here")


def upstream_bytes(request: ChatRequest, model: ModelFacts) -> bytes:
    """Return the canonical bytes for the upstream: allow-listed fields, its own model name, its prompt cache off."""
    body: dict[str, Any] = msgspec.to_builtins(request)
    body["model"] = model.upstream_model
    body["stream"] = request.stream
    if request.stream:
        body["stream_options"] = {"include_usage": True}  # for the record; the caller gets it when it asked
    if not model.hosted:
        body["cache_prompt"] = False
    return _encode(body)


def completion_id(act: ActId) -> str:
    """Return a completion id that leads to the ledger's record: `chatcmpl-` and the action's random part."""
    return "chatcmpl-" + act.removeprefix("act_")


def raise_for(response: Response) -> None:
    """Raises: ProviderRefused for any status but 200; the upstream's own text goes nowhere."""
    if response.status == 200:
        return
    if response.status in {400, 413, 422}:
        raise ProviderRefused("the model did not accept the request", code="upstream-rejected")
    if response.status == 429:
        raise ProviderRefused("the model is over its limit", code="upstream-limit", retry_after_s=1.0)
    raise ProviderRefused("the model failed", code="upstream-failed", private=str(response.status))


def _listing(facts: TenantFacts, claims: PermitClaims, now_s: float) -> bytes:
    held = [_live_grants(subject, now_s) for subject in _acting(facts, claims)]
    granted = {resource for _action, resource in frozenset.intersection(*held)} if held else set()
    data = [
        {"id": model.slug, "object": "model", "created": 0, "owned_by": "partywall"}
        for model in sorted(facts.models.values(), key=lambda model: model.slug)
        if f"model/{model.id}" in granted
    ]
    return _encode({"object": "list", "data": data})


def _acting(facts: TenantFacts, claims: PermitClaims) -> list[SubjectFacts]:
    """Return who must hold a grant: the caller, and the user that it acts for; nobody when either is gone."""
    principal = claims.principal
    names = [principal.id] if principal.on_behalf_of is None else [principal.id, principal.on_behalf_of]
    acting = [facts.subjects[name] for name in names if name in facts.subjects]
    return acting if len(acting) == len(names) else []


def _live_grants(subject: SubjectFacts, now_s: float) -> frozenset[tuple[ActionType, str]]:
    return frozenset(
        (grant.action, grant.resource)
        for grant in subject.grants
        if grant.action in LISTED and (grant.expires_at_s is None or grant.expires_at_s > now_s)
    )


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"
