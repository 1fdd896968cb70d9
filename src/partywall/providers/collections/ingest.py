"""From a document as it was sent to what is stored of it: chunks, vectors, label and digest."""

from __future__ import annotations

import base64
import hashlib
from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.facts import CollectionFacts
from partywall.decision.labels import Classification, Label
from partywall.decision.ports import Call, Road
from partywall.decision.principal import Principal
from partywall.decision.retrieval import Passage, Splitter, Stored, Written
from partywall.errors import BadReply, Denied, LimitExceeded, Malformed, NotFound
from partywall.wire.collections import CHUNKS_LIMIT, Document, unit
from partywall.wire.openai_embeddings import EmbeddingsReply, EmbeddingsRequest

EMBED_BATCH: Final = 64
"""Texts of one nested `embed`: each has an intent and an outcome in the log."""
_canonical = msgspec.json.Encoder(order="sorted").encode
_reply = msgspec.json.Decoder(EmbeddingsReply)


class Ingest:
    """Turns the documents of one request into what is stored. timeout_s: for cutting one text."""

    def __init__(
        self,
        splitter: Splitter,
        road: Road,
        collection: CollectionFacts,
        *,
        tenant: str,
        timeout_s: float,
        trace_id: str,
    ) -> None:
        self._splitter = splitter
        self._tenant = tenant
        self._road = road
        self._collection = collection
        self._timeout_s = timeout_s
        self._trace_id = trace_id
        self._chunks = 0

    def digest(self, document: Document, label: Label) -> bytes:
        """Return what tells whether a document is the stored one: SHA-256 over all of it."""
        whole = _canonical([document, int(label.classification), int(label.trust)])
        return hashlib.sha256(whole).digest()

    async def written(self, document: Document, label: Label) -> Written:
        """Return a document cut and embedded. Raises: LimitExceeded, Malformed; what a nested `embed` raises."""
        spans, texts = await self._cut(document)
        self._chunks += len(texts)
        if self._chunks > CHUNKS_LIMIT:
            raise LimitExceeded(
                f"more than {CHUNKS_LIMIT} chunks in a request: send less at once", code="too-many-chunks"
            )
        vectors = await self._vectors(document, texts)
        stored = Stored(
            id=document.id,
            digest=self.digest(document, label),
            label=label,
            chunks=len(texts),
            metadata=document.metadata,
        )
        passages = [
            Passage(text=text, vector=vector, start=start)
            for text, vector, start in zip(texts, vectors, spans, strict=True)
        ]
        return Written(stored=stored, passages=passages)

    async def _cut(self, document: Document) -> tuple[list[int | None], list[str]]:
        if document.text is None:
            chunks = document.chunks or []
            return [None] * len(chunks), chunks
        spans = await self._splitter.split(self._tenant, document.text, timeout_s=self._timeout_s)
        return [start for start, _ in spans], [document.text[start:stop] for start, stop in spans]

    async def _vectors(self, document: Document, texts: list[str]) -> list[list[float]]:
        if document.vectors is not None:
            return document.vectors
        found: list[list[float]] = []
        for start in range(0, len(texts), EMBED_BATCH):
            found += await embed(self._road, self._collection, texts[start : start + EMBED_BATCH], self._trace_id)
        return found


async def embed(road: Road, collection: CollectionFacts, texts: Sequence[str], trace_id: str) -> list[list[float]]:
    """Return a vector of length 1 for each text, by the collection's own model, as an action of its own on the road.

    Raises: Denied (`denied-embed`) for a principal that may not embed; what the road raises; BadReply.
    """
    call = Call(
        action=ActionType.EMBED,
        kind="model",
        name=collection.model,
        payload=EmbeddingsRequest(model=collection.model, input=list(texts), encoding_format="base64"),
        trace_id=trace_id,
        parameters={"inputs": len(texts)},
    )
    try:
        effect = await road.submit(call)
    except (Denied, NotFound) as error:
        raise Denied(
            f"text needs a grant of embed on the model of this collection (model/{collection.model}),"
            " and a credential whose scopes include it: ask a tenant administrator, or send vectors",
            code="denied-embed",
        ) from error
    assert isinstance(effect.body, bytes)
    vectors = [_numbers(one.embedding) for one in _reply.decode(effect.body).data]
    if len(vectors) != len(texts) or any(len(vector) != collection.dimensions for vector in vectors):
        raise BadReply("the model made vectors of another collection")
    return [unit(vector) for vector in vectors]


def _numbers(embedding: list[float] | str) -> list[float]:
    return array("f", base64.b64decode(embedding)).tolist() if isinstance(embedding, str) else embedding


def written_label(label: Label, document: Document, principal: Principal) -> Label:
    """Return the label of a document: its collection's, or above as its writer says, and never trusted.

    Whoever uploads a document seldom wrote it, and who did is anybody. Raises: Malformed above the writer's clearance.
    """
    level = max(label.classification, Classification(document.classification or 0))
    if level > principal.clearance:
        raise Malformed("the classification is above your clearance", code="above-clearance")
    return msgspec.structs.replace(label, classification=level)
