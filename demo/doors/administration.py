"""The REST door: every route of the product's own table that names something, with the neighbour's names in it.

A route that is added to the product is tried by itself: what its path names is filled from `Tenant.names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from demo.doors.attempt import Request, Try, by_name
from demo.tenants import Tenant
from partywall.gateway.rest_routes import ROUTES
from partywall.gateway.routes.operation import OperationRoute

_NAME: Final = re.compile(r"\{([a-z]+)\}")
_QUERY: Final = {"action": "memory", "resource": "memory/self"}
"""Query parameters that a route cannot do without."""
_IN_BODY: Final = (
    ("a key of its agent", "/v1/keys", "subject", "subject"),
    ("a token of its agent", "/v1/tokens", "subject", "subject"),
    ("the revocation of its agent's key", "/v1/revocations", "credential", "key"),
    ("the revocation of its agent", "/v1/revocations", "credential", "subject"),
)
"""(what is asked for, path, field, which of the neighbour's names)."""


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """As admin, with the neighbour's names in paths and bodies; then as agent where only an admin may."""
    for route in ROUTES:
        wanted = _NAME.findall(route.pattern)
        if isinstance(route, OperationRoute) and wanted and set(wanted) <= b.names.keys():
            yield _routed(a, b, route, wanted)
    for what, path, field, which in _IN_BODY:
        real, twin = by_name(partial(_fielded, a.admin, path, field), b.names[which], _missing(b.names[which]))
        yield Try(tried=f"admin: {what}", request=real, twin=twin, refused=(404,))
    fields = {"subject": a.agent, "tenant": b.id}
    request = Request(path="/v1/keys", body=fields, credential=a.admin)
    yield Try(tried="admin: a key, with the neighbour as a field", request=request, refused=(400,))
    listing = Request(method="GET", path="/v1/tenants", credential=a.admin)
    yield Try(tried="admin: list the platform's tenants", request=listing, refused=(403, 404))
    for tried, method, path, body in (
        ("make itself a key", "POST", "/v1/keys", {"subject": a.agent}),
        ("rewrite the policy", "PUT", "/v1/policy", {"module": "package tenant"}),
        ("register the neighbour's tool server", "POST", "/v1/servers", _server(b)),
    ):
        request = Request(method=method, path=path, body=body, credential=a.key)
        yield Try(tried=f"agent: {tried}", request=request, refused=(403, 404))


def _routed(a: Tenant, b: Tenant, route: OperationRoute, wanted: list[str]) -> Try:
    """Return one route with the neighbour's names; its twin has names of the same kinds that nobody has."""
    body = None if route.method in {"GET", "DELETE"} else dict(route.doc.example or {}) or None
    real = {name: b.names[name] for name in wanted}
    missing = {name: _missing(text) for name, text in real.items()}
    request, twin = (_at(route, names, body, a.admin) for names in (real, missing))
    return Try(tried=f"admin: {route.method} {route.pattern}", request=request, twin=twin, refused=(403, 404))


def _at(route: OperationRoute, names: dict[str, str], body: Any, credential: str) -> Request:
    path = _NAME.sub(lambda found: names[found[1]], route.pattern)
    query = "&".join(f"{name}={_QUERY[name]}" for name in route.query if name in _QUERY)
    return Request(method=route.method, path=path + (query and f"?{query}"), body=body, credential=credential)


def _missing(name: str) -> str:
    """Return a name of the same kind that nobody has."""
    return f"{name[:4]}{'a' * 26}"


def _fielded(credential: str, path: str, field: str, name: str) -> Request:
    return Request(path=path, body={field: name}, credential=credential)


def _server(b: Tenant) -> dict[str, Any]:
    return {"slug": b.server_slug, "url": b.server_url, "tools": []}
