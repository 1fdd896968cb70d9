"""Errors as the token endpoint tells them: RFC 6749 5.2, with the codes of RFC 8693 2.2.2.

A token that is not accepted is an `invalid_request`, whatever was wrong with it: its bearer learns no more.
"""

from __future__ import annotations

from typing import Final

import msgspec

from partywall.errors import Bug, CallerFault, LimitExceeded, PartywallError, Unavailable
from partywall.gateway.http_errors import headers_of, status_of

NOT_ACCEPTED: Final = "the token is not accepted"
CODES: Final = frozenset(
    {
        "invalid-request",
        "invalid-client",
        "invalid-grant",
        "unauthorized-client",
        "unsupported-grant-type",
        "invalid-scope",
        "invalid-target",
    }
)
_KEPT: Final = frozenset({405, 413, 429})
"""Statuses that say something that OAuth has no code for; any other fault of the caller is a 400."""
_encode = msgspec.json.Encoder(order="sorted").encode


def oauth_status(error: PartywallError) -> int:
    """Return the HTTP status."""
    status = status_of(error)
    return status if status >= 500 or status in _KEPT else 400


def oauth_body(error: PartywallError) -> bytes:
    """Return the body: {"error", "error_description"}."""
    code, said = _code(error), error.public
    if error.code.startswith("assertion-"):
        said = NOT_ACCEPTED
    return _encode({"error": code, "error_description": _plain(said)})


def oauth_headers(error: PartywallError) -> dict[str, str]:
    """Return the headers: never cached, and no challenge, because nothing was asked for in a header."""
    headers = {name: value for name, value in headers_of(error).items() if name != "www-authenticate"}
    return {"cache-control": "no-store", "pragma": "no-cache"} | headers


def _code(error: PartywallError) -> str:
    if error.code in CODES:
        return error.code.replace("-", "_")
    if isinstance(error, LimitExceeded | Unavailable):
        return "temporarily_unavailable"
    if isinstance(error, Bug) or not isinstance(error, CallerFault):
        return "server_error"
    return "invalid_scope" if error.code == "denied-out-of-scope" else "invalid_request"


def _plain(text: str) -> str:
    """Return text in the characters that error_description may have (RFC 6749 appendix A.8)."""
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)[:300]
