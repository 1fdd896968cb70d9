"""External issuers that a tenant or an organisation trusts, and the bindings of their subjects."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import ADMIN, EITHER, Doc, Link
from partywall.gateway.routes.operation import OperationRoute
from partywall.wire import operations as ops
from partywall.wire import replies

_PROVIDER: Final = {"slug": "cluster", "kind": "workload", "issuer": "https://kubernetes.default.svc"}
_GONE: Final = {404: ("not-found",)}


def _doc(summary: str, reply: Any, **more: Any) -> Doc:
    given = {"tag": "federation", "who": ADMIN} | more
    return Doc(summary=summary, reply=reply, **given)


FEDERATION: Final = (
    OperationRoute(
        "GET",
        "/v1/identity-providers",
        ops.IdpList,
        _doc("List the external issuers that you trust", replies.IdentityProviders, who=EITHER),
    ),
    OperationRoute(
        "POST",
        "/v1/identity-providers",
        ops.IdpCreate,
        _doc(
            "Trust an external issuer",
            replies.IdentityProvider,
            who=EITHER,
            errors={400: ("bad-provider", "bad-url", "bad-key-set"), 404: ("not-found",), 409: ("taken",)},
            example=_PROVIDER,
            links=(
                Link(to="GET /v1/identity-providers/{idp}", path={"idp": "/id"}),
                Link(to="DELETE /v1/identity-providers/{idp}", path={"idp": "/id"}),
            ),
        ),
    ),
    OperationRoute(
        "GET",
        "/v1/identity-providers/{idp}",
        ops.IdpShow,
        _doc("Show an external issuer", replies.IdentityProvider, who=EITHER, errors=_GONE, etag=True),
    ),
    OperationRoute(
        "DELETE",
        "/v1/identity-providers/{idp}",
        ops.IdpDelete,
        _doc(
            "Trust an issuer no more, and end what came of it",
            replies.Deleted,
            who=EITHER,
            errors=_GONE,
            conditional=True,
        ),
    ),
    OperationRoute(
        "GET",
        "/v1/identity-bindings",
        ops.BindingList,
        _doc("List which foreign subject is which of yours", replies.Bindings),
    ),
    OperationRoute(
        "POST",
        "/v1/identity-bindings",
        ops.BindingCreate,
        _doc(
            "Bind a foreign subject to one of yours",
            replies.Binding,
            errors={400: ("bad-binding", "no-such-action"), 404: ("not-found",), 409: ("suspended",)},
            links=(Link(to="DELETE /v1/identity-bindings/{binding}", path={"binding": "/id"}),),
        ),
    ),
    OperationRoute(
        "DELETE",
        "/v1/identity-bindings/{binding}",
        ops.BindingDelete,
        _doc("End a binding and the tokens that came of it", replies.Deleted, errors=_GONE),
    ),
)
