"""Models that tenants may be granted: only the operator says, and sees, where they are."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, OPERATOR, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}
_ONE: Final = "/v1/tenants/{tenant}/models/{model}"


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "models", "who": OPERATOR} | more
    return Doc(summary=summary, reply=reply, **given)


MODELS: Final = (
    OperationRoute(
        "GET",
        "/v1/tenants/{tenant}/models",
        ops.ModelList,
        _doc("List the models of a tenant", replies.OperatedModels, errors=_OF),
        query=PAGE,
    ),
    OperationRoute(
        "POST",
        "/v1/tenants/{tenant}/models",
        ops.ModelCreate,
        _doc(
            "Register a model for a tenant",
            replies.OperatedModel,
            errors=_OF | {409: ("taken",)},
            example={"slug": "small", "upstream": "http://127.0.0.1:8000", "upstream_model": "small-1"},
            links=(
                Link(to=f"GET {_ONE}", path={"tenant": "request.path.tenant", "model": "/id"}),
                Link(to=f"PATCH {_ONE}", path={"tenant": "request.path.tenant", "model": "/id"}),
                Link(to=f"DELETE {_ONE}", path={"tenant": "request.path.tenant", "model": "/id"}),
            ),
        ),
    ),
    OperationRoute(
        "GET", _ONE, ops.ModelShow, _doc("Show a model of a tenant", replies.OperatedModel, errors=_OF, etag=True)
    ),
    OperationRoute(
        "PATCH",
        _ONE,
        ops.ModelChange,
        _doc(
            "Change what is given of a model",
            replies.OperatedModel,
            errors=_OF,
            etag=True,
            conditional=True,
            example={"context_tokens": 4096},
        ),
    ),
    OperationRoute(
        "DELETE",
        _ONE,
        ops.ModelDelete,
        _doc("Delete a model and every grant on it", replies.Deleted, errors=_OF, conditional=True),
    ),
    OperationRoute(
        "GET",
        "/v1/catalogue",
        ops.CatalogueList,
        _doc("List the models that your tenant has", replies.Models, who=ADMIN),
        query=PAGE,
    ),
)
