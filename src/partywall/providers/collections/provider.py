"""Collections: put, get, list, delete, search. The resource is `collection/<id>`, whoever asks.

Writing needs a grant of `ingest`, reading and searching one of `retrieval.search`: a tenant's agents share a collection
by grant and not otherwise. Text becomes vectors by a nested `embed` on the collection's model, so a principal who may
not embed sends vectors, or nothing. Source: attacks.md AGENT-1, RAG-4, RAG-5; ADR-0013.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import CollectionFacts, TenantFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Effect, Located, Prepared, Road
from partywall.decision.retrieval import Collection, Collections, Hit, Part, Question, Splitter, Stored
from partywall.errors import Bug, CallerFault, Malformed, NotFound
from partywall.providers.collections.ingest import Ingest, embed, written_label
from partywall.wire import collections as wire
from partywall.wire.collections import facet, parse_operation

ACTION_OF: Final[dict[type[wire.Operation], ActionType]] = {
    wire.Put: ActionType.INGEST,
    wire.Delete: ActionType.INGEST,
    wire.Get: ActionType.RETRIEVAL_SEARCH,
    wire.List: ActionType.RETRIEVAL_SEARCH,
    wire.Search: ActionType.RETRIEVAL_SEARCH,
}
_canonical = msgspec.json.Encoder(order="sorted").encode
_decoder: Final = msgspec.json.Decoder(wire.Operation)


class _Note(msgspec.Struct, frozen=True):
    """What `prepare` found, for `perform`. others: dimensions of the tenant's other collections, by id."""

    collection: CollectionFacts
    others: dict[str, int]


class CollectionProvider:
    """Documents of one region's tenants. tenant_limit_bytes: of text and vectors, in all collections of a tenant."""

    kind = "collection"
    actions = frozenset({ActionType.INGEST, ActionType.RETRIEVAL_SEARCH})

    def __init__(self, collections: Collections, splitter: Splitter, *, clock: Clock, tenant_limit_bytes: int) -> None:
        self._collections = collections
        self._splitter = splitter
        self._clock = clock
        self._tenant_limit_bytes = tenant_limit_bytes

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the collection and the operation's canonical bytes. call.name: its id or slug in this cell.

        Raises: NotFound; Malformed or LimitExceeded, about that collection.
        """
        collection = find_collection(facts, call.name)
        resource = Resource(facts.region, facts.id, self.kind, collection.id)
        try:
            payload = _exact(call, collection)
        except CallerFault as fault:
            fault.about = resource
            raise
        others = {id_: one.dimensions for id_, one in facts.collections.items() if id_ != collection.id}
        return Prepared(resource=resource, payload=payload, note=_Note(collection, others))

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return a collection of this cell. Raises: NotFound."""
        return Located(Resource(facts.region, facts.id, self.kind, find_collection(facts, name).id))

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return the slug of every collection of this cell."""
        return sorted(collection.slug for collection in facts.collections.values())

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Do it in the collection that the permit names.

        Raises: NotFound, Conflict, LimitExceeded, Malformed, Unavailable; what a nested `embed` raises.
        """
        operation = _decoder.decode(payload)
        now_s = self._clock()
        claims = permit.redeem(ACTION_OF[type(operation)], payload, now_s)
        note = permit.note
        assert isinstance(note, _Note)
        resource = claims.action.resource
        if (resource.kind, resource.id, resource.tenant) != (self.kind, note.collection.id, claims.tenant):
            raise Bug("a permit of another provider", private=claims.id)
        handle = self._collections.of(claims.tenant, note.collection, claims.principal.clearance)
        if isinstance(operation, wire.Put):
            timeout_s = max(0.05, claims.expires_at_s - now_s)
            ingest = Ingest(
                self._splitter,
                road,
                note.collection,
                tenant=claims.tenant,
                timeout_s=timeout_s,
                trace_id=claims.trace_id,
            )
            return await self._put(handle, note, operation, claims, ingest)
        if isinstance(operation, wire.Search):
            return await _search(handle, note.collection, operation, claims, road)
        label = base_label(claims, note.collection)
        if isinstance(operation, wire.Delete):
            deleted = await handle.delete(operation.document)
            return Effect(body=_canonical({"id": operation.document, "deleted": deleted}), label=label)
        return await _read(handle, operation, label)

    async def _put(
        self, handle: Collection, note: _Note, operation: wire.Put, claims: PermitClaims, ingest: Ingest
    ) -> Effect:
        base = base_label(claims, note.collection)
        labels = {document.id: written_label(base, document, claims.principal) for document in operation.documents}
        known = await handle.digests(list(labels))
        written = [
            await ingest.written(document, labels[document.id])
            for document in operation.documents
            if known.get(document.id) != ingest.digest(document, labels[document.id])
        ]
        if written:
            await handle.put(written, others=note.others, limit_bytes=self._tenant_limit_bytes)
        chunks = {one.stored.id: one.stored.chunks for one in written}
        shown = [
            {"id": id_, **levels(label), "changed": id_ in chunks, "chunks": chunks.get(id_)}
            for id_, label in labels.items()
        ]
        return Effect(
            body=_canonical({"documents": shown}),
            label=functools.reduce(Label.join, labels.values(), base),
            usage={"documents": len(written), "chunks": sum(chunks.values())},
        )


