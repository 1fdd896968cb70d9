"""A tenant's policy."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, Doc
from partywall.gateway.routes.operation import OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

MODULE: Final = 'package tenant\n\ndeny contains "too-much" if input.payload.amount > 1000\n'


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="policies", who=ADMIN, reply=reply, **more)


POLICIES: Final = (
    OperationRoute("GET", "/v1/policy", ops.PolicyShow, _doc("Show the active policy", replies.Policy)),
    OperationRoute(
        "PUT",
        "/v1/policy",
        ops.PolicyActivate,
        _doc("Validate a policy and activate it", replies.ActivePolicy, example={"module": MODULE}),
    ),
    OperationRoute(
        "POST",
        "/v1/policy/rollback",
        ops.PolicyRollback,
        _doc("Activate an earlier policy again", replies.ActivePolicy, errors={404: ("not-found",)}),
    ),
)
