"""Sign-in as one part of the issuer: made of the federation's parts, reached by permits of `system:sign-in` alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from partywall.control.database import Database
from partywall.control.federation.fetch import Fetcher
from partywall.control.federation.identity import IdentityProvider
from partywall.control.federation.part import Federation
from partywall.control.sign_in.clients import Clients
from partywall.control.sign_in.flow import SignIn
from partywall.control.sign_in.relying_party import RelyingParty
from partywall.control.sign_in.seal import Seal
from partywall.control.work import Reply
from partywall.decision.action import PLATFORM, ActionType
from partywall.decision.principal import Kind
from partywall.errors import Unauthenticated
from partywall.settings import Home, Settings
from partywall.wire.permit import SignedPermit
from partywall.wire.sign_in import CALLBACK_PATH, parse_step
from partywall.wire.strict_json import parse_json


class SignInPart:
    """Takes steps that gateways hand over."""

    def __init__(
        self, home: Home, settings: Settings, control: Database, federation: Federation, *, clock: Callable[[], float]
    ) -> None:
        self._region = settings.region

        def secret_of(provider: IdentityProvider) -> str | None:
            if provider.client_secret is None:
                return None
            return federation.secrets.open(provider.id, provider.client_secret)

        self._sign_in = SignIn(
            control,
            # Its own fetcher: anybody may name a client, and that must not hold up the providers.
            Clients(settings.sign_in.clients, Fetcher(settings.federation), clock=time.monotonic),
            RelyingParty(
                federation.fetcher,
                federation.keys,
                federation.verifier,
                secret_of=secret_of,
                callback_url=f"{settings.public_url}{CALLBACK_PATH}",
                clock=time.monotonic,
            ),
            Seal(home.issuer),
            public_url=settings.public_url,
            region=settings.region,
            access_token_s=settings.issuer.access_token_s,
            lasting_s=settings.sign_in.lasting_s,
            clock=clock,
        )

    async def take(self, permit: SignedPermit, payload: bytes) -> Reply:
        """Take the step that a verified permit is for. Raises: Unauthenticated for another permit; see `SignIn`."""
        resource = f"pw:{self._region}:{PLATFORM}:sign-in/*"
        named = (permit.principal_kind, permit.principal, permit.tenant, permit.action, permit.resource)
        if named != (Kind.SYSTEM, "system:sign-in", PLATFORM, ActionType.OPERATOR_TOKEN, resource):
            raise Unauthenticated("a permit for another operation", code="bad-permit")
        return await self._sign_in.perform(parse_step(parse_json(payload)))
