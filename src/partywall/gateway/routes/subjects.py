"""Agents and users of a tenant, and what each may do."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}
_ONE: Final = "/v1/subjects/{subject}"
_GRANT: Final = {"action": "memory", "resource": "memory/self"}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="subjects", who=ADMIN, reply=reply, **more)


def _to(verb: str, path: str = _ONE) -> Link:
    return Link(to=f"{verb} {path}", path={"subject": "/id"})


PEOPLE: Final = (
    OperationRoute(
        "GET",
        "/v1/subjects",
        ops.SubjectList,
        _doc("List agents, users and admins", replies.Subjects),
        query=("kind", *PAGE),
    ),
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
                _to("GET"),
                _to("PATCH"),
                _to("POST", f"{_ONE}/suspend"),
                _to("POST", f"{_ONE}/resume"),
                _to("GET", f"{_ONE}/grants"),
                _to("POST", f"{_ONE}/grants"),
                _to("PUT", f"{_ONE}/grants"),
                _to("DELETE"),
            ),
        ),
    ),
    OperationRoute("GET", _ONE, ops.SubjectShow, _doc("Show a subject", replies.Subject, errors=_OF, etag=True)),
    OperationRoute(
        "PATCH",
        _ONE,
        ops.SubjectChange,
        _doc(
            "Change a subject's clearance",
            replies.Subject,
            errors=_OF,
            etag=True,
            conditional=True,
            example={"clearance": 2},
        ),
    ),
    OperationRoute(
        "DELETE",
        _ONE,
        ops.SubjectDelete,
        _doc("End a subject with its keys and tokens", replies.Revoked, errors=_OF, conditional=True),
    ),
    OperationRoute(
        "POST",
        f"{_ONE}/suspend",
        ops.SubjectState,
        _doc("Refuse everything of a subject", replies.Subject, errors=_OF, etag=True, conditional=True),
        {"state": "suspended"},
    ),
    OperationRoute(
        "POST",
        f"{_ONE}/resume",
        ops.SubjectState,
        _doc("Let a suspended subject work again", replies.Subject, errors=_OF, etag=True, conditional=True),
        {"state": "active"},
    ),
)
GRANTS: Final = (
    OperationRoute(
        "GET", f"{_ONE}/grants", ops.GrantList, _doc("List a subject's grants", replies.Grants, errors=_OF, etag=True)
    ),
    OperationRoute(
        "PUT",
        f"{_ONE}/grants",
        ops.GrantsSet,
        _doc(
            "Replace all grants of a subject",
            replies.Subject,
            errors=_OF,
            conditional=True,
            example={"grants": [_GRANT]},
        ),
    ),
    OperationRoute(
        "POST",
        f"{_ONE}/grants",
        ops.GrantAdd,
        _doc(
            "Grant one action on one resource, or set its end anew",
            replies.Subject,
            errors=_OF,
            conditional=True,
            example=_GRANT,
        ),
    ),
    OperationRoute(
        "DELETE",
        f"{_ONE}/grants",
        ops.GrantRemove,
        _doc("Take one grant", replies.Subject, errors=_OF, conditional=True),
        query=("action", "resource"),
    ),
)
SUBJECTS: Final = (*PEOPLE, *GRANTS)
