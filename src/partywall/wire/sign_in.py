"""Sign-in as its steps go from a gateway to the issuer: one strict struct each, canonical JSON under a signed permit.

    begin -> (a person agrees) -> continue -> (their identity provider) -> callback -> redeem

Pure. Source: RFC 6749, RFC 7636 (PKCE), RFC 8707 (resource), RFC 9207 (iss), docs/adr/0012-sign-in.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from partywall.errors import Malformed

CALLBACK_PATH: Final = "/v1/oauth/callback"
"""Of our own: our redirect URI for identity providers whose answers name them (RFC 9207); others have one each, below.

An answer that does not say whose it is must come where only that provider sends people: else a provider could have the
codes of another brought to it (mix-up, RFC 9700 4.4.2.2).
"""
PROVIDER: Final = r"^idp_[a-z2-7]{26}\Z"
CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
ATTEMPT: Final = re.compile(r"sgn_[a-z2-7]{26}", re.ASCII)
STATE: Final = r"^sgn_[a-z2-7]{26}\.[A-Za-z0-9_-]{43}\Z"
Url = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[!-~]+\Z")]
Text = Annotated[str, Meta(max_length=512, pattern=r"^[ -~]*\Z")]
"""What is asked stays in a cookie, sealed: of that a browser keeps 4,096 bytes."""
RefreshToken = Annotated[str, Meta(pattern=r"^pwr_[a-z2-7]{26}_[A-Za-z0-9_-]{43}\Z")]
Sealed = Annotated[str, Meta(max_length=4_096, pattern=r"^[A-Za-z0-9_-]+\Z")]
Secret = Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z0-9_-]+\Z")]


class _Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="step"):
    pass


class Begin(_Step, frozen=True, tag="begin"):
    """A client's authorization request, as it came; members that it may leave out are None.

    Reply: {"attempt", "form", "cookie", "client": {"name", "host"}, "redirect_uri", "scopes", "resource", "lasting_s",
    "tenant"}, to be shown to the person; or {"location", "error"}: back to the client. Malformed: to the person alone.
    """

    client_id: Url
    redirect_uri: Url
    response_type: Text | None = None
    response_mode: Text | None = None
    state: Text | None = None
    code_challenge: Text | None = None
    code_challenge_method: Text | None = None
    scope: Text | None = None
    resource: Url | None = None
    tenant: Text | None = None


class Continue(_Step, frozen=True, tag="continue"):
    """The person agreed, in the browser that holds the cookie, and said which tenant. Reply: {"location", "cookie"}."""

    form: Secret
    cookie: Sealed
    tenant: Text


class Cancel(_Step, frozen=True, tag="cancel"):
    """The person did not agree. Reply: {"location", "error"}."""

    form: Secret
    cookie: Sealed


class Callback(_Step, frozen=True, tag="callback"):
    """The identity provider's answer, in the browser that holds the cookie. Reply: {"location"}, maybe with "error".

    at: the provider whose own callback address it came to (`CALLBACK_PATH/<id>`); None for the one of all.
    """

    state: Annotated[str, Meta(pattern=STATE)]
    cookie: Sealed
    code: Annotated[str, Meta(min_length=1, max_length=4_096)] | None = None
    error: Text | None = None
    iss: Text | None = None
    at: Annotated[str, Meta(pattern=PROVIDER)] | None = None


class Redeem(_Step, frozen=True, tag="redeem"):
    """A client exchanges its code. Reply: {"tenant", "subject", "kind", "credential", "expires_at_s", "scopes",
    "resource", "refresh_token"?}: with that credential the subject asks for its own token, on its tenant's road.
    """

    client_id: Url
    code: Secret
    code_verifier: Annotated[str, Meta(max_length=128)]
    redirect_uri: Url
    resource: Url | None = None


class Refresh(_Step, frozen=True, tag="refresh"):
    """A client exchanges a refresh token, once. Reply: as of Redeem."""

    client_id: Url
    refresh_token: RefreshToken
    scope: Text | None = None
    resource: Url | None = None


class End(_Step, frozen=True, tag="end"):
    """A sign-in ends, with its refresh token and every access token that came of it. Reply: {}."""

    refresh_token: RefreshToken


Step = Begin | Continue | Cancel | Callback | Redeem | Refresh | End
STEP_KINDS: Final[tuple[type[Step], ...]] = (Begin, Continue, Cancel, Callback, Redeem, Refresh, End)
REQUEST_FIELDS: Final = frozenset(Begin.__struct_fields__)


def parse_step(value: Any) -> Step:
    """Return the step that a parsed JSON value is. Raises: Malformed, without repeating what it holds."""
    try:
        step: Step = msgspec.convert(value, Step)
    except msgspec.ValidationError as error:
        raise Malformed("not a request to sign in that can be read", code="invalid-request") from error
    return step


def parse_request(parameters: Mapping[str, str]) -> Begin:
    """Return the authorization request of a query; what OAuth does not know is left out. Raises: Malformed."""
    known = {name: value for name, value in parameters.items() if name in REQUEST_FIELDS}
    try:
        return msgspec.convert(known, Begin)
    except msgspec.ValidationError as error:
        raise Malformed(f"not an authorization request: {error}", code="invalid-request") from error


def parameters_of(step: Step) -> dict[str, Any]:
    """Return what of a step is recorded: which it is, and which client asks. Never a code, state or cookie."""
    recorded: dict[str, Any] = {"operation": f"sign-in.{step.__struct_config__.tag}"}
    if isinstance(step, Begin | Redeem | Refresh):
        recorded["client"] = step.client_id[:128]
    return recorded
