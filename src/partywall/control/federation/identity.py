"""What the issuer knows of an identity provider that somebody trusts, and of an identity that it vouched for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from partywall.errors import Denied, Unauthenticated

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
"""Asymmetric only: whoever can verify must not be able to sign."""


class ProviderKind(StrEnum):
    """What kind of issuer it is, which says how strictly its tokens are read."""

    OIDC = "oidc"  # ID tokens of people: single use, `azp`, `nonce`
    WORKLOAD = "workload"  # projected tokens of machines: Kubernetes, cloud, CI
    SPIFFE = "spiffe"  # JWT-SVIDs of one trust domain


class IdentityProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A trusted issuer of one tenant, or of one organisation (then tenant is None). Never changed, only removed.

    issuer: compared with `iss` byte for byte; `spiffe://<trust domain>` for SPIFFE. audiences: one of them must be the
    token's. jwks: a pinned key set (JSON); else jwks_uri; else discovery below issuer. client_secret: sealed.
    max_age_s: since `iat`. single_use: a token is an assertion, and good once.
    """

    id: str
    tenant: str | None
    organisation: str | None
    slug: str
    kind: ProviderKind
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    max_age_s: float
    single_use: bool
    jwks_uri: str | None = None
    jwks: str | None = None
    client_id: str | None = None
    client_secret: bytes | None = None


class ExternalIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a verified token is about. claims: as signed. expires_at_s: the token's own end (Unix seconds).

    assertion: `asr_…`, the same for every spelling of the same token: what is remembered of one that is good once.
    """

    provider: IdentityProvider
    subject: str
    claims: Mapping[str, Any]
    expires_at_s: float
    assertion: str


def refused(cause: str) -> Unauthenticated:
    """Return the one refusal of a foreign token. cause: for the record (`assertion-<cause>`), never for its bearer."""
    return Unauthenticated("the token is not accepted", code=f"assertion-{cause}")


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Let a refusal reach the gateway as Denied: Unauthenticated, there, means that its own permit was not taken."""
    try:
        yield
    except Unauthenticated as error:
        raise Denied(error.public, code=error.code) from error