async def _search(
    handle: Collection, collection: CollectionFacts, operation: wire.Search, claims: PermitClaims, road: Road
) -> Effect:
    vector = operation.vector
    if vector is None:
        assert operation.text is not None
        [vector] = await embed(road, collection, [operation.text], claims.trace_id)
    facets = [facet(name, value) for name, value in sorted(operation.filter.items())]
    hits = await handle.search(Question(vector=vector, limit=operation.limit, facets=facets))
    label = base_label(claims, collection)
    for hit in hits:
        label = label.join(hit.label)
    return Effect(
        body=_canonical({"collection": collection.id, "results": [_shown_hit(hit) for hit in hits]}),
        label=label,
        usage={"chunks": len(hits)},
    )


async def _read(handle: Collection, operation: wire.Get | wire.List, label: Label) -> Effect:
    if isinstance(operation, wire.Get):
        found = await handle.get(operation.document)
        if found is None:
            raise NotFound("there is no such thing here")
        stored, parts = found
        return Effect(body=_canonical(_shown_document(stored) | _shown_text(parts)), label=label.join(stored.label))
    page = await handle.list(operation.cursor or "", operation.limit + 1)
    shown, following = page[: operation.limit], page[operation.limit :]
    for stored in shown:
        label = label.join(stored.label)
    cursor = shown[-1].id if following else None
    return Effect(
        body=_canonical({"documents": [_shown_document(stored) for stored in shown], "next_cursor": cursor}),
        label=label,
    )


def find_collection(facts: TenantFacts, name: str) -> CollectionFacts:
    """Return the collection of this slug or id in this cell. Raises: NotFound."""
    collection = facts.collections.get(name)
    if collection is not None:
        return collection
    for collection in facts.collections.values():
        if collection.slug == name:
            return collection
    raise NotFound("there is no such collection here")


def base_label(claims: PermitClaims, collection: CollectionFacts) -> Label:
    """Return the label that everything in a collection has at least."""
    return Label(tenant=claims.tenant, classification=collection.classification, trust=Trust.UNTRUSTED)


def levels(label: Label) -> dict[str, str]:
    """Return a label's words."""
    return {
        "classification": Classification(label.classification).name.lower(),
        "trust": Trust(label.trust).name.lower(),
    }


def _exact(call: Call, collection: CollectionFacts) -> bytes:
    """Return the operation's canonical bytes. Raises: Malformed, LimitExceeded; Bug for another action than it says."""
    operation = parse_operation(call.payload)
    if ACTION_OF[type(operation)] is not call.action:
        raise Bug("a door named another action than its operation", private=str(call.action))
    _check_dimensions(operation, collection.dimensions)
    try:
        return _canonical(operation)
    except UnicodeEncodeError:
        raise Malformed("text that is no UTF-8", code="bad-request") from None


def _check_dimensions(operation: wire.Operation, dimensions: int) -> None:
    given: list[list[float]] = []
    if isinstance(operation, wire.Search) and operation.vector is not None:
        given = [operation.vector]
    elif isinstance(operation, wire.Put):
        given = [vector for document in operation.documents for vector in document.vectors or ()]
    if any(len(vector) != dimensions for vector in given):
        raise Malformed(f"vectors of this collection have {dimensions} dimensions", code="bad-dimensions")


def _shown_hit(hit: Hit) -> dict[str, Any]:
    return {
        "document": hit.document,
        "chunk": f"{hit.document}#{hit.number}",
        "score": hit.score,
        "text": hit.text,
        "metadata": hit.metadata,
        "label": {"tenant": hit.label.tenant, **levels(hit.label)},
    }


def _shown_document(stored: Stored) -> dict[str, Any]:
    return {
        "id": stored.id,
        "chunks": stored.chunks,
        "metadata": stored.metadata,
        "updated_at_s": round(stored.updated_at_s, 3),
        **levels(stored.label),
    }


def _shown_text(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the chunks and, of a document that came as one text, that text."""
    chunks = [{"number": part.number, "text": part.text} for part in parts]
    if not parts or parts[0].start is None:
        return {"parts": chunks}
    text, end = [], 0
    for part in parts:
        start = part.start or 0
        text.append(part.text[end - start :] if end > start else part.text)
        end = max(end, start + len(part.text))
    return {"parts": chunks, "text": "".join(text)}
