"""Looking into a tenant with its leave: an operator asks and takes the token, an admin of the tenant decides."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, EITHER, OPERATOR, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}
_DECIDED: Final = ("already-decided", "break-glass-expired")


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="break-glass", reply=reply, **more)


BREAK_GLASS: Final = (
    OperationRoute(
        "GET",
        "/v1/break-glass",
        ops.BreakGlassList,
        _doc("List requests to look into your tenant", replies.BreakGlassRequests, who=EITHER),
        query=PAGE,
    ),
    OperationRoute(
        "POST",
        "/v1/break-glass",
        ops.BreakGlassCreate,
        _doc(
            "Ask a tenant to let you look into it",
            replies.BreakGlassRequest,
            who=OPERATOR,
            errors=_OF,
            links=(Link(to="GET /v1/break-glass/{request}", path={"request": "/id"}),),
        ),
    ),
    OperationRoute(
        "GET",
        "/v1/break-glass/{request}",
        ops.BreakGlassShow,
        _doc("Show a request", replies.BreakGlassRequest, who=EITHER, errors=_OF),
    ),
    OperationRoute(
        "POST",
        "/v1/break-glass/{request}/approve",
        ops.BreakGlassApprove,
        _doc(
            "Approve a request",
            replies.BreakGlassRequest,
            who=ADMIN,
            errors=_OF | {403: ("approver-too-new",), 409: _DECIDED},
        ),
    ),
    OperationRoute(
        "POST",
        "/v1/break-glass/{request}/refuse",
        ops.BreakGlassRefuse,
        _doc(
            "Refuse a request, or take an approval back",
            replies.BreakGlassRequest,
            who=ADMIN,
            errors=_OF | {409: _DECIDED},
        ),
    ),
    OperationRoute(
        "POST",
        "/v1/break-glass/{request}/token",
        ops.BreakGlassToken,
        _doc(
            "Take the token of an approved request",
            replies.Token,
            who=OPERATOR,
            errors=_OF
            | {
                409: (
                    "break-glass-pending",
                    "break-glass-refused",
                    "break-glass-expired",
                    "break-glass-used",
                    "secret-shown-once",
                    "suspended",
                )
            },
        ),
    ),
)
