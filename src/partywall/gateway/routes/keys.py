"""API keys, access tokens, and the end of either."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, EITHER, MEMBERS, OPERATOR, Doc, Link
from partywall.gateway.routes.operation import PAGE, OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_OF: Final = {404: ("not-found",)}
_ONCE: Final = {404: ("not-found",), 409: ("suspended", "secret-shown-once")}
_LINKS: Final = (
    Link(to="GET /v1/keys/{key}", path={"key": "/id"}),
    Link(to="DELETE /v1/keys/{key}", path={"key": "/id"}),
)


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "keys", "who": ADMIN} | more
    return Doc(summary=summary, reply=reply, **given)


KEYS: Final = (
    OperationRoute("GET", "/v1/keys", ops.KeyList, _doc("List the API keys", replies.Keys, who=EITHER), query=PAGE),
    OperationRoute(
        "POST",
        "/v1/keys",
        ops.KeyCreate,
        _doc("Make an API key of a subject", replies.NewKey, errors=_ONCE, links=_LINKS),
    ),
    OperationRoute(
        "GET",
        "/v1/keys/{key}",
        ops.KeyShow,
        _doc("Show an API key, without its secret", replies.Key, who=EITHER, errors=_OF, etag=True),
    ),
    OperationRoute(
        "DELETE",
        "/v1/keys/{key}",
        ops.KeyDelete,
        _doc("Revoke an API key with what descends from it", replies.Revoked, who=EITHER, errors=_OF, conditional=True),
    ),
    OperationRoute(
        "POST",
        "/v1/operator-keys",
        ops.OperatorKeyCreate,
        _doc(
            "Make a platform operator's key",
            replies.NewKey,
            who=OPERATOR,
            errors={409: ("suspended", "secret-shown-once")},
            example={"slug": "second"},
            links=_LINKS,
        ),
    ),
    OperationRoute(
        "POST",
        "/v1/tokens",
        ops.TokenCreate,
        _doc("Make an access token", replies.Token, who=MEMBERS, errors=_ONCE),
    ),
    OperationRoute(
        "POST",
        "/v1/revocations",
        ops.Revoke,
        _doc("End a key, token, session or subject", replies.Revoked, who=EITHER, errors=_OF),
    ),
)
