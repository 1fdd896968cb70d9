"""What may be asked of a collection's documents: one strict struct each. Nothing in them names a tenant or a trust.

Whose a document is and how far it may be trusted is the wall's to say: an upload that says it itself is refused.
Source: attacks.md RAG-5, docs/adr/0013-collections.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from partywall.errors import LimitExceeded, Malformed

DOCUMENTS_LIMIT: Final = 100
CHUNKS_LIMIT: Final = 1_000
"""Documents and chunks of one request."""
RESULTS_LIMIT: Final = 50
PAGE_LIMIT: Final = 100
TEXT_LIMIT_CHARACTERS: Final = 1_048_576
CHUNK_LIMIT_CHARACTERS: Final = 8_192
METADATA_LIMIT: Final = 32
DIMENSIONS_LIMIT: Final = 2_000
"""What an HNSW index of 32-bit floats can hold."""
RESERVED: Final = frozenset({"tenant", "trust", "classification", "sensitivity", "label", "owner"})
"""Names that the wall alone gives: metadata that carries one is a forged label."""

DocumentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:~-]{0,127}\Z")]
CollectionName = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9-]{0,62}|col_[a-z2-7]{26})\Z")]
Level = Annotated[int, Meta(ge=0, le=3)]
Chunk = Annotated[str, Meta(min_length=1, max_length=CHUNK_LIMIT_CHARACTERS)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")]
Value = Annotated[str, Meta(max_length=1_024)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | bool | None
Metadata = Annotated[dict[Name, Value], Meta(max_length=METADATA_LIMIT)]
PageLimit = Annotated[int, Meta(ge=1, le=PAGE_LIMIT)]
Vector = Annotated[list[float], Meta(min_length=1, max_length=DIMENSIONS_LIMIT)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Body(_Strict, frozen=True):
    """A document's content: `text`, or `chunks` cut by the caller, these with or without `vectors` of their own."""

    text: Annotated[str, Meta(min_length=1, max_length=TEXT_LIMIT_CHARACTERS)] | None = None
    chunks: Annotated[list[Chunk], Meta(min_length=1, max_length=CHUNKS_LIMIT)] | None = None
    vectors: Annotated[list[Vector], Meta(min_length=1, max_length=CHUNKS_LIMIT)] | None = None
    metadata: Metadata = {}
    classification: Level | None = None


class Document(Body, frozen=True, kw_only=True):
    """A document with its id, for requests of several."""

    id: DocumentId


class _Operation(_Strict, frozen=True, tag_field="operation"):
    pass


class Upload(_Strict, frozen=True):
    """Documents to write or replace, all or none."""

    documents: Annotated[list[Document], Meta(min_length=1, max_length=DOCUMENTS_LIMIT)]


class Put(Upload, frozen=True, tag_field="operation", tag="put"):
    """Reply: {documents: [{id, chunks, classification, trust, changed}]}."""


class Get(_Operation, frozen=True, tag="get"):
    """One document with its chunks."""

    document: DocumentId


class Delete(_Operation, frozen=True, tag="delete"):
    """Reply: {id, deleted}."""

    document: DocumentId


class List(_Operation, frozen=True, tag="list"):
    """Documents by id, after `cursor`. Reply: {documents: […], next_cursor}."""

    cursor: DocumentId | None = None
    limit: PageLimit = PAGE_LIMIT


class Query(_Strict, frozen=True):
    """Finds the nearest chunks to `text` or to `vector`, of documents that have every value of `filter`."""

    text: Annotated[str, Meta(min_length=1, max_length=CHUNK_LIMIT_CHARACTERS)] | None = None
    vector: Vector | None = None
    limit: Annotated[int, Meta(ge=1, le=RESULTS_LIMIT)] = 10
    filter: Metadata = {}


class Search(Query, frozen=True, tag_field="operation", tag="search"):
    """Reply: {collection, results: [{document, chunk, score, text, metadata, label}]}, best first."""


Operation = Put | Get | Delete | List | Search


def parse_operation(value: Any) -> Operation:
    """Return the operation that a parsed JSON value is, its vectors at length 1. Raises: Malformed, LimitExceeded."""
    try:
        operation: Operation = msgspec.convert(value, Operation)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a valid request: {str(error)[:200]}", code="bad-request") from error
    if isinstance(operation, Put):
        _check_documents(operation.documents)
        return msgspec.structs.replace(operation, documents=[_exact(document) for document in operation.documents])
    if isinstance(operation, Search):
        if (operation.text is None) == (operation.vector is None):
            raise Malformed("give either `text` or `vector`", code="bad-request")
        _check_metadata(operation.filter)
        return msgspec.structs.replace(operation, vector=None if operation.vector is None else unit(operation.vector))
    return operation


def _check_documents(documents: Sequence[Document]) -> None:
    if len({document.id for document in documents}) != len(documents):
        raise Malformed("the same document twice in one request", code="bad-request")
    if sum(len(document.chunks or ()) for document in documents) > CHUNKS_LIMIT:
        raise LimitExceeded(f"at most {CHUNKS_LIMIT} chunks a request: send fewer documents", code="too-many-chunks")
    for document in documents:
        if (document.text is None) == (document.chunks is None):
            raise Malformed(f"document {document.id}: give either `text` or `chunks`", code="bad-request")
        if document.vectors is not None and len(document.vectors) != len(document.chunks or ()):
            raise Malformed(f"document {document.id}: one vector for each of its chunks", code="bad-request")
        _check_metadata(document.metadata)


def _exact(document: Document) -> Document:
    if document.vectors is None:
        return document
    return msgspec.structs.replace(document, vectors=[unit(vector) for vector in document.vectors])


def _check_metadata(metadata: dict[str, Any]) -> None:
    forged = sorted(RESERVED & {name.lower() for name in metadata})
    if forged:
        raise Malformed(f"only the wall says `{forged[0]}`: not a name for metadata", code="reserved-name")
    if any(isinstance(value, float) and not math.isfinite(value) for value in metadata.values()):
        raise Malformed("a number that is no JSON", code="bad-request")


def unit(vector: Sequence[float]) -> list[float]:
    """Return the vector at length 1. Raises: Malformed when it has no direction."""
    largest = max(map(abs, vector))
    if not 1e-30 < largest < 1e30:  # nan, too
        raise Malformed("a vector that has no direction", code="bad-vector")
    scaled = [number / largest for number in vector]
    length = math.sqrt(math.fsum(number * number for number in scaled))
    if not math.isfinite(length):
        raise Malformed("a vector that has no direction", code="bad-vector")
    return [number / length for number in scaled]


def facet(name: str, value: Any) -> str:
    """Return the text of which a metadata entry's searchable digest is made: JSON, so that 1 and "1" differ."""
    return msgspec.json.encode([name, value]).decode()
