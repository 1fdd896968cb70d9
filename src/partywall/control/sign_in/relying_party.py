"""The relying party: what is asked of a tenant's own identity provider, and how its answer becomes an identity.

Requests are prepared by authlib and sent by the checked fetcher; the ID token is verified as every foreign token is.
The provider's access token is looked at for `at_hash`, and dropped.
Source: OpenID Connect Core 3.1, RFC 7636, RFC 9207, RFC 9700.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from authlib.common.urls import url_decode
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core.util import create_half_hash

from partywall.control.federation.fetch import Fetcher
from partywall.control.federation.identity import ExternalIdentity, IdentityProvider, refused
from partywall.control.federation.keys import ProviderKeys, ProviderMetadata
from partywall.control.federation.token import audiences_of, read_token
from partywall.control.federation.verifier import Verifier
from partywall.decision.ports import Clock
from partywall.errors import Unavailable

SCOPE: Final = "openid profile email"
METADATA_LIFE_S: Final = 300.0
METADATA_LIMIT: Final = 1_024

SecretOf = Callable[[IdentityProvider], str | None]
"""Returns the client secret of a provider, opened; None for a public client."""


class RelyingParty:
    """callback_url: ours, of providers whose answers name them; each other one's is below. clock: Unix seconds."""

    def __init__(
        self,
        fetcher: Fetcher,
        keys: ProviderKeys,
        verifier: Verifier,
        *,
        secret_of: SecretOf,
        callback_url: str,
        clock: Clock,
    ) -> None:
        self._fetcher = fetcher
        self._keys = keys
        self._verifier = verifier
        self._secret_of = secret_of
        self._callback_url = callback_url
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, ProviderMetadata]] = OrderedDict()

    async def location(self, provider: IdentityProvider, *, state: str, nonce: str, verifier: str) -> str:
        """Return where the person signs in. Raises: Unavailable."""
        metadata = await self._metadata(provider)
        if metadata.authorization_endpoint is None:
            raise _unusable("no authorization endpoint")
        self._fetcher.policy.check_url(metadata.authorization_endpoint)
        return str(
            prepare_grant_uri(
                metadata.authorization_endpoint,
                provider.client_id,
                "code",
                redirect_uri=self._redirect_uri(provider, metadata),
                scope=SCOPE,
                state=state,
                nonce=nonce,
                code_challenge=create_s256_code_challenge(verifier),
                code_challenge_method="S256",
            )
        )

    async def identify(
        self, provider: IdentityProvider, *, code: str, verifier: str, nonce: str, iss: str | None, at: str | None
    ) -> ExternalIdentity:
        """Return who signed in. iss: as the answer names its sender. at: whose own callback address it came to, if any.

        Raises: Unauthenticated (`assertion-…`) for whatever the provider or its token does not vouch for; Unavailable.
        """
        metadata = await self._metadata(provider)
        names_itself = metadata.authorization_response_iss_parameter_supported
        wrong_name = (iss is not None or names_itself) and iss != provider.issuer
        wrong_place = at != (None if names_itself else provider.id)
        if wrong_name or wrong_place:  # an answer of another provider, mixed up with ours (RFC 9207, RFC 9700 4.4)
            raise refused("sender")
        token = await self._exchange(provider, metadata, code=code, verifier=verifier)
        raw_id_token = token.get("id_token")
        if not isinstance(raw_id_token, str):
            raise refused("missing")
        identity = await self._verifier.verify(provider, raw_id_token, nonce=nonce)
        if provider.client_id not in audiences_of(identity.claims):
            raise refused("audience")  # good for a token exchange perhaps, but no sign-in of this client
        _check_access_token_hash(raw_id_token, identity, token.get("access_token"))
        return identity

    async def _exchange(
        self, provider: IdentityProvider, metadata: ProviderMetadata, *, code: str, verifier: str
    ) -> dict[str, Any]:
        if metadata.token_endpoint is None:
            raise _unusable("no token endpoint")
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=self._redirect_uri(provider, metadata),
            code=code,
            code_verifier=verifier,
        )
        headers: dict[str, str] = {}
        secret = self._secret_of(provider)
        client = ClientAuth(provider.client_id, secret, _method(metadata, secret))
        _uri, headers, body = client.prepare("POST", metadata.token_endpoint, headers, body)
        status, reply = await self._fetcher.post_form(metadata.token_endpoint, dict(url_decode(body)), headers)
        if status >= 500:
            raise _unusable(f"status {status}")
        if status != 200 or not isinstance(reply, dict):
            raise refused("code")
        return reply

    def _redirect_uri(self, provider: IdentityProvider, metadata: ProviderMetadata) -> str:
        """Return where a provider sends people back to: its own address, unless its answers say whose they are."""
        if metadata.authorization_response_iss_parameter_supported:
            return self._callback_url
        return f"{self._callback_url}/{provider.id}"

    async def _metadata(self, provider: IdentityProvider) -> ProviderMetadata:
        found = self._known.get(provider.id)
        if found is not None and self._clock() < found[0]:
            return found[1]
        metadata = await self._keys.metadata(provider)
        self._known[provider.id] = (self._clock() + METADATA_LIFE_S, metadata)
        self._known.move_to_end(provider.id)
        if len(self._known) > METADATA_LIMIT:
            self._known.popitem(last=False)
        return metadata


def _method(metadata: ProviderMetadata, secret: str | None) -> str:
    if secret is None:
        return "none"
    takes = metadata.token_endpoint_auth_methods_supported
    return "client_secret_post" if "client_secret_basic" not in takes else "client_secret_basic"


def _check_access_token_hash(raw_id_token: str, identity: ExternalIdentity, access_token: Any) -> None:
    """Raises: Unauthenticated when the ID token names another access token than the one it came with."""
    claimed = identity.claims.get("at_hash")
    if claimed is None:
        return
    made = create_half_hash(str(access_token), read_token(raw_id_token).algorithm)
    if not isinstance(claimed, str) or made is None or not hmac.compare_digest(made, claimed.encode()):
        raise refused("access-token-hash")


def _unusable(cause: str) -> Unavailable:
    return Unavailable(
        "the identity provider is out of reach", code="provider-unreachable", private=cause, retry_after_s=5.0
    )
