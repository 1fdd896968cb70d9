"""Agents and users of a tenant, and what each may do."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, Doc, Link
from partywall.gateway.routes.operation import OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="subjects", who=ADMIN, reply=reply, **more)


SUBJECTS: Final = (
    OperationRoute("GET", "/v1/subjects", ops.SubjectList, _doc("List agents, users and admins", replies.Subjects)),
    OperationRoute(
        "POST",
        "/v1/subjects",
        ops.SubjectCreate,
        _doc(
            "Make an agent or a user",
            replies.Subject,
            errors=_OF | {409: ("taken",)},
            example={"kind": "agent", "slug": "scout", "clearance": 1},
            links=(
                Link(to="PUT /v1/subjects/{subject}/grants", path={"subject": "/id"}),
                Link(to="POST /v1/subjects/{subject}/suspend", path={"subject": "/id"}),
            ),
        ),
    ),
    OperationRoute(
        "POST",
        "/v1/subjects/{subject}/suspend",
        ops.SubjectState,
        _doc("Refuse everything of a subject", replies.Subject, errors=_OF),
        {"state": "suspended"},
    ),
    OperationRoute(
        "POST",
        "/v1/subjects/{subject}/resume",
        ops.SubjectState,
        _doc("Let a suspended subject work again", replies.Subject, errors=_OF),
        {"state": "active"},
    ),
    OperationRoute(
        "PUT",
        "/v1/subjects/{subject}/grants",
        ops.GrantsSet,
        _doc(
            "Replace all grants of a subject",
            replies.Subject,
            errors=_OF,
            example={"grants": [{"action": "memory", "resource": "memory/self"}]},
        ),
    ),
)
