"""The ledger's door: which log is read is never a parameter."""

from __future__ import annotations

from collections.abc import Iterator

from demo.doors.attempt import Request, Try
from demo.tenants import Tenant


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """The neighbour's log by parameter, as admin; one's own log, as an agent."""
    for what, path in (
        ("read its log", f"/v1/audit/leaves?log={b.id}"),
        ("export its log", f"/v1/audit/export?tenant={b.id}"),
        ("take its checkpoint", f"/v1/audit/checkpoint?log={b.id}"),
    ):
        request = Request(method="GET", path=path, credential=a.admin)
        yield Try(tried=f"admin: {what}, by a parameter", request=request, refused=(400,))
    for what, path in (("read the log", "/v1/audit/leaves"), ("export the log", "/v1/audit/export")):
        request = Request(method="GET", path=path, credential=a.key)
        yield Try(tried=f"agent: {what}", request=request, refused=(403, 404))
