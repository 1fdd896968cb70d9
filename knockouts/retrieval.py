"""Gateways whose collections leak: one store for all, labels as uploads say, no grants. Source: attacks.md, RAG-*."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from knockouts.decision import _Permissive
from knockouts.knocked import Knocked
from partywall.decision.action import ActionType
from partywall.decision.decide import Decider
from partywall.decision.facts import CollectionFacts, TenantFacts
from partywall.decision.labels import Classification
from partywall.decision.ports import Call, Prepared, Provider
from partywall.decision.retrieval import Hit, Part, Question, Stored, Written
from partywall.providers.collections.provider import CollectionProvider
from partywall.store.collections import StoredCollections
from partywall.wire.ids import TenantId


class _Heap:
    """Everybody's documents in one place, found by the collection's name."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Written]] = {}

    def of(self, tenant: TenantId, collection: CollectionFacts, _clearance: Classification) -> _Pile:
        return _Pile(tenant, self._of.setdefault(collection.slug, {}))


class _Pile:
    def __init__(self, tenant: TenantId, documents: dict[str, Written]) -> None:
        self._tenant = tenant
        self._documents = documents

    async def digests(self, _ids: Sequence[str]) -> dict[str, bytes]:
        return {}

    async def put(self, documents: Sequence[Written], *, others: Mapping[str, int], limit_bytes: int) -> None:
        self._documents.update({one.stored.id: one for one in documents})

    async def get(self, document: str) -> tuple[Stored, list[Part]] | None:
        found = self._documents.get(document)
        if found is None:
            return None
        parts = [Part(number=at, text=one.text, start=one.start) for at, one in enumerate(found.passages, 1)]
        return self._shown(found), parts

    async def delete(self, document: str) -> bool:
        return self._documents.pop(document, None) is not None

    async def search(self, question: Question) -> list[Hit]:
        hits = [
            Hit(
                document=id_,
                number=at,
                score=sum(x * y for x, y in zip(passage.vector, question.vector, strict=True)),
                text=passage.text,
                metadata=one.stored.metadata,
                label=msgspec.structs.replace(one.stored.label, tenant=self._tenant),
            )
            for id_, one in self._documents.items()
            for at, passage in enumerate(one.passages, 1)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.document, hit.number))[: question.limit]

    async def list(self, after: str, limit: int) -> list[Stored]:
        return [self._shown(one) for id_, one in sorted(self._documents.items()) if id_ > after][:limit]

    def _shown(self, one: Written) -> Stored:
        label = msgspec.structs.replace(
            one.stored.label, tenant=self._tenant
        )  # or labels of two tenants would not join
        return msgspec.structs.replace(one.stored, label=label)


class CollectionsHeaped(Knocked):
    """Keeps the collections of all tenants in one store and filters by name."""

    name = "collections-heaped"

    def make_collections(self) -> Provider:
        return CollectionProvider(_Heap(), self.embeddings, clock=self.clock, tenant_limit_bytes=2**40)


class LabelsBelieved(Knocked):
    """Lets an upload say whose it is, and drops what it does not know."""

    name = "labels-believed"

    def make_collections(self) -> Provider:
        known = {"id", "text", "chunks", "vectors", "metadata", "classification"}

        class Believing(CollectionProvider):
            def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
                payload: dict[str, Any] = call.payload
                if isinstance(payload.get("documents"), list):
                    kept = [{name: one[name] for name in one if name in known} for one in payload["documents"]]
                    payload = payload | {"documents": kept}
                return super().prepare(msgspec.structs.replace(call, payload=payload), facts)

        limit_bytes = self.settings.collections.tenant_limit_bytes
        stored = StoredCollections(self.pool)
        return Believing(stored, self.embeddings, clock=self.clock, tenant_limit_bytes=limit_bytes)


class CollectionScopeOff(Knocked):
    """Opens every collection of a tenant to all of its agents."""

    name = "collection-scope-off"

    def make_decider(self) -> Decider:
        class Shared(_Permissive):
            actions = frozenset({ActionType.INGEST, ActionType.RETRIEVAL_SEARCH})

        return Shared()
