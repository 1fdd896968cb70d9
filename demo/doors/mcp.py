"""The tool servers' door, in both eras of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from demo.doors.attempt import NOBODY, Request, Try, by_name
from demo.tenants import Tenant
from partywall.wire import mcp

MISSING_SERVER: Final = "mcp_" + "a" * 26
HELLO: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "trespasser", "version": "1"},
}


def message(
    credential: str,
    server: str,
    method: str,
    params: dict[str, Any],
    *,
    era: str = mcp.LEGACY[-1],
    acts: bool = True,
    headers: dict[str, str] | None = None,
) -> Request:
    """Return one JSON-RPC message to a server, with the envelope that its era wants."""
    sent = {"mcp-protocol-version": era}
    if era == mcp.MODERN:
        params = {**params, "_meta": {mcp.META_VERSION: era, mcp.META_CAPABILITIES: {}}}
        sent["mcp-method"] = method
        if method == "tools/call":
            sent["mcp-name"] = str(params["name"])
    return Request(
        path=f"/mcp/{server}",
        body={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        credential=credential,
        headers=sent | (headers or {}),
        acts=("tool.call" if method == "tools/call" else "tool.list") if acts else "",
    )


def legacy(a: Tenant, b: Tenant) -> Iterator[Try]:
    """2025-11-25: it starts with `initialize`."""
    yield from _foreign(a, b, mcp.LEGACY[-1], (("initialize", HELLO), ("tools/list", {})))
    call = {"name": b.safe_tool, "arguments": {}}
    forged = {"x-tenant-id": b.id, "x-partywall-tenant": b.slug, "x-forwarded-user": b.agent}
    send = partial(message, a.key, method="tools/call", params=call)
    real, twin = by_name(lambda server: send(server=server, headers=forged), b.server_slug, NOBODY)
    yield Try(tried="name the neighbour in headers", request=real, twin=twin, refused=(404,))
    request = message(a.key, a.server_slug, "tools/call", call | {"tenant": b.id}, acts=False)
    yield Try(tried="name the neighbour in the parameters", request=request, refused=(200,))
    request = message(a.key, a.server_slug, "tools/call", call, acts=False, headers={"mcp-session-id": "0" * 32})
    yield Try(tried="join somebody's session", request=request, refused=(400,))
    page = {"origin": "http://attacker.example"}
    request = message(a.key, a.server_slug, "tools/list", {}, acts=False, headers=page)
    yield Try(tried="from a web page (DNS rebinding)", request=request, refused=(403,))


def modern(a: Tenant, b: Tenant) -> Iterator[Try]:
    """2026-07-28: no `initialize`; each request stands alone."""
    yield from _foreign(a, b, mcp.MODERN, (("server/discover", {}), ("tools/list", {})))


def _foreign(a: Tenant, b: Tenant, era: str, methods: tuple[tuple[str, dict[str, Any]], ...]) -> Iterator[Try]:
    call = ("tools/call", {"name": b.safe_tool, "arguments": {}})
    for what, server, missing in (("slug", b.server_slug, NOBODY), ("id", b.server, MISSING_SERVER)):
        for method, params in (*methods, call):
            build: Callable[[str], Request] = partial(_to, a.key, method, params, era)
            real, twin = by_name(build, server, missing)
            yield Try(tried=f"{method} on its server, by {what}", request=real, twin=twin, refused=(404,))


def _to(key: str, method: str, params: dict[str, Any], era: str, server: str) -> Request:
    return message(key, server, method, params, era=era)
