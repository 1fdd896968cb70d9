"""A throwaway collection of one side, with an agent that may fill and search it."""

from __future__ import annotations

from typing import Any, Final

from partywall.assurance.target import Side, must
from partywall.assurance.wire import Answer

LOCAL: Final = {"upstream": "local:minilm", "upstream_model": "minilm", "dimensions": 384}


class Shelf:
    """Collection `slug` of a side, and `key` of an agent that may use it.

    operator: a platform operator's key, to register the embedding model. local: use the deployment's own model; else
    one of 3 dimensions that nobody serves, for collections that are only given vectors.
    """

    def __init__(self, side: Side, operator: str, slug: str = "shelf", *, local: bool = False) -> None:
        self.side = side
        self.slug = slug
        self.model = f"{slug}-model"
        given: dict[str, Any] = (
            LOCAL if local else {"upstream": side.upstream.url, "upstream_model": "x", "dimensions": 3}
        )
        body = {"slug": self.model, "purpose": "embeddings", **given}
        path = f"/v1/tenants/{side.tenant}/models"
        must(side.wire.send("POST", path, credential=operator, body=body))
        self.id = str(side.api("POST", "/v1/collections", {"slug": slug, "model": self.model})["id"])
        self.agent = side.subject(f"{slug}-agent", self.grants())
        self.key = side.new_key(self.agent)

    def grants(self) -> list[dict[str, Any]]:
        """Return the grants that filling and searching with text need."""
        collection, model = f"collection/{self.slug}", f"model/{self.model}"
        return [
            {"action": "ingest", "resource": collection},
            {"action": "retrieval.search", "resource": collection},
            {"action": "embed", "resource": model},
        ]

    def put(self, document: str, body: dict[str, Any], *, key: str | None = None) -> Answer:
        """Write one document."""
        return self._send("PUT", f"documents/{document}", body, key)

    def upload(self, documents: list[dict[str, Any]], *, key: str | None = None) -> Answer:
        """Write several."""
        return self._send("POST", "documents", {"documents": documents}, key)

    def get(self, document: str, *, key: str | None = None) -> Answer:
        """Read one."""
        return self._send("GET", f"documents/{document}", None, key)

    def list(self, query: str = "", *, key: str | None = None) -> Answer:
        """List them. query: `?limit=2&cursor=x`."""
        return self._send("GET", "documents" + query, None, key)

    def delete(self, document: str, *, key: str | None = None) -> Answer:
        """Remove one."""
        return self._send("DELETE", f"documents/{document}", None, key)

    def search(self, *, key: str | None = None, **body: Any) -> Answer:
        """Search: text or vector, limit, filter."""
        return self._send("POST", "search", body, key)

    def _send(self, method: str, path: str, body: Any, key: str | None) -> Answer:
        where = f"/v1/collections/{self.slug}/{path}"
        return self.side.wire.send(method, where, credential=key or self.key, body=body)
