"""Tenants and their first admins: what a platform operator makes."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import OPERATOR, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="tenants", who=OPERATOR, reply=reply, **more)


TENANTS: Final = (
    OperationRoute("GET", "/v1/tenants", ops.TenantList, _doc("List the tenants", replies.Tenants), query=PAGE),
    OperationRoute(
        "POST",
        "/v1/tenants",
        ops.TenantCreate,
        _doc(
            "Make a tenant",
            replies.Tenant,
            errors={409: ("taken",)},
            example={"slug": "acme"},
            links=(
                Link(to="GET /v1/tenants/{tenant}", path={"tenant": "/id"}),
                Link(to="POST /v1/tenants/{tenant}/suspend", path={"tenant": "/id"}),
                Link(to="POST /v1/tenants/{tenant}/resume", path={"tenant": "/id"}),
                Link(to="POST /v1/tenants/{tenant}/admins", path={"tenant": "/id"}),
                Link(to="POST /v1/tenants/{tenant}/models", path={"tenant": "/id"}),
                Link(to="GET /v1/tenants/{tenant}/models", path={"tenant": "/id"}),
            ),
        ),
    ),
    OperationRoute(
        "GET", "/v1/tenants/{tenant}", ops.TenantShow, _doc("Show a tenant", replies.Tenant, errors=_OF, etag=True)
    ),
    OperationRoute(
        "POST",
        "/v1/tenants/{tenant}/suspend",
        ops.TenantState,
        _doc("Refuse everything of a tenant", replies.Tenant, errors=_OF, etag=True, conditional=True),
        {"state": "suspended"},
    ),
    OperationRoute(
        "POST",
        "/v1/tenants/{tenant}/resume",
        ops.TenantState,
        _doc("Let a suspended tenant work again", replies.Tenant, errors=_OF, etag=True, conditional=True),
        {"state": "active"},
    ),
    OperationRoute(
        "POST",
        "/v1/tenants/{tenant}/admins",
        ops.AdminCreate,
        _doc(
            "Make a tenant-admin with a first key",
            replies.NewAdmin,
            errors=_OF | {409: ("taken", "secret-shown-once")},
            example={"slug": "root"},
        ),
    ),
)
