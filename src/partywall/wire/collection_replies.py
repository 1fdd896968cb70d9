"""What the API answers of collections, one struct each (see `wire/replies.py`)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from partywall.wire.collections import DocumentId
from partywall.wire.operations import Dimensions, Id, Level, Slug
from partywall.wire.replies import Page, Reply

Classified = Annotated[str, Meta(pattern=r"^(public|internal|confidential|restricted)\Z")]
Trusted = Annotated[str, Meta(pattern=r"^(untrusted|trusted)\Z")]


class Collection(Reply, frozen=True, kw_only=True):
    """Documents that are searched together. model, dimensions, classification: never change."""

    id: Id
    slug: Slug
    model: Id
    dimensions: Dimensions
    classification: Level
    created_at_s: float


class Collections(Page, frozen=True, kw_only=True):
    """A page of collections, by slug."""

    collections: list[Collection]


class Document(Reply, frozen=True, kw_only=True):
    """A document without its text. chunks: how many."""

    id: DocumentId
    chunks: int
    metadata: dict[str, Any]
    classification: Classified
    trust: Trusted
    updated_at_s: float


class Documents(Page, frozen=True, kw_only=True):
    """A page of documents, by id."""

    documents: list[Document]


class Part(Reply, frozen=True, kw_only=True):
    """One chunk of a document. number: from 1."""

    number: int
    text: str


class DocumentText(Document, frozen=True, kw_only=True):
    """A document with its chunks, and with its text unless its writer cut it."""

    parts: list[Part]
    text: str | UnsetType = UNSET


class DocumentWritten(Reply, frozen=True, kw_only=True):
    """changed: whether it differs from what was there. chunks: null when it does not."""

    id: DocumentId
    changed: bool
    chunks: int | None
    classification: Classified
    trust: Trusted


class DocumentsWritten(Reply, frozen=True, kw_only=True):
    """What was written, and with which labels."""

    documents: list[DocumentWritten]


class DocumentDeleted(Reply, frozen=True, kw_only=True):
    """deleted: whether there was such a document."""

    id: DocumentId
    deleted: bool


class ResultLabel(Reply, frozen=True, kw_only=True):
    """Whose a chunk is, how sensitive, and how far it can be trusted."""

    tenant: Id
    classification: Classified
    trust: Trusted


class Result(Reply, frozen=True, kw_only=True):
    """One chunk. chunk: `<document>#<number>`; score: the cosine of the angle to the query."""

    document: DocumentId
    chunk: str
    score: Annotated[float, Meta(ge=-1.001, le=1.001)]
    text: str
    metadata: dict[str, Any]
    label: ResultLabel


class SearchResults(Reply, frozen=True, kw_only=True):
    """Chunks, best first; equal ones by document and number."""

    collection: Id
    results: list[Result]
