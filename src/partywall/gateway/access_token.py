"""Access tokens: EdDSA JWTs of this deployment's issuer, parsed strictly and verified against its public keys.

The algorithm is fixed, so nothing is negotiated: a header has exactly `alg`, `typ` and `kid` (a `crit`, `jwk`, `jku`
or `x5c` is an unknown member and refuses the token), claims have exactly the members below, and base64url has one
spelling. Source: RFC 7519, RFC 8037, RFC 8725 (best current practice), RFC 9068 (typ), attacks.md ID-3 and ID-8.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Final, Literal, Protocol, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import UNSET, Meta, UnsetType

from partywall.decision.action import ActionType
from partywall.decision.labels import Classification
from partywall.decision.ports import Directory
from partywall.decision.principal import Kind, Principal
from partywall.errors import Malformed, Unauthenticated
from partywall.wire.ids import SessionId, TenantId, UserId, is_id
from partywall.wire.strict_json import parse_json

MAX_LIFE_S: Final = 900.0
CLOCK_SKEW_S: Final = 5.0
AUDIENCE: Final = "partywall"


Time = Annotated[float, Meta(ge=0, le=2**53)]


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: Literal["EdDSA"]
    typ: Literal["at+jwt"]
    kid: str


class _Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sub: str


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an access token says. iat, exp: Unix seconds. act: the agent, when it acts for the user in `sub`.

    scp: absent means all that the subject is granted, so it is never null by mistake. res: the one resource that it is
    for (RFC 8707); a worker that does not know the member refuses the token.
    """

    iss: str
    aud: Literal["partywall"]
    sub: str
    iat: Time
    exp: Time
    jti: str
    region: str
    ten: str
    knd: Literal["agent", "user", "tenant-admin"]
    clr: Classification
    act: _Actor | None = None
    scp: list[ActionType] | UnsetType = UNSET
    ses: str | None = None
    res: Annotated[str, Meta(min_length=1, max_length=512)] | None = None


class VerificationKeys(Protocol):
    """Where public keys are had from: a worker's directory, or the issuer's own table."""

    def verification_keys(self) -> Mapping[str, bytes]:
        """Public Ed25519 keys by key id (raw, 32 bytes)."""
        ...


class VerifiedToken(msgspec.Struct, frozen=True):
    """The claims of a token and the key that signed them: worth nothing once that key is withdrawn."""

    kid: str
    claims: Claims


_Parsed = TypeVar("_Parsed")


def verify_access_token(raw_token: str, directory: VerificationKeys, *, region: str, now_s: float) -> VerifiedToken:
    """Return what a token says that this deployment's issuer signed and that is alive.

    Whether any of it was revoked is not asked here: see `principal_of`. Raises: Unauthenticated.
    """
    parts = raw_token.split(".")
    if len(parts) != 3:
        raise Unauthenticated("not a token", private="shape")
    header = _parse(_decode(parts[0]), _Header)
    raw_key = directory.verification_keys().get(header.kid)
    if raw_key is None:
        raise Unauthenticated("not a token", private="unknown key")
    signed = f"{parts[0]}.{parts[1]}".encode()
    try:
        Ed25519PublicKey.from_public_bytes(raw_key).verify(_decode(parts[2]), signed)
    except (InvalidSignature, ValueError) as error:
        raise Unauthenticated("not a token", private="signature") from error
    claims = _parse(_decode(parts[1]), Claims)
    _check(claims, region=region, now_s=now_s)
    return VerifiedToken(header.kid, claims)


def principal_of(token: VerifiedToken, directory: Directory, *, clearance: Classification) -> Principal:
    """Return the principal of a verified token, as the directory knows it now.

    clearance: the most that the subject (and the user it acts for) may see today. Raises: Unauthenticated when the
    token, its session, its key or anyone it names was withdrawn.
    """
    claims = token.claims
    if token.kid not in directory.verification_keys():
        raise Unauthenticated("not a token", private="unknown key")
    agent = claims.act.sub if claims.act is not None else None
    named = (claims.jti, claims.sub, *filter(None, (agent, claims.ses)))
    if any(directory.is_revoked(name) for name in named):
        raise Unauthenticated("not a token", private="revoked")
    return Principal(
        kind=Kind(claims.knd),
        id=agent or claims.sub,
        region=claims.region,
        tenant=TenantId(claims.ten),
        credential=claims.jti,
        expires_at_s=claims.exp,
        scopes=None if isinstance(claims.scp, UnsetType) else frozenset(claims.scp),
        clearance=min(claims.clr, clearance),
        session=None if claims.ses is None else SessionId(claims.ses),
        on_behalf_of=UserId(claims.sub) if agent is not None else None,
        resource=claims.res,
    )


def _check(claims: Claims, *, region: str, now_s: float) -> None:
    if claims.iss != f"partywall/{region}" or claims.region != region:
        raise Unauthenticated("not a token", private="issuer or region")
    if not (claims.iat - CLOCK_SKEW_S <= now_s < claims.exp and 0 < claims.exp - claims.iat <= MAX_LIFE_S):
        raise Unauthenticated("not a token", private="times")
    if not (is_id(claims.ten, "ten") and is_id(claims.jti, "tok")):
        raise Unauthenticated("not a token", private="ids")
    if claims.ses is not None and not is_id(claims.ses, "ses"):
        raise Unauthenticated("not a token", private="ids")
    if claims.act is not None:
        subjects = is_id(claims.sub, "usr") and is_id(claims.act.sub, "agt") and claims.knd == "agent"
    else:
        subjects = is_id(claims.sub, "agt" if claims.knd == "agent" else "usr")
    if not subjects:
        raise Unauthenticated("not a token", private="subjects")


def _decode(text: str) -> bytes:
    """Return the bytes of canonical base64url without padding; a second spelling of the same bytes is refused."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unauthenticated("not a token", private="base64") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        raise Unauthenticated("not a token", private="base64")
    return data


def _parse(data: bytes, shape: type[_Parsed]) -> _Parsed:
    try:
        return msgspec.convert(parse_json(data), shape)
    except (Malformed, msgspec.ValidationError) as error:
        raise Unauthenticated("not a token", private="members") from error
