"""Collections: made by tenant-admins, filled and searched by whom these grant it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.errors import Malformed
from partywall.gateway.routes.document import ADMIN, MEMBERS, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.gateway.routes.request import Asked, number, refuse_body, refuse_unknown
from partywall.wire import collection_replies as answers
from partywall.wire import collections as wire
from partywall.wire import operations as ops
from partywall.wire import replies

_TEXT: Final = {"text": "Mail is answered within a day.", "metadata": {"team": "support"}}
_UPLOADED: Final = {404: ("not-found",), 409: ("conflict",), 429: ("too-many-chunks", "storage-full")}


class CollectionRoute(msgspec.Struct, frozen=True):
    """One verb on the documents of a collection, which the path names by slug or id."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    pattern: str
    verb: Literal["put", "get", "list", "delete", "search"]
    doc: Doc
    query: tuple[str, ...] = ()
    kind: str = "collection"

    @property
    def action(self) -> ActionType:
        """What it asks of the wall."""
        return ActionType.INGEST if self.verb in {"put", "delete"} else ActionType.RETRIEVAL_SEARCH

    @property
    def path_types(self) -> Mapping[str, Any]:
        """A collection's name, and a document's id."""
        types = {"collection": wire.CollectionName, "document": wire.DocumentId}
        return {name: type_ for name, type_ in types.items() if f"{{{name}}}" in self.pattern}

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, self.query)
        name = _checked(asked.path, self.path_types)
        return Call(
            action=self.action,
            kind=self.kind,
            name=name,
            payload={"operation": self.verb} | self._said(asked),
            trace_id=asked.trace_id,
            parameters=self._recorded(asked),
        )

    def _said(self, asked: Asked) -> dict[str, Any]:
        document = asked.path.get("document")
        if self.verb not in {"put", "search"}:
            refuse_body(asked)
            said = {name: number(name, text) if name == "limit" else text for name, text in asked.query.items()}
            return said if document is None else said | {"document": document}
        body = asked.body or {}
        if "operation" in body or (document is not None and "id" in body):
            raise Malformed("not a valid request: Object contains unknown field", code="bad-request")
        return body if document is None else {"documents": [body | {"id": document}]}

    def _recorded(self, asked: Asked) -> dict[str, Any]:
        """Return what the record says: counts, switches and the names in the path, never content."""
        recorded: dict[str, Any] = {"operation": f"collection.{self.verb}"}
        body = asked.body or {}
        if self.verb == "search":
            recorded["by"] = "vector" if "vector" in body else "text"
            recorded["filtered"] = bool(body.get("filter"))
        elif self.verb == "put" and "document" not in asked.path:
            documents = body.get("documents")
            recorded["documents"] = len(documents) if isinstance(documents, list) else 0
        return recorded | {name: text for name, text in asked.path.items() if name == "document"}


def _checked(path: Mapping[str, str], types: Mapping[str, Any]) -> str:
    for name, value in path.items():
        try:
            msgspec.convert(value, types[name])
        except msgspec.ValidationError as error:
            raise Malformed("not a name in the path", code="malformed-id") from error
    return path["collection"]


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "collections", "who": MEMBERS, "errors": {404: ("not-found",)}} | more
    return Doc(summary=summary, reply=reply, **given)


_TO_ONE: Final = tuple(
    Link(to=f"{method} /v1/collections/{{collection}}", path={"collection": "/id"}) for method in ("GET", "DELETE")
)
_DOCUMENTS: Final = "/v1/collections/{collection}/documents"

COLLECTION_OPERATIONS: Final = (
    OperationRoute(
        "GET",
        "/v1/collections",
        ops.CollectionList,
        _doc("List the collections", answers.Collections, who=ADMIN, errors={}),
        query=PAGE,
    ),
    OperationRoute(
        "POST",
        "/v1/collections",
        ops.CollectionCreate,
        _doc(
            "Make a collection",
            answers.Collection,
            who=ADMIN,
            errors={409: ("taken",), 429: ("leaves-full",)},
            links=_TO_ONE,
            example={"slug": "handbook", "model": "minilm"},
        ),
    ),
    OperationRoute(
        "GET",
        "/v1/collections/{collection}",
        ops.CollectionShow,
        _doc("Show a collection", answers.Collection, who=ADMIN, etag=True),
    ),
    OperationRoute(
        "DELETE",
        "/v1/collections/{collection}",
        ops.CollectionDelete,
        _doc("Delete a collection with its documents", replies.Deleted, who=ADMIN, conditional=True),
    ),
)
COLLECTION_DOCUMENTS: Final = (
    CollectionRoute(
        "GET",
        _DOCUMENTS,
        "list",
        _doc(
            "List the documents, without their text",
            answers.Documents,
            query={"limit": wire.PageLimit, "cursor": wire.DocumentId},
        ),
        query=PAGE,
    ),
    CollectionRoute(
        "POST",
        _DOCUMENTS,
        "put",
        _doc(
            "Write or replace documents, all or none",
            answers.DocumentsWritten,
            request=wire.Upload,
            errors=_UPLOADED,
            example={"documents": [{"id": "mail"} | _TEXT]},
        ),
    ),
    CollectionRoute(
        "PUT",
        _DOCUMENTS + "/{document}",
        "put",
        _doc(
            "Write or replace one document",
            answers.DocumentsWritten,
            request=wire.Body,
            errors=_UPLOADED,
            example=_TEXT,
        ),
    ),
    CollectionRoute(
        "GET", _DOCUMENTS + "/{document}", "get", _doc("Read one document", answers.DocumentText, etag=True)
    ),
    CollectionRoute(
        "DELETE", _DOCUMENTS + "/{document}", "delete", _doc("Delete one document", answers.DocumentDeleted)
    ),
    CollectionRoute(
        "POST",
        "/v1/collections/{collection}/search",
        "search",
        _doc(
            "Find the nearest chunks",
            answers.SearchResults,
            request=wire.Query,
            example={"text": "how fast is mail answered", "limit": 5},
        ),
    ),
)
