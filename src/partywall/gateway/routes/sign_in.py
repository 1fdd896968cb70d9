"""What the OpenAPI document says of sign-in: pages and redirections for browsers, and metadata for clients."""

from __future__ import annotations

from typing import Any, Final

from partywall.gateway.routes.document import PUBLIC, Described, Doc
from partywall.wire import replies

AUTHORIZE: Final = "/v1/oauth/authorize"
SERVER: Final = "/.well-known/oauth-authorization-server"
RESOURCE: Final = "/.well-known/oauth-protected-resource"
_FORM: Final = "application/x-www-form-urlencoded"
_PAGE: Final = "text/html"
_FAULTS: Final = {
    403: ("denied",),
    404: ("not-found",),
    409: ("conflict",),
    502: ("bad-reply",),
    504: ("provider-timeout",),
}


def _page(summary: str, **more: Any) -> Doc:
    return Doc(
        summary=summary,
        tag="tokens",
        who=PUBLIC,
        reply=str,
        media_type=_PAGE,
        faults={_PAGE: str},
        errors=_FAULTS,
        also={302: "To the client or the identity provider.", 303: "To the identity provider, or back to the client."},
        **more,
    )


def _metadata(summary: str, **more: Any) -> Doc:
    return Doc(summary=summary, tag="tokens", who=PUBLIC, reply=dict[str, Any], **more)


def routes_of(callback: str) -> tuple[Described, ...]:
    """Return the routes. callback: where identity providers send people back to."""
    request = dict.fromkeys(("client_id", "redirect_uri", "response_type", "scope", "state", "tenant"), str)
    request |= dict.fromkeys(("code_challenge", "code_challenge_method", "resource"), str)
    return (
        Described("GET", AUTHORIZE, _page("Begin to sign in (OAuth 2.1 authorization code, PKCE)", query=request)),
        Described(
            "POST",
            AUTHORIZE,
            _page("Go on to the identity provider, or not", request=replies.SignInChoice, request_media_type=_FORM),
        ),
        Described(
            "GET",
            callback,
            _page("Take an identity provider's answer", query=dict.fromkeys(("state", "code", "error", "iss"), str)),
        ),
        Described(
            "GET",
            callback + "/{idp}",
            _page(
                "Take the answer of an identity provider that does not name itself",
                query=dict.fromkeys(("state", "code", "error", "iss"), str),
            ),
        ),
        Described("GET", SERVER, _metadata("Read where to sign in (RFC 8414)")),
        Described("GET", RESOURCE, _metadata("Read who signs people in for this deployment (RFC 9728)")),
        Described(
            "GET",
            RESOURCE + "/mcp/{server}",
            _metadata("Read who signs people in for an MCP server (RFC 9728)", errors={404: ("not-found",)}),
        ),
    )
