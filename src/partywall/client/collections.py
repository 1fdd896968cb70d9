"""Collections: documents that are found by meaning, each with the label that the wall gave it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from partywall.client.transport import Transport, given, segment
from partywall.wire import collection_replies as answers
from partywall.wire import replies
from partywall.wire.collections import Document


class Collections:
    """Made by a tenant-admin; written and searched by whom it granted `ingest` and `retrieval.search`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, slug: str, *, model: str, classification: int = 1) -> answers.Collection:
        """Make a collection. model: the slug of an embedding model; it and the classification never change."""
        body = {"slug": slug, "model": model, "classification": classification}
        return await self._transport.ask("POST", "/v1/collections", answers.Collection, body=body)

    async def list(self) -> AsyncIterator[answers.Collection]:
        """Yield every collection, by slug."""
        async for page in self._transport.pages("/v1/collections", answers.Collections):
            for collection in page.collections:
                yield collection

    async def delete(self, collection: str) -> None:
        """Delete a collection with its documents. collection: its id."""
        await self._transport.ask("DELETE", f"/v1/collections/{segment(collection)}", replies.Deleted)

    async def add(self, collection: str, documents: Iterable[Document]) -> Sequence[answers.DocumentWritten]:
        """Write or replace documents, all or none. At most 100 a call. collection: slug or id."""
        path = f"/v1/collections/{segment(collection)}/documents"
        body = {"documents": list(documents)}
        return (await self._transport.ask("POST", path, answers.DocumentsWritten, body=body, keyed=False)).documents

    async def documents(self, collection: str) -> AsyncIterator[answers.Document]:
        """Yield every document without its text, by id."""
        async for page in self._transport.pages(f"/v1/collections/{segment(collection)}/documents", answers.Documents):
            for document in page.documents:
                yield document

    async def get(self, collection: str, document: str) -> answers.DocumentText:
        """Return one document with its text. Raises: NotFound."""
        return await self._transport.ask("GET", _document(collection, document), answers.DocumentText)

    async def remove(self, collection: str, document: str) -> bool:
        """Delete one document and tell whether there was one."""
        path = _document(collection, document)
        return (await self._transport.ask("DELETE", path, answers.DocumentDeleted)).deleted

    async def search(
        self,
        collection: str,
        text: str | None = None,
        *,
        vector: Sequence[float] | None = None,
        limit: int = 10,
        filter_by: dict[str, Any] | None = None,
    ) -> Sequence[answers.Result]:
        """Return the nearest chunks to a text or a vector, best first. filter_by: metadata that must be equal."""
        path = f"/v1/collections/{segment(collection)}/search"
        body = given(text=text, vector=vector, limit=limit, filter=filter_by)
        return (await self._transport.ask("POST", path, answers.SearchResults, body=body, keyed=False)).results


def _document(collection: str, document: str) -> str:
    return f"/v1/collections/{segment(collection)}/documents/{segment(document)}"
