"""Organisations: whom tenants belong to."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import OPERATOR, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="organisations", who=OPERATOR, reply=reply, **more)


ORGANISATIONS: Final = (
    OperationRoute(
        "GET",
        "/v1/organisations",
        ops.OrganisationList,
        _doc("List the organisations", replies.Organisations),
        query=PAGE,
    ),
    OperationRoute(
        "POST",
        "/v1/organisations",
        ops.OrganisationCreate,
        _doc(
            "Make an organisation",
            replies.Organisation,
            errors={409: ("taken",)},
            example={"slug": "umbrella"},
            links=(
                Link(to="GET /v1/organisations/{organisation}", path={"organisation": "/id"}),
                Link(to="GET /v1/organisations/{organisation}/tenants", path={"organisation": "/id"}),
            ),
        ),
    ),
    OperationRoute(
        "GET",
        "/v1/organisations/{organisation}",
        ops.OrganisationShow,
        _doc("Show an organisation", replies.Organisation, errors=_OF, etag=True),
    ),
    OperationRoute(
        "GET",
        "/v1/organisations/{organisation}/tenants",
        ops.TenantList,
        _doc("List the tenants of an organisation", replies.Tenants, errors=_OF),
        query=PAGE,
    ),
)
