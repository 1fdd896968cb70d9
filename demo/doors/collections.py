"""Collections and embeddings: the neighbour's documents, by name and by what they say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec

from demo.doors.attempt import NOBODY, Request, Try, by_name
from demo.doors.openai import MISSING_MODEL
from demo.tenants import Tenant

MISSING_COLLECTION: Final = "col_" + "a" * 26
_STOLEN: Final[dict[str, Any]] = {"documents": [{"id": "mole", "text": "I was here."}]}
_VERBS: Final[tuple[tuple[str, str, str, Any, str], ...]] = (
    ("search it", "POST", "/search", {"text": "secret"}, "retrieval.search"),
    ("list its documents", "GET", "/documents", None, "retrieval.search"),
    ("read a document", "GET", "/documents/vault", None, "retrieval.search"),
    ("plant a document", "POST", "/documents", _STOLEN, "ingest"),
    ("delete a document", "DELETE", "/documents/vault", None, "ingest"),
)


def here(a: Tenant) -> bool:
    """Whether the tenant has a collection with documents."""
    return bool(a.collection)


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """Each verb on the neighbour's collection, by id and by slug; its words in one's own; its label on an upload."""
    for what, name, missing in (("slug", b.collection_slug, NOBODY), ("id", b.collection, MISSING_COLLECTION)):
        for tried, method, path, body, acts in _VERBS:
            build = partial(_of, Request(method=method, path=path, body=body, credential=a.key, acts=acts))
            real, twin = by_name(build, name, missing)
            yield Try(tried=f"{tried}, by its {what}", request=real, twin=twin, refused=(404,))
    mine = f"/v1/collections/{a.collection_slug}"
    search = Request(path=f"{mine}/search", body={"text": b.canary}, credential=a.key, acts="retrieval.search")
    yield Try(tried="its secret's own words, in one's own collection", request=search, refused=(), answered=True)
    for field in ("tenant", "owner", "trust"):
        body = {"documents": [{"id": "x", "text": "x", "metadata": {field: b.id}}]}
        request = Request(path=f"{mine}/documents", body=body, credential=a.key, acts="ingest")
        yield Try(tried=f"an upload whose label `{field}` names the neighbour", request=request, refused=(400,))


def embeddings(a: Tenant, b: Tenant) -> Iterator[Try]:
    """The neighbour's embedding model, and a field that would choose an upstream."""
    for what, name, missing in (("slug", b.embedder_slug, NOBODY), ("id", b.embedder, MISSING_MODEL)):
        real, twin = by_name(partial(_embed, a.key), name, missing)
        yield Try(tried=f"embed with its model, by {what}", request=real, twin=twin, refused=(404,))
    request = Request(
        path="/v1/embeddings",
        body={"model": a.embedder_slug, "input": "x", "api_base": "http://127.0.0.1:9"},
        credential=a.key,
    )
    yield Try(tried="a field `api_base` that chooses the upstream", request=request, refused=(400,))


def _of(request: Request, name: str) -> Request:
    return msgspec.structs.replace(request, path=f"/v1/collections/{name}{request.path}")


def _embed(key: str, model: str) -> Request:
    return Request(path="/v1/embeddings", body={"model": model, "input": "x"}, credential=key, acts="embed")
