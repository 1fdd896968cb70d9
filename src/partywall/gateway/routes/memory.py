"""An agent's own memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.errors import Malformed
from partywall.gateway.routes.document import MEMBERS, Doc, Link
from partywall.gateway.routes.request import Asked, number, refuse_body, refuse_unknown
from partywall.providers.memory.provider import Key
from partywall.wire import replies
from partywall.wire.operations import Cursor, Id, PageLimit

_OWNER: Final = {"owner": Id}
_PAGE: Final = {"limit": PageLimit, "cursor": Cursor}
_ERRORS: Final = {404: ("not-found",)}


class MemoryRoute(msgspec.Struct, frozen=True):
    """One verb on the memory of the caller's own agent, or of `owner`, which the wall then judges."""

    method: Literal["GET", "PUT", "DELETE"]
    pattern: str
    verb: Literal["list", "get", "put", "delete"]
    doc: Doc
    action: ActionType = ActionType.MEMORY
    kind: str = "memory"

    @property
    def path_types(self) -> Mapping[str, Any]:
        """The one name: a key of the memory."""
        return {"key": Key} if "{" in self.pattern else {}

    def call(self, asked: Asked) -> Call:
        """Return the call. Raises: Malformed."""
        refuse_unknown(asked.query, ("owner", *(_PAGE if self.verb == "list" else ())))
        payload: dict[str, Any] = {"operation": self.verb, **asked.path}
        payload |= {name: number(name, text) for name, text in asked.query.items() if name == "limit"}
        payload |= {name: text for name, text in asked.query.items() if name == "cursor"}
        if self.verb == "put":
            if asked.body is None or not {"value"} <= set(asked.body) <= {"value", "classification"}:
                raise Malformed('the body is {"value": …, "classification": 0 to 3}', code="bad-request")
            payload |= asked.body
        else:
            refuse_body(asked)
        return Call(
            action=self.action,
            kind=self.kind,
            name=asked.query.get("owner", "self"),
            payload=payload,
            trace_id=asked.trace_id,
            parameters={"operation": f"memory.{self.verb}", **asked.path},
        )


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "memory", "who": MEMBERS, "query": _OWNER, "errors": _ERRORS} | more
    return Doc(summary=summary, reply=reply, **given)


MEMORY: Final = (
    MemoryRoute(
        "GET",
        "/v1/memory",
        "list",
        _doc("List what the memory holds, without values", replies.MemoryEntries, query=_OWNER | _PAGE),
    ),
    MemoryRoute("GET", "/v1/memory/{key}", "get", _doc("Read one entry", replies.MemoryValue, etag=True)),
    MemoryRoute(
        "PUT",
        "/v1/memory/{key}",
        "put",
        _doc(
            "Write or replace one entry",
            replies.MemoryWritten,
            request=replies.Memory,
            errors={404: ("not-found",), 409: ("conflict",)},
            links=(Link(to="GET /v1/memory/{key}", path={"key": "/key"}),),
            example={"value": {"seen": ["inbox"]}, "classification": 1},
        ),
    ),
    MemoryRoute("DELETE", "/v1/memory/{key}", "delete", _doc("Delete one entry", replies.MemoryDeleted)),
)
