"""What a collection is to the road: its stored pieces, and the port of the store that holds them. Protocols only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from partywall.decision.facts import CollectionFacts
from partywall.decision.labels import Classification, Label
from partywall.wire.ids import TenantId


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk of a document. start: where it begins in the document's text, None when the caller cut it."""

    text: str
    vector: Sequence[float]
    start: int | None = None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it is written or listed. digest: SHA-256 over all that the caller sent of it. chunks: how many."""

    id: str
    digest: bytes
    label: Label
    chunks: int
    metadata: dict[str, Any] = {}
    updated_at_s: float = 0.0


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A document to be written, whole."""

    stored: Stored
    passages: Sequence[Passage]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk as it is read back."""

    number: int
    text: str
    start: int | None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk that a search found. score: the cosine of the angle to the query, at most 1."""

    document: str
    number: int
    score: float
    text: str
    metadata: dict[str, Any]
    label: Label


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A search. vector: of length 1. facets: metadata entries (`wire.collections.facet`) that all must be there."""

    vector: Sequence[float]
    limit: int
    facets: Sequence[str] = ()


class Collection(Protocol):
    """One collection in one tenant: a handle that names nothing else. Documents above `clearance` do not exist.

    Each call is one transaction. All raise Unavailable; NotFound when the collection was deleted meanwhile.
    """

    async def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the digests of those of these documents that there are."""
        ...

    async def put(self, documents: Sequence[Written], *, others: Mapping[str, int], limit_bytes: int) -> None:
        """Write or replace the documents, all or none.

        others: dimensions of the tenant's other collections, by id; limit_bytes: of text and vectors, in all of them.
        Raises: Conflict for a document that the writer may not see; LimitExceeded.
        """
        ...

    async def get(self, document: str) -> tuple[Stored, Sequence[Part]] | None:
        """Return a document with its chunks in order, or None."""
        ...

    async def delete(self, document: str) -> bool:
        """Remove a document and tell whether there was one."""
        ...

    async def search(self, question: Question) -> Sequence[Hit]:
        """Return the best chunks, best first; ties by document id and number."""
        ...

    async def list(self, after: str, limit: int) -> Sequence[Stored]:
        """Return at most limit documents by id, after an id."""
        ...


class Collections(Protocol):
    """Hands out collections; the permit says whose."""

    def of(self, tenant: TenantId, collection: CollectionFacts, clearance: Classification) -> Collection:
        """Return the handle of one collection, for a reader of this clearance."""
        ...


class Splitter(Protocol):
    """Cuts texts into chunks."""

    async def split(self, tenant: str, text: str, *, timeout_s: float) -> list[tuple[int, int]]:
        """Return (start, stop) of each chunk. tenant: whose turn it takes. Raises: Unavailable."""
        ...
