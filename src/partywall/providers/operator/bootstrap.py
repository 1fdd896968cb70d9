"""The first operator's key: the one-time bootstrap token, handed to the issuer, which alone can tell it is right.

It takes the road like everything else, as `system:bootstrap`, so an attempt is in the platform's log before the
issuer hears of it. The token is in the payload only: never in a record, a log or an error.
"""

from __future__ import annotations

import msgspec

from partywall.decision.action import PLATFORM, ActionType, Resource
from partywall.decision.facts import TenantFacts
from partywall.decision.manifest import canonical_json
from partywall.decision.permit import Permit
from partywall.decision.ports import Call, Clock, Effect, Prepared, Road
from partywall.errors import Malformed
from partywall.ipc import Client
from partywall.providers.operator.provider import CALL_LIMIT_S, Settled, performed, settle
from partywall.wire.control import Bootstrap

_encode = msgspec.msgpack.Encoder().encode


class BootstrapProvider:
    """`operator.key` on `bootstrap/*` of the platform. Reply: {"key": key object with its `secret`, once}."""

    kind = "bootstrap"
    actions = frozenset({ActionType.OPERATOR_KEY})

    def __init__(self, issuer: Client, *, clock: Clock, region: str, settled: Settled) -> None:
        self._issuer = issuer
        self._clock = clock
        self._region = region
        self._settled = settled

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the platform's resource and the token's bytes. Raises: Malformed."""
        if not (isinstance(call.payload, dict) and isinstance(call.payload.get("token"), str)):
            raise Malformed("not a bootstrap token")
        resource = Resource(region=self._region, tenant=PLATFORM, kind=self.kind, id="*")
        return Prepared(resource=resource, payload=canonical_json({"token": call.payload["token"]}))

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Exchange the token. Raises: Unauthenticated when it is not one; Unavailable; BadReply."""
        now_s = self._clock()
        claims = permit.redeem(ActionType.OPERATOR_KEY, payload, now_s)
        token = msgspec.json.decode(payload)["token"]
        deadline_s = max(0.05, min(claims.expires_at_s - now_s, CALL_LIMIT_S))
        body = performed(await self._issuer.call(_encode(Bootstrap(token)), timeout_s=deadline_s))
        await settle(self._settled)
        return Effect(body=body)
