"""A tenant's policy: the active one, those before it, and drafts of the next."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

MODULE: Final = 'package tenant\n\ndeny contains "too-much" if input.payload.amount > 1000\n'
_OF: Final = {404: ("not-found",)}
_DRAFT: Final = "/v1/policies/{policy}"


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    return Doc(summary=summary, tag="policies", who=ADMIN, reply=reply, **more)


def _to(verb: str, path: str = _DRAFT) -> Link:
    return Link(to=f"{verb} {path}", path={"policy": "/id"})


ACTIVE: Final = (
    OperationRoute("GET", "/v1/policy", ops.PolicyShow, _doc("Show the active policy", replies.Policy, etag=True)),
    OperationRoute(
        "PUT",
        "/v1/policy",
        ops.PolicyActivate,
        _doc(
            "Validate a policy and activate it",
            replies.ActivePolicy,
            conditional=True,
            example={"module": MODULE},
            links=(
                Link(to="GET /v1/policy/revisions/{revision}", path={"revision": "/revision"}),
                Link(to="POST /v1/policy/rollback", path={}, body={"revision": "/revision"}),
            ),
        ),
    ),
    OperationRoute(
        "POST",
        "/v1/policy/rollback",
        ops.PolicyRollback,
        _doc("Activate an earlier policy again", replies.ActivePolicy, errors=_OF, conditional=True),
    ),
    OperationRoute(
        "GET",
        "/v1/policy/revisions",
        ops.RevisionList,
        _doc("List the revisions, newest first", replies.Revisions),
        query=PAGE,
    ),
    OperationRoute(
        "GET",
        "/v1/policy/revisions/{revision}",
        ops.RevisionShow,
        _doc("Show the text of one revision", replies.PastPolicy, errors=_OF, etag=True),
    ),
)
DRAFTS: Final = (
    OperationRoute("GET", "/v1/policies", ops.DraftList, _doc("List the drafts", replies.Drafts), query=PAGE),
    OperationRoute(
        "POST",
        "/v1/policies",
        ops.DraftCreate,
        _doc(
            "Keep a draft, with the report of its validation",
            replies.Draft,
            errors={409: ("taken",)},
            example={"slug": "next", "module": MODULE},
            links=(_to("GET"), _to("PUT"), _to("POST", f"{_DRAFT}/activate"), _to("DELETE")),
        ),
    ),
    OperationRoute("GET", _DRAFT, ops.DraftShow, _doc("Show a draft", replies.Draft, errors=_OF, etag=True)),
    OperationRoute(
        "PUT",
        _DRAFT,
        ops.DraftReplace,
        _doc(
            "Replace a draft's text",
            replies.Draft,
            errors=_OF,
            etag=True,
            conditional=True,
            example={"module": MODULE},
        ),
    ),
    OperationRoute(
        "DELETE",
        _DRAFT,
        ops.DraftDelete,
        _doc("Delete a draft", replies.Deleted, errors=_OF, conditional=True),
    ),
    OperationRoute(
        "POST",
        f"{_DRAFT}/activate",
        ops.DraftActivate,
        _doc("Make a draft the active policy", replies.ActivePolicy, errors=_OF, conditional=True),
    ),
)
POLICIES: Final = (*ACTIVE, *DRAFTS)
