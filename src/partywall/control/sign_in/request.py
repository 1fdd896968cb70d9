"""What a client asked for, checked: PKCE, scope, resource. Pure.

Source: RFC 6749 4.1.2.1 and RFC 9700 (what may be answered to whom), RFC 7636, RFC 8707, RFC 9207.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from partywall.control.sign_in.clients import Client
from partywall.decision.action import ActionType
from partywall.errors import Malformed
from partywall.wire.sign_in import CHALLENGE, Begin

_SERVER: Final = re.compile(r"/mcp/[a-z][a-z0-9_-]{0,62}", re.ASCII)
OFFLINE: Final = "offline_access"
"""Asks for refresh tokens (OpenID Connect Core 11)."""
_OIDC_SCOPES: Final = frozenset({"openid", "profile", "email", OFFLINE})
"""What clients ask every authorization server for: it gives nothing here, and refusing it would help nobody."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be answered. scopes None: all that the person is granted. resource None: the deployment.

    lasting: whether refresh tokens are asked for.
    """

    client: str
    redirect_uri: str
    state: str | None
    challenge: str
    scopes: list[str] | None
    resource: str | None
    lasting: bool


class Refused(Exception):
    """The client, which is known, is told. error: of RFC 6749 4.1.2.1."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


def check_request(begin: Begin, client: Client, public_url: str) -> Asked:
    """Return the request. Raises: Malformed for the redirect_uri; Refused for the rest."""
    client.check_redirect(begin.redirect_uri)
    if begin.response_type != "code":
        raise Refused("unsupported_response_type", "response_type is code")
    if begin.response_mode not in {None, "query"}:
        raise Refused("invalid_request", "response_mode is query")
    if begin.code_challenge_method != "S256" or not CHALLENGE.fullmatch(begin.code_challenge or ""):
        raise Refused("invalid_request", "PKCE is required: code_challenge_method=S256 and a code_challenge")
    return Asked(
        client=client.id,
        redirect_uri=begin.redirect_uri,
        state=begin.state,
        challenge=begin.code_challenge or "",
        scopes=scopes_of(begin.scope),
        resource=resource_of(begin.resource, public_url),
        lasting=OFFLINE in (begin.scope or "").split(),
    )


def resource_of(resource: str | None, public_url: str) -> str | None:
    """Return the one MCP server that a token will be for, None for the whole deployment. Raises: Refused."""
    if resource is None or resource.removesuffix("/") == public_url:
        return None
    if resource.startswith(public_url) and _SERVER.fullmatch(resource[len(public_url) :]):
        return resource
    raise Refused("invalid_target", f"a resource is {public_url} or {public_url}/mcp/SERVER")


def scopes_of(scope: str | None) -> list[str] | None:
    """Return the actions that a scope names, None for no wish. Raises: Refused."""
    wanted = set((scope or "").split()) - _OIDC_SCOPES
    if not wanted:
        return None
    if not wanted <= {action.value for action in ActionType}:
        raise Refused("invalid_scope", "a scope is an action, such as tool.call")
    return sorted(wanted)


def answer_url(redirect_uri: str, public_url: str, state: str | None, **answer: str) -> str:
    """Return the client's redirect URI with the answer, the state as it was given, and who answers (RFC 9207)."""
    query = dict(answer)
    if state is not None:
        query["state"] = state
    query["iss"] = public_url
    parts = urlsplit(redirect_uri)
    joined = "&".join(filter(None, (parts.query, urlencode(query))))
    return parts._replace(query=joined).geturl()


def check_text(text: str) -> str:
    """Return a tenant's slug or id as a person typed it. Raises: Malformed."""
    name = text.strip().lower()
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name, re.ASCII):
        raise Malformed("a tenant is named by its short name, such as acme", code="unknown-tenant")
    return name
