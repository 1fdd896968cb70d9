"""MCP servers of a tenant."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_TOOL: Final = {"name": "read_mail", "description": "Read one mail", "input_schema": {"type": "object"}}
_OF: Final = {404: ("not-found",)}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="servers", who=ADMIN, reply=reply, **more)


SERVERS: Final = (
    OperationRoute("GET", "/v1/servers", ops.ServerList, _doc("List the MCP servers", replies.Servers), query=PAGE),
    OperationRoute(
        "POST",
        "/v1/servers",
        ops.ServerRegister,
        _doc(
            "Register an MCP server, or approve its tools anew",
            replies.Server,
            errors={409: ("taken",)},
            example={"slug": "mail", "url": "http://127.0.0.1:9000/mcp", "tools": [_TOOL]},
            links=(
                Link(to="GET /v1/servers/{server}", path={"server": "/id"}),
                Link(to="DELETE /v1/servers/{server}", path={"server": "/id"}),
            ),
        ),
    ),
    OperationRoute(
        "GET",
        "/v1/servers/{server}",
        ops.ServerShow,
        _doc("Show a server and what was approved of it", replies.RegisteredServer, errors=_OF, etag=True),
    ),
    OperationRoute(
        "DELETE",
        "/v1/servers/{server}",
        ops.ServerDelete,
        _doc("Delete a server and every grant on its tools", replies.Deleted, errors=_OF, conditional=True),
    ),
)
