"""Verifies tokens of trusted external issuers: the one place where a foreign token becomes an identity.

Sign-in uses it for ID tokens, the token exchange for workloads' tokens. Which subject of which tenant an identity
stands for is asked elsewhere (`bindings.py`), and whether it was used before (`assertions.py`).
"""

from __future__ import annotations

from partywall.control.federation.identity import ExternalIdentity, IdentityProvider
from partywall.control.federation.keys import ProviderKeys
from partywall.control.federation.token import ReadToken, assertion_id, check_claims, read_token, verify_signature
from partywall.decision.ports import Clock


class Verifier:
    """keys: the providers' key sets, fetched and remembered."""

    def __init__(self, keys: ProviderKeys, *, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def verify(self, provider: IdentityProvider, raw_token: str, *, nonce: str | None = None) -> ExternalIdentity:
        """Return who a token of this provider is about. nonce: what an ID token must carry (sign-in).

        Call it outside any transaction: it may fetch keys. Whether the token was used before is not asked here.
        Raises: Unauthenticated (`assertion-…`); Unavailable when the provider's keys are out of reach.
        """
        return await self.verify_read(provider, read_token(raw_token), nonce=nonce)

    async def verify_read(
        self, provider: IdentityProvider, token: ReadToken, *, nonce: str | None = None
    ) -> ExternalIdentity:
        """As `verify`, for a token that was read already."""
        # Asked first, though nothing is believed yet: a token that is not for us must not make us fetch keys.
        subject, expires_at_s = check_claims(token, provider, now_s=self._clock(), nonce=nonce)
        key = await self._keys.find(provider, token.kid, token.algorithm)
        verify_signature(token, key)
        return ExternalIdentity(
            provider=provider,
            subject=subject,
            claims=token.claims,
            expires_at_s=expires_at_s,
            assertion=assertion_id(token, provider),
        )
