"""The caller's own log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.gateway.routes.document import EITHER, Doc
from partywall.gateway.routes.request import Asked, number, refuse_body, refuse_unknown
from partywall.providers.operator.audit import NEXT_START, SHOW_LIMIT
from partywall.wire import replies

_PAGE: Final = {"start": Annotated[int, Meta(ge=0, le=2**53)], "limit": Annotated[int, Meta(ge=1, le=SHOW_LIMIT)]}
_NEXT: Final = {NEXT_START: "Where the next page starts; absent at the end of the log."}


class AuditRoute(msgspec.Struct, frozen=True):
    """A read of the caller's own log. paged: whether `start` and `limit` mean something."""

    method: Literal["GET"]
    pattern: str
    mode: str
    doc: Doc
    paged: bool = True
    action: ActionType = ActionType.AUDIT_READ
    kind: str = "audit"

    @property
    def path_types(self) -> Mapping[str, Any]:
        """There are no names in the path."""
        return {}

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, ("start", "limit") if self.paged else ())
        refuse_body(asked)
        query: dict[str, Any] = {"mode": self.mode}
        query |= {name: number(name, text) for name, text in asked.query.items()}
        return Call(
            action=self.action, kind=self.kind, name="*", payload=query, trace_id=asked.trace_id, parameters=dict(query)
        )


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="audit", who=EITHER, reply=reply, **more)


AUDIT: Final = (
    AuditRoute(
        "GET",
        "/v1/audit/leaves",
        "show",
        _doc("Read your log, opened", replies.Leaves, query=_PAGE, headers=_NEXT),
    ),
    AuditRoute(
        "GET",
        "/v1/audit/export",
        "export",
        _doc("Export your log, sealed, to verify it offline", replies.Export, query=_PAGE, headers=_NEXT),
    ),
    AuditRoute(
        "GET",
        "/v1/audit/checkpoint",
        "checkpoint",
        _doc("Read the signed head of your log", replies.Checkpoint),
        paged=False,
    ),
)
