"""What the API answers when it answers no, one class per kind of answer. Source: RFC 9457, `gateway/http_errors.py`."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class ApiError(Exception):
    """The API refused, failed, or is out of reach.

    status: HTTP, 0 when nothing answered. code: stable, for programs, such as `denied-no-grant`. detail: what to do.
    trace: names the request in the deployment's log. retry_after_s: when to try again, if it is known.
    """

    def __init__(
        self, detail: str, *, status: int = 0, code: str = "error", trace: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{detail} [{code}]")
        self.status = status
        self.code = code
        self.detail = detail
        self.trace = trace
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """The request itself is wrong (400, 405, 413, 415, 422): nothing changed."""


class Unauthenticated(ApiError):
    """No valid API key or access token (401)."""


class Denied(ApiError):
    """Policy denied it, or it needs an approval (403). `detail` says what to ask for."""


class NotFound(ApiError):
    """There is no such thing here (404): it does not exist, or is not yours to know of."""


class Conflict(ApiError):
    """It is taken, or was asked differently under the same idempotency key (409)."""


class PreconditionFailed(ApiError):
    """It changed since you read it (412): nothing was written."""


class LimitExceeded(ApiError):
    """A limit of size, rate or number (429)."""


class Unavailable(ApiError):
    """The deployment, or something that it needs, is out of reach (503, or no answer). It fails closed."""


class UpstreamFailed(ApiError):
    """The model or tool behind the wall failed (502, 504)."""


class ServerError(ApiError):
    """A defect of the deployment (500): report it with `trace`."""


_CLASSES: Final[dict[int, type[ApiError]]] = {
    401: Unauthenticated,
    403: Denied,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    429: LimitExceeded,
    502: UpstreamFailed,
    503: Unavailable,
    504: UpstreamFailed,
}


def error_of(status: int, raw_body: bytes, retry_after: str | None) -> ApiError:
    """Return the error of a reply that is no success, whatever its body is."""
    problem = _problem(raw_body)
    kind = _CLASSES.get(status, BadRequest if status < 500 else ServerError)
    return kind(
        str(problem.get("detail") or problem.get("title") or f"the API answered with status {status}"),
        status=status,
        code=str(problem.get("code") or "error"),
        trace=str(problem.get("trace") or ""),
        retry_after_s=float(retry_after) if retry_after is not None and retry_after.isdigit() else None,
    )


def _problem(raw_body: bytes) -> dict[str, Any]:
    """Return the members of a problem, or of OpenAI's form of one."""
    try:
        parsed = msgspec.json.decode(raw_body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(parsed, dict):
        return {}
    inner = parsed.get("error")
    if isinstance(inner, dict):
        return {"detail": inner.get("message"), "code": inner.get("code")}
    return parsed
