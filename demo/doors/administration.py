"""The REST door: what a tenant's admin tries on the neighbour, and what its agent tries that only admins may."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from demo.doors.attempt import Request, Try, by_name
from demo.doors.memory import MISSING_AGENT
from demo.tenants import Tenant, key_id

MISSING_KEY: Final = "key_" + "a" * 26
MISSING_TENANT: Final = "ten_" + "a" * 26
_AGENT: Final = "{name}"

_NAMED: Final[tuple[tuple[str, str, str, Any, str, str], ...]] = (
    ("suspend its agent", "POST", f"/v1/subjects/{_AGENT}/suspend", None, "agent", MISSING_AGENT),
    ("resume its agent", "POST", f"/v1/subjects/{_AGENT}/resume", None, "agent", MISSING_AGENT),
    ("take its agent's grants away", "PUT", f"/v1/subjects/{_AGENT}/grants", {"grants": []}, "agent", MISSING_AGENT),
    ("make a key of its agent", "POST", "/v1/keys", {"subject": _AGENT}, "agent", MISSING_AGENT),
    ("make a token of its agent", "POST", "/v1/tokens", {"subject": _AGENT}, "agent", MISSING_AGENT),
    ("revoke its agent's key", "POST", "/v1/revocations", {"credential": _AGENT}, "key_id", MISSING_KEY),
    ("suspend the whole tenant", "POST", f"/v1/tenants/{_AGENT}/suspend", None, "id", MISSING_TENANT),
    ("make itself an admin of it", "POST", f"/v1/tenants/{_AGENT}/admins", {"slug": "mole"}, "id", MISSING_TENANT),
    (
        "give it a model of one's own",
        "POST",
        f"/v1/tenants/{_AGENT}/models",
        {"slug": "mole", "upstream": "http://127.0.0.1:9", "upstream_model": "mole"},
        "id",
        MISSING_TENANT,
    ),
)
"""(tried, method, path, body, which name of the neighbour's, the same kind of name that nobody has)."""


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """As admin with the neighbour's names and fields, then as agent where only an admin may."""
    names = {"agent": b.agent, "id": b.id, "key_id": key_id(b.key)}
    for tried, method, path, body, which, missing in _NAMED:
        real, twin = by_name(partial(_fill, a.admin, method, path, body), names[which], missing)
        yield Try(tried=f"admin: {tried}", request=real, twin=twin, refused=(403, 404))
    fields = {"subject": a.agent, "tenant": b.id}
    yield Try(
        tried="admin: a key request with the neighbour as a field",
        request=Request(path="/v1/keys", body=fields, credential=a.admin),
        refused=(400,),
    )
    listing = Request(method="GET", path="/v1/tenants", credential=a.admin)
    yield Try(tried="admin: list the platform's tenants", request=listing, refused=(403, 404))
    for tried, method, path, body in (
        ("make itself a key", "POST", "/v1/keys", {"subject": a.agent}),
        ("rewrite the policy", "PUT", "/v1/policy", {"module": "package tenant"}),
        ("register the neighbour's tool server", "POST", "/v1/servers", _server(b)),
    ):
        request = Request(method=method, path=path, body=body, credential=a.key)
        yield Try(tried=f"agent: {tried}", request=request, refused=(403, 404))


def _fill(credential: str, method: str, path: str, body: Any, name: str) -> Request:
    filled = body
    if isinstance(body, dict):
        filled = {field: name if value == _AGENT else value for field, value in body.items()}
    return Request(method=method, path=path.replace(_AGENT, name), body=filled, credential=credential)


def _server(b: Tenant) -> dict[str, Any]:
    return {"slug": b.server_slug, "url": b.server_url, "tools": []}
