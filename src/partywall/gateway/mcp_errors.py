"""Refusals at the MCP door: which become a tool's result, which a JSON-RPC error, and with which HTTP status.

A model reads results and not protocol errors. So whatever an agent could mend or ask for (a denial, an approval, wrong
arguments, a limit, a failing tool) is an error *result* in words; what its program must handle is a JSON-RPC error.
Source: MCP specification "Tools: Error Handling", docs/adr/0009-mcp.md.
"""

from __future__ import annotations

from typing import Any, Final

from partywall.errors import ApprovalRequired, CallerFault, Denied, NotFound, PartywallError, ProviderFault
from partywall.gateway.http_errors import status_of
from partywall.wire import mcp

NOT_HERE: Final = "there is no such tool server or tool here"

MODERN_STATUS: Final = {
    mcp.PARSE_ERROR: 400,
    mcp.INVALID_REQUEST: 400,
    mcp.INVALID_PARAMS: 400,
    mcp.HEADER_MISMATCH: 400,
    mcp.UNSUPPORTED_VERSION: 400,
    mcp.METHOD_NOT_FOUND: 404,
}
LEGACY_STATUS: Final = {mcp.PARSE_ERROR: 400, mcp.INVALID_REQUEST: 400, mcp.UNSUPPORTED_VERSION: 400}


def status_of_rpc(rpc_code: int, *, modern: bool) -> int:
    """Return the HTTP status that goes with a JSON-RPC error of the protocol itself."""
    return (MODERN_STATUS if modern else LEGACY_STATUS).get(rpc_code, 200)


def as_rpc_error(error: PartywallError, request_id: mcp.RequestId | None) -> tuple[int, dict[str, Any]]:
    """Return (HTTP status, JSON-RPC error).

    Invariant: what is not found is answered with nothing but the request's own id, so another tenant's server or tool
    and one that never existed look alike to the byte.
    """
    if isinstance(error, NotFound):
        return 404, mcp.error_reply(request_id, mcp.INVALID_PARAMS, NOT_HERE, {"code": "not-found"})
    rpc_code = mcp.REFUSED if isinstance(error, (CallerFault, ProviderFault)) else mcp.INTERNAL_ERROR
    return status_of(error), mcp.error_reply(request_id, rpc_code, error.public, {"code": error.code})


def as_result(error: PartywallError, *, modern: bool) -> dict[str, Any] | None:
    """Return the tool result that tells a model about error, or None when its program must handle it."""
    if isinstance(error, NotFound) or not isinstance(error, (CallerFault, ProviderFault)):
        return None
    about: dict[str, Any] = {"code": error.code}
    if error.retry_after_s is not None:
        about["retryAfterSeconds"] = error.retry_after_s
    return mcp.refused_result(_said(error), about, modern=modern)


def _said(error: PartywallError) -> str:
    if isinstance(error, Denied):
        return error.public[:1].upper() + error.public[1:]
    if isinstance(error, ApprovalRequired):
        return f"Not done yet: {error.public}"
    if isinstance(error, ProviderFault):
        return f"The tool failed: {error.public}"
    return f"Refused: {error.public}"
