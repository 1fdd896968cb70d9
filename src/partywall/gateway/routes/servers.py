"""MCP servers of a tenant."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, Doc
from partywall.gateway.routes.operation import OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_TOOL: Final = {"name": "read_mail", "description": "Read one mail", "input_schema": {"type": "object"}}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="servers", who=ADMIN, reply=reply, **more)


SERVERS: Final = (
    OperationRoute("GET", "/v1/servers", ops.ServerList, _doc("List the MCP servers", replies.Servers)),
    OperationRoute(
        "POST",
        "/v1/servers",
        ops.ServerRegister,
        _doc(
            "Register an MCP server, or approve its tools anew",
            replies.Server,
            errors={409: ("taken",)},
            example={"slug": "mail", "url": "http://127.0.0.1:9000/mcp", "tools": [_TOOL]},
        ),
    ),
)
