"""Foreign tokens, read strictly: three canonical parts, one meaning of each JSON, and no header that chooses a key.

Nothing here is believed before `verify_signature`; `check_claims` then asks whether the token is for us, now.
Pure but for the signature library. Source: RFC 7515, RFC 7519, RFC 8725, OpenID Connect Core 3.1.3.7, SPIFFE JWT-SVID.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key
from joserfc.jws import JWSRegistry, deserialize_compact

from partywall.control.federation.identity import ALGORITHMS, IdentityProvider, ProviderKind, refused
from partywall.errors import Malformed
from partywall.wire.ids import ID_BYTES, format_id
from partywall.wire.strict_json import parse_json

TOKEN_LIMIT_BYTES: Final = 16_384
HEADER_LIMIT_BYTES: Final = 4_096
NAME_LIMIT: Final = 255
AUDIENCES_LIMIT: Final = 16
SKEW_S: Final = 30.0
_TYPES: Final = {
    ProviderKind.OIDC: {None, "JWT"},
    ProviderKind.WORKLOAD: {None, "JWT", "at+jwt", "application/at+jwt"},
    ProviderKind.SPIFFE: {None, "JWT", "JOSE"},
}
_STEERING: Final = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "b64", "zip", "enc"})
"""Header members by which a token would say how, or by which key, it wants to be verified."""
_PART: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SPIFFE: Final = re.compile(r"(spiffe://[a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)", re.ASCII)


class ReadToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was read and not verified."""

    raw: str
    algorithm: str
    kid: str
    type: str | None
    claims: Mapping[str, Any]


def read_token(raw_token: str) -> ReadToken:
    """Return the parts of a compact JWS. Raises: Unauthenticated."""
    parts = raw_token.split(".")
    if len(raw_token) > TOKEN_LIMIT_BYTES or len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        raise refused("shape")
    header, claims = (_object(part) for part in parts[:2])
    _decode(parts[2])
    algorithm, kid, type_ = header.get("alg"), header.get("kid"), header.get("typ")
    if len(parts[0]) > HEADER_LIMIT_BYTES or _STEERING & header.keys():
        raise refused("header")
    if algorithm not in ALGORITHMS:
        raise refused("algorithm")
    if not isinstance(kid, str) or not 0 < len(kid) <= NAME_LIMIT or not isinstance(type_, str | None):
        raise refused("header")
    return ReadToken(raw=raw_token, algorithm=algorithm, kid=kid, type=type_, claims=claims)


def verify_signature(token: ReadToken, key: Key) -> None:
    """Raises: Unauthenticated unless the key signed the token with the algorithm that its header names."""
    registry = JWSRegistry(algorithms=[token.algorithm], strict_check_header=False)
    registry.max_header_length = HEADER_LIMIT_BYTES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # RFC 9864 renames EdDSA; issuers still say it
            deserialize_compact(token.raw, key, algorithms=[token.algorithm], registry=registry)
    except (JoseError, ValueError, TypeError) as error:
        raise refused("signature") from error


def check_claims(token: ReadToken, provider: IdentityProvider, *, now_s: float, nonce: str | None) -> tuple[str, float]:
    """Return (subject, end in Unix seconds) of a token whose signature is right. Raises: Unauthenticated."""
    claims = token.claims
    if token.algorithm not in provider.algorithms:
        raise refused("algorithm")
    if token.type not in _TYPES[provider.kind]:
        raise refused("type")
    if provider.kind is not ProviderKind.SPIFFE and claims.get("iss") != provider.issuer:
        raise refused("issuer")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= NAME_LIMIT or not subject.isprintable():
        raise refused("subject")
    if provider.kind is ProviderKind.SPIFFE and trust_domain_of(subject) != provider.issuer:
        raise refused("subject")
    if "act" in claims:  # somebody acts for the subject: a token of ours could not say so, and would shed the actor
        raise refused("delegated")
    _check_audience(claims, provider)
    if nonce is not None and claims.get("nonce") != nonce:
        raise refused("nonce")
    return subject, _check_times(claims, provider, now_s)


def assertion_id(token: ReadToken, provider: IdentityProvider) -> str:
    """Return what a token is remembered as: by its `jti`, else by what was signed (a signature has many spellings)."""
    jti = token.claims.get("jti")
    content = f"jti\0{jti}" if isinstance(jti, str) and jti else f"body\0{token.raw.rpartition('.')[0]}"
    digest = hashlib.sha256(f"{provider.id}\0{content}".encode("utf-8", "surrogatepass")).digest()
    return format_id("asr", digest[:ID_BYTES])


def trust_domain_of(spiffe_id: str) -> str | None:
    """Return `spiffe://<trust domain>` of a well-formed SPIFFE id with a path, else None."""
    match = _SPIFFE.fullmatch(spiffe_id)
    if match is None or any(segment in {".", ".."} for segment in match[2].split("/")):
        return None
    return match[1]


def audiences_of(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return whom a token says it is for; nobody when that cannot be read."""
    given = claims.get("aud")
    named = [given] if isinstance(given, str) else given
    if not isinstance(named, list) or not 0 < len(named) <= AUDIENCES_LIMIT:
        return ()
    return tuple(named) if all(isinstance(name, str) and name for name in named) else ()


def _check_audience(claims: Mapping[str, Any], provider: IdentityProvider) -> None:
    """A token for us and for somebody else too can be replayed by that somebody: one audience, or (OIDC) our `azp`."""
    named = audiences_of(claims)
    if not set(named) & set(provider.audiences):
        raise refused("audience")
    party = claims.get("azp")
    if provider.kind is ProviderKind.OIDC:
        ours = [*provider.audiences, *filter(None, [provider.client_id])]
        if (len(named) > 1 and party is None) or (party is not None and party not in ours):
            raise refused("authorized-party")
    elif len(named) > 1:
        raise refused("audience")


def _check_times(claims: Mapping[str, Any], provider: IdentityProvider, now_s: float) -> float:
    ends_at_s, issued_at_s = _time(claims, "exp"), _time(claims, "iat")
    starts_at_s = _time(claims, "nbf")
    if ends_at_s is None or (issued_at_s is None and provider.kind is not ProviderKind.SPIFFE):
        raise refused("times")
    if now_s >= ends_at_s:  # no tolerance: an end is an end
        raise refused("expired")
    if max(starts_at_s or 0.0, issued_at_s or 0.0) > now_s + SKEW_S:
        raise refused("not-yet")
    age_s = now_s - issued_at_s if issued_at_s is not None else 0.0
    left_s = ends_at_s - now_s if issued_at_s is None else 0.0
    if max(age_s, left_s) > provider.max_age_s:
        raise refused("too-old")
    return ends_at_s if issued_at_s is None else min(ends_at_s, issued_at_s + provider.max_age_s)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise refused("times")
    return float(value)


def _object(part: str) -> dict[str, Any]:
    try:
        value = parse_json(_decode(part), depth_limit=8, node_limit=2_000)
    except Malformed as error:
        raise refused("shape") from error
    if not isinstance(value, dict):
        raise refused("shape")
    return value


def _decode(part: str) -> bytes:
    """Return the bytes of canonical base64url; a second spelling of the same bytes is refused."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused("shape") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise refused("shape")
    return data
