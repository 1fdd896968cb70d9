"""Searches of the caller's own log, in clear or as a filtered export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.gateway.routes import audit_query
from partywall.gateway.routes.document import EITHER, Doc
from partywall.gateway.routes.request import Asked, refuse_body, refuse_unknown
from partywall.wire import replies


class AuditSearchRoute(msgspec.Struct, frozen=True):
    """A search of the caller's own log: `search` shows leaves, `extract` gives them sealed, with proofs."""

    method: Literal["GET"]
    pattern: str
    mode: Literal["search", "extract"]
    doc: Doc
    action: ActionType = ActionType.AUDIT_READ
    kind: str = "audit"

    @property
    def path_types(self) -> Mapping[str, Any]:
        """There are no names in the path."""
        return {}

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, audit_query.PARAMETERS)
        refuse_body(asked)
        search = audit_query.parse_search(asked.query)
        return Call(
            action=self.action,
            kind=self.kind,
            name="*",
            payload={"mode": self.mode, "search": msgspec.to_builtins(search)},
            trace_id=asked.trace_id,
            parameters=audit_query.parameters_of(self.mode, search),
        )


def _doc(summary: str, reply: Any, errors: Mapping[int, tuple[str, ...]]) -> Doc:
    return Doc(summary=summary, tag="audit", who=EITHER, reply=reply, query=audit_query.TYPES, errors=errors)


_BAD_CURSOR: Final = {400: ("bad-cursor",)}
AUDIT_SEARCH: Final = (
    AuditSearchRoute(
        "GET", "/v1/audit/search", "search", _doc("Search your log, opened", replies.FoundLeaves, _BAD_CURSOR)
    ),
    AuditSearchRoute(
        "GET",
        "/v1/audit/extract",
        "extract",
        _doc(
            "Export what a search of your log finds, sealed, each leaf with its proof",
            replies.Extract,
            _BAD_CURSOR | {404: ("not-found",)},
        ),
    ),
)
