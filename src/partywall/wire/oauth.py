"""Token requests as RFC 6749 and RFC 8693 send them: each parameter once, nothing that is not known.

Pure. Source: RFC 6749 section 3.2 and appendix B, RFC 8693 section 2.1, draft-ietf-oauth-transaction-tokens.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from partywall.errors import Malformed
from partywall.wire.ids import is_id
from partywall.wire.strict_json import parse_json

TOKEN_LIMIT: Final = 16_384
SCOPE_LIMIT: Final = 2_048
CONTEXT_LIMIT: Final = 4_096

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a name of RFC 8693
_TYPES: Final = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN: Final = f"{_TYPES}access_token"
ID_TOKEN: Final = f"{_TYPES}id_token"
JWT: Final = f"{_TYPES}jwt"
TRANSACTION_TOKEN: Final = f"{_TYPES}txn_token"
ACCEPTED: Final = (JWT, ID_TOKEN, ACCESS_TOKEN)
"""Types of tokens that may be shown. A JWT-SVID is a `jwt`."""

_SCOPE: Final = re.compile(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*", re.ASCII)
_TENANT: Final = re.compile(r"pw:([a-z0-9-]{1,32}):(ten_[a-z2-7]{26})", re.ASCII)


class ShownToken(msgspec.Struct, frozen=True):
    """A token as its bearer showed it, and what it is said to be."""

    raw: str
    type: str


class ExchangeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A token exchange. tenant: the one that audience or resource names. scopes None: no wish."""

    subject: ShownToken
    actor: ShownToken | None
    requested: str
    tenant: str | None
    audience: str | None
    scopes: list[str] | None
    details: dict[str, Any]
    context: dict[str, Any]


def parse_exchange(form: Mapping[str, str], *, region: str) -> ExchangeRequest:
    """Return the token exchange that a form asks for. region: this deployment's.

    Raises: Malformed, with OAuth's own code: `invalid-request`, `invalid-target`, `invalid-scope`.
    """
    requested = form.get("requested_token_type", ACCESS_TOKEN)
    if requested not in {ACCESS_TOKEN, JWT, TRANSACTION_TOKEN}:
        raise Malformed("requested_token_type is access_token, jwt or txn_token", code="invalid-request")
    subject = _shown(form, "subject_token")
    if subject is None:
        raise Malformed("subject_token is missing", code="invalid-request")
    transaction = requested == TRANSACTION_TOKEN
    if not transaction and {"request_details", "request_context"} & form.keys():
        raise Malformed("only a transaction token takes a request's context", code="invalid-request")
    return ExchangeRequest(
        subject=subject,
        actor=_shown(form, "actor_token"),
        requested=requested,
        tenant=None if transaction else _tenant(form, region),
        audience=form.get("audience"),
        scopes=_scopes(form),
        details=_context(form, "request_details"),
        context=_context(form, "request_context"),
    )


def _shown(form: Mapping[str, str], name: str) -> ShownToken | None:
    token, type_ = form.get(name), form.get(f"{name}_type")
    if (token is None) != (type_ is None):
        raise Malformed(f"{name} and {name}_type come together", code="invalid-request")
    if token is None or type_ is None:
        return None
    if type_ not in ACCEPTED:
        raise Malformed(f"{name}_type is jwt, id_token or access_token", code="invalid-request")
    if len(token) > TOKEN_LIMIT or not token.isascii() or not token.isprintable():
        raise Malformed(f"{name} cannot be read", code="invalid-request")
    return ShownToken(token, type_)


def _tenant(form: Mapping[str, str], region: str) -> str | None:
    """Return the tenant that audience and resource name: `pw:<region>:<tenant>`, one and the same."""
    named = {form[name] for name in ("audience", "resource") if name in form}
    if not named:
        return None
    match = _TENANT.fullmatch(named.pop())
    if named or match is None or match[1] != region or not is_id(match[2], "ten"):
        raise Malformed(f"audience is pw:{region}:<tenant id>", code="invalid-target")
    return match[2]


def _scopes(form: Mapping[str, str]) -> list[str] | None:
    text = form.get("scope")
    if text is None:
        return None
    if len(text) > SCOPE_LIMIT or not _SCOPE.fullmatch(text):
        raise Malformed("scope is a list of actions with a space between", code="invalid-scope")
    return list(dict.fromkeys(text.split(" ")))


def _context(form: Mapping[str, str], name: str) -> dict[str, Any]:
    text = form.get(name)
    if text is None:
        return {}
    try:
        if len(text) > CONTEXT_LIMIT:
            raise Malformed("too long")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        value = parse_json(raw, depth_limit=8, node_limit=200)
    except (Malformed, binascii.Error, ValueError) as error:
        raise Malformed(f"{name} is a small JSON object in base64url", code="invalid-request") from error
    if not isinstance(value, dict):
        raise Malformed(f"{name} is a small JSON object in base64url", code="invalid-request")
    return value


def issuer_of(raw_token: str) -> str | None:
    """Return who a token says it is of, unverified; None for what is no JWT. It chooses who verifies, nothing more."""
    issuer = _claims(raw_token).get("iss")
    return issuer if isinstance(issuer, str) else None


def audience_tenant(raw_token: str, *, region: str) -> str | None:
    """Return the one tenant that a token's audience names, unverified: it says whose turn this takes, nothing more."""
    given = _claims(raw_token).get("aud")
    named = given if isinstance(given, list) else [given]
    matches = [_TENANT.fullmatch(name) for name in named[:16] if isinstance(name, str)]
    tenants = {match[2] for match in matches if match is not None and match[1] == region}
    return tenants.pop() if len(tenants) == 1 else None


def _claims(raw_token: str) -> dict[str, Any]:
    """Return the claims of a JWT, unverified; none of what is no JWT."""
    parts = raw_token.split(".")
    if len(parts) != 3:
        return {}
    try:
        body = base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True)
        claims = parse_json(body, depth_limit=8, node_limit=2_000)
    except (Malformed, binascii.Error, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
