"""Every route of the REST door, as data. To add one, add it to its noun's module in `routes/`, or make a module there.

A route says what is asked of the wall, which field comes from where, and what the OpenAPI document tells of it:

    OperationRoute(method, pattern, operation, doc, fixed={field: value}, query=(fields that are query parameters,))
    Doc(summary=, tag=, who=, reply=struct, errors={status: (codes,)}, links=(Link(to=, path=),), example=, …)

An operation's request body is its struct without what path, `fixed` and `query` say: it is not written down twice. A
route of another kind has `method`, `pattern`, `action`, `kind`, `doc`, `path_types` and `call(asked) -> Call`, as
`routes/memory.py` does; its `Doc` names `request` and `query` itself. Replies are structs of `wire/replies.py`.
Another door carries `routes`, a tuple of these or of `Described(method, pattern, doc)` (`routes/document.py`).

What is missing in the document fails tests/conformance/test_openapi.py; what has no action fails tests/matrix.
Pure: a route turns path, query and parsed body into a `Call`, or refuses with a CallerFault. What the path names may
not stand in the body, and unknown fields and parameters are refused.
"""

from __future__ import annotations

from typing import Final

from partywall.gateway.routes.audit import AUDIT, AuditRoute
from partywall.gateway.routes.audit_search import AUDIT_SEARCH, AuditSearchRoute
from partywall.gateway.routes.break_glass import BREAK_GLASS
from partywall.gateway.routes.collections import COLLECTION_DOCUMENTS, COLLECTION_OPERATIONS, CollectionRoute
from partywall.gateway.routes.federation import FEDERATION
from partywall.gateway.routes.keys import KEYS
from partywall.gateway.routes.memory import MEMORY, MemoryRoute
from partywall.gateway.routes.models import MODELS
from partywall.gateway.routes.operation import OperationRoute
from partywall.gateway.routes.organisations import ORGANISATIONS
from partywall.gateway.routes.policies import POLICIES
from partywall.gateway.routes.request import Asked, refuse_unknown
from partywall.gateway.routes.router import Router
from partywall.gateway.routes.servers import SERVERS
from partywall.gateway.routes.subjects import SUBJECTS
from partywall.gateway.routes.tenants import TENANTS

__all__ = ["MEMORY", "OPERATIONS", "ROUTES", "Asked", "AuditRoute", "Route", "Router", "prefixes_of", "refuse_unknown"]

Route = OperationRoute | MemoryRoute | AuditRoute | AuditSearchRoute | CollectionRoute

OPERATIONS: Final[tuple[OperationRoute, ...]] = (
    *ORGANISATIONS,
    *TENANTS,
    *MODELS,
    *SUBJECTS,
    *KEYS,
    *POLICIES,
    *SERVERS,
    *COLLECTION_OPERATIONS,
    *BREAK_GLASS,
    *FEDERATION,
)
ROUTES: Final[tuple[Route, ...]] = (*OPERATIONS, *AUDIT, *AUDIT_SEARCH, *MEMORY, *COLLECTION_DOCUMENTS)


def prefixes_of(routes: tuple[Route, ...]) -> tuple[str, ...]:
    """Return the paths below which these routes are: `/v1/<noun>`."""
    return tuple(dict.fromkeys("/".join(route.pattern.split("/")[:3]) for route in routes))
