"""Embeddings: of the deployment's own process, or of an OpenAI-style upstream that only the operator chose.

The same rules as for chat: the texts sent are the permit's, nothing of the caller's goes along, and the reply is
rebuilt from allow-listed fields. Nothing is cached: a cache that tenants share would tell one what another asked.
Source: ADR-0003, ADR-0013, attacks.md SC-1.
"""

from __future__ import annotations

import base64
import math
from array import array
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import ModelFacts, TenantFacts
from partywall.decision.labels import Label, Trust
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Effect, Located, Prepared, Road
from partywall.errors import BadReply, CallerFault, Malformed
from partywall.providers.embeddings.client import EmbeddingClient
from partywall.providers.models.http1 import Upstreams
from partywall.providers.models.provider import find_model, raise_for
from partywall.wire.openai_embeddings import (
    Embedding,
    EmbeddingsReply,
    EmbeddingsRequest,
    EmbeddingsUsage,
    parse_embeddings,
)
from partywall.wire.operations import LOCAL_EMBEDDINGS

EMBEDDINGS_PATH: Final = "/v1/embeddings"
PURPOSE: Final = "embeddings"
_encode = msgspec.json.Encoder(order="deterministic").encode
_reply = msgspec.json.Decoder(EmbeddingsReply)


class _Note(msgspec.Struct, frozen=True):
    """What `prepare` found, for `perform`."""

    model: ModelFacts
    request: EmbeddingsRequest


class EmbedProvider:
    """`embed` on `model/<id>` of one cell at a time. local: the deployment's own model."""

    kind = "model"
    actions = frozenset({ActionType.EMBED})

    def __init__(
        self,
        local: EmbeddingClient,
        *,
        region: str,
        clock: Clock,
        timeout_s: float = 60.0,
        reply_limit_bytes: int = 16_777_216,
    ) -> None:
        self._local = local
        self._region = region
        self._clock = clock
        self._reply_limit_bytes = reply_limit_bytes
        self._upstreams = Upstreams(timeout_s=timeout_s)

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the model of this cell and the exact texts. Raises: NotFound; Malformed, about that model."""
        model = find_model(facts, call.name)
        resource = Resource(self._region, facts.id, self.kind, model.id)
        try:
            request = call.payload if isinstance(call.payload, EmbeddingsRequest) else parse_embeddings(call.payload)
            _check(request, model)
            payload = _upstream_bytes(request, model)
        except CallerFault as fault:
            fault.about = resource
            raise
        return Prepared(resource=resource, payload=payload, hosted=model.hosted, note=_Note(model, request))

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return the model of this cell. Raises: NotFound."""
        model = find_model(facts, name)
        return Located(Resource(self._region, facts.id, self.kind, model.id), model.hosted)

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return the slug of every model of this cell that makes embeddings."""
        return sorted(model.slug for model in facts.models.values() if model.purpose == PURPOSE)

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Embed the texts that payload holds. Raises: ProviderFault, Malformed for a text that is too long."""
        now_s = self._clock()
        claims = permit.redeem(ActionType.EMBED, payload, now_s)
        note = permit.note
        assert isinstance(note, _Note)
        if note.model.upstream == LOCAL_EMBEDDINGS:
            vectors, tokens = await self._embed_here(claims, payload, now_s)
        else:
            vectors, tokens = await self._ask(note, claims, payload)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        reply = EmbeddingsReply(
            data=[Embedding(index, _written(vector, note.request)) for index, vector in enumerate(vectors)],
            model=note.model.slug,
            usage=EmbeddingsUsage(**usage),
        )
        label = Label(tenant=claims.tenant, classification=note.model.classification, trust=Trust.UNTRUSTED)
        return Effect(body=_encode(reply), label=label, usage=usage)

    async def close(self) -> None:
        """Close the connections."""
        await self._upstreams.close()
        await self._local.close()

    async def _embed_here(self, claims: PermitClaims, payload: bytes, now_s: float) -> tuple[list[bytes], int]:
        texts: list[str] = msgspec.json.decode(payload)["input"]
        vectors, tokens = await self._local.embed(
            claims.tenant, texts, timeout_s=max(0.05, claims.expires_at_s - now_s)
        )
        size = len(vectors) // len(texts)
        return [vectors[start : start + size] for start in range(0, len(vectors), size)], tokens

    async def _ask(self, note: _Note, claims: PermitClaims, payload: bytes) -> tuple[list[bytes], int]:
        response = await self._upstreams.post(claims.tenant, note.model.upstream + EMBEDDINGS_PATH, payload)
        try:
            raise_for(response)
        except BaseException:
            response.close()
            raise
        body = await response.read(self._reply_limit_bytes)
        try:
            upstream = _reply.decode(body)
            ordered = sorted(upstream.data, key=lambda one: one.index)
            vectors = [_read(one.embedding, note.model.dimensions) for one in ordered]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, ValueError) as error:
            raise BadReply("the model's reply is not a list of embeddings") from error
        if [one.index for one in ordered] != list(range(len(note.request.texts))):
            raise BadReply("the model's reply is not a list of embeddings")
        return vectors, upstream.usage.prompt_tokens


def _check(request: EmbeddingsRequest, model: ModelFacts) -> None:
    if model.purpose != PURPOSE:
        raise Malformed("this model makes no embeddings", code="not-an-embedding-model")
    if request.dimensions is not None and request.dimensions != model.dimensions:
        raise Malformed(
            f"this model makes vectors of {model.dimensions} dimensions and no others", code="bad-dimensions"
        )


def _upstream_bytes(request: EmbeddingsRequest, model: ModelFacts) -> bytes:
    """Return the canonical bytes: allow-listed fields, and the upstream's own name for the model."""
    try:
        return _encode({"encoding_format": "float", "input": request.texts, "model": model.upstream_model})
    except UnicodeEncodeError:
        raise Malformed("text that is no UTF-8", code="bad-request") from None


def _read(given: list[float] | str, dimensions: int) -> bytes:
    """Return a vector of an upstream as 32-bit floats. Raises: ValueError for what is none."""
    vector = array("f", base64.b64decode(given, validate=True) if isinstance(given, str) else given)
    if len(vector) != dimensions or not all(map(math.isfinite, vector)):
        raise ValueError("not a vector of this model")
    return vector.tobytes()


def _written(vector: bytes, request: EmbeddingsRequest) -> Any:
    if request.encoding_format == "base64":
        return base64.b64encode(vector).decode()
    return array("f", vector).tolist()
