"""Errors as HTTP: the one place that knows status codes. RFC 9457 bodies; OpenAI's form on its own paths."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from partywall import errors
from partywall.errors import PartywallError

STATUS: Final[dict[type[PartywallError], int]] = {
    errors.Malformed: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.ApprovalRequired: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.LimitExceeded: 429,
    errors.ProviderTimeout: 504,
    errors.ProviderRefused: 502,
    errors.BadReply: 502,
    errors.ProviderFault: 502,
    errors.SandboxFault: 502,
    errors.Unavailable: 503,
    errors.Bug: 500,
    errors.CallerFault: 400,
}
CODE_STATUS: Final = {
    "body-too-large": 413,
    "too-deep": 400,
    "request-timeout": 408,
    "headers-too-large": 431,
    "method-not-allowed": 405,
    "unsupported-media-type": 415,
    "not-acceptable": 406,
    "too-busy": 503,
    "precondition-failed": 412,
    "idempotency-key-reused": 422,
}
TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Denied by policy",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timed out",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Unprocessable",
    429: "Limit exceeded",
    431: "Headers too large",
    500: "Internal error",
    502: "Upstream failed",
    503: "Unavailable",
    504: "Upstream timed out",
}
_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_encode = msgspec.json.Encoder(order="sorted").encode


def status_of(error: PartywallError) -> int:
    """Return the HTTP status of an error."""
    by_code = CODE_STATUS.get(error.code)
    if by_code is not None:
        return by_code
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status is not None:
            return status
    return 500


def headers_of(error: PartywallError) -> dict[str, str]:
    """Return the headers that go with an error."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if isinstance(error, errors.Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    return headers


def problem_body(error: PartywallError, trace_id: str) -> bytes:
    """Return the `application/problem+json` body (RFC 9457)."""
    status = status_of(error)
    body: dict[str, Any] = {
        "type": f"urn:partywall:problem:{error.code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": error.public,
        "code": error.code,
        "trace": trace_id,
    }
    return _encode(body)


def openai_body(error: PartywallError) -> bytes:
    """Return the body that the OpenAI SDK turns into the right exception."""
    status = status_of(error)
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return _encode({"error": {"message": error.public, "type": kind, "code": error.code, "param": None}})
