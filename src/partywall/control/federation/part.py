"""The federation as one part of the issuer: made once, asked before a transaction begins.

What is slow or asks the outside (keys, signatures, sealing) happens here; what must last happens in the operation's own
transaction, which finds the result in `Work.checked`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import asyncpg

from partywall.control.caller import Credential, require_caller
from partywall.control.database import Database
from partywall.control.federation.exchange import credential_of
from partywall.control.federation.fetch import Fetcher
from partywall.control.federation.identity import told
from partywall.control.federation.keys import ProviderKeys
from partywall.control.federation.proofs import Proofs, Prover
from partywall.control.federation.providers import prepare_registration
from partywall.control.federation.seal import ClientSecrets
from partywall.control.federation.verifier import Verifier
from partywall.settings import Home, Settings
from partywall.wire.control import Identified, Identify, Unidentified
from partywall.wire.operations import IdpCreate, Operation, TokenExchange
from partywall.wire.permit import SignedPermit


class Federation:
    """fetcher, keys, verifier, secrets: for sign-in too. Made before the issuer's sockets are."""

    def __init__(self, home: Home, settings: Settings, control: Database, *, clock: Callable[[], float]) -> None:
        self.fetcher = Fetcher(settings.federation)
        self.keys = ProviderKeys(self.fetcher, clock=time.monotonic)
        self.verifier = Verifier(self.keys, clock=clock)
        self.secrets = ClientSecrets(home.issuer)
        self.prover = Prover(control, self.verifier, region=settings.region, clock=clock)

    async def identify(self, request: Identify) -> Identified | Unidentified:
        """Answer a gateway that asks whom a token stands for. Raises: Unavailable."""
        return await self.prover.identify(request.token, request.tenant)

    async def check(self, operation: Operation, permit: SignedPermit) -> object:
        """Return what an operation of ours needs, None for others. Raises: Malformed, Denied, Unavailable."""
        if isinstance(operation, IdpCreate):
            return prepare_registration(operation, self.fetcher.policy, self.secrets)
        if isinstance(operation, TokenExchange):
            with told():
                return await self.prover.prove(operation, permit.tenant)
        return None

    def changed(self) -> None:
        """Take note that something was changed: what was proved before may be otherwise now."""
        self.prover.forget()

    async def close(self) -> None:
        """End what is under way."""
        await self.keys.close()


async def admit(
    connection: asyncpg.Connection, permit: SignedPermit, now_s: float, *, lock: bool, checked: object
) -> Credential:
    """Return what the caller came with: a credential of ours, looked up again, or a foreign token that was proved.

    Raises: Denied, Unauthenticated.
    """
    if not isinstance(checked, Proofs) or checked.caller is None:
        return await require_caller(connection, permit, now_s, lock=lock)
    return credential_of(
        checked.caller,
        tenant=permit.tenant,
        principal=permit.principal,
        kind=permit.principal_kind,
        credential=permit.credential,
    )
