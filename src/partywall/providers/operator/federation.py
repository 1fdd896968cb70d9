"""Foreign tokens at the worker: the issuer is asked whom one stands for, and a refusal is put on record.

Asking is no action: it is how such a caller is authenticated, as a key is by the directory. The road comes after.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import TenantFacts
from partywall.decision.permit import Permit
from partywall.decision.ports import Call, Effect, Prepared, Road
from partywall.errors import BadReply, Bug, Denied
from partywall.ipc import Client
from partywall.wire.control import Identified, Identify, IssuerReply, Unidentified

KIND: Final = "federation"
LIMIT_S: Final = 15.0
_encode = msgspec.msgpack.Encoder().encode
_reply = msgspec.msgpack.Decoder(IssuerReply)


class IssuerIdentifier:
    """Asks the issuer. It verifies, because a worker parses hostile bytes and is not believed."""

    def __init__(self, issuer: Client) -> None:
        self._issuer = issuer

    async def identify(self, raw_token: str, tenant: str | None) -> Identified | Unidentified:
        """Return whom a foreign token stands for. Raises: Unavailable when its provider is out of reach; BadReply."""
        raw_reply = await self._issuer.call(_encode(Identify(raw_token, tenant)), timeout_s=LIMIT_S)
        try:
            reply: Any = _reply.decode(raw_reply)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadReply("the issuer answered something else") from error
        if not isinstance(reply, Identified | Unidentified):
            raise BadReply("the issuer answered something else")
        return reply


class RefusalProvider:
    """`operator.token` on `federation/*`: it refuses, for the reason that it is given, so that the road records it."""

    kind = KIND
    actions = frozenset({ActionType.OPERATOR_TOKEN})

    def __init__(self, *, region: str) -> None:
        self._region = region

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Raises: Denied, always, about the federation of this cell."""
        refusal = Denied("the token is not accepted", code=str(call.payload["reason"]))
        refusal.about = Resource(region=self._region, tenant=facts.id, kind=self.kind, id="*")
        raise refusal

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Raises: Bug: there is nothing to perform."""
        raise Bug("a refusal was performed")
