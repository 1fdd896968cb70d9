"""Models that tenants may be granted: only the operator says where they are."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import OPERATOR, Doc
from partywall.gateway.routes.operation import OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "models", "who": OPERATOR} | more
    return Doc(summary=summary, reply=reply, **given)


MODELS: Final = (
    OperationRoute(
        "POST",
        "/v1/tenants/{tenant}/models",
        ops.ModelCreate,
        _doc(
            "Register a model for a tenant",
            replies.Model,
            errors={404: ("not-found",), 409: ("taken",)},
            example={"slug": "small", "upstream": "http://127.0.0.1:8000", "upstream_model": "small-1"},
        ),
    ),
)
