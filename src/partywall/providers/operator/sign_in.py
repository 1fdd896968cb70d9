"""Sign-in: each step handed to the issuer under a signed permit. The gateway sees codes and cookies, and keeps none.

Until a tenant's user is known it is `system:sign-in` that asks, so each step is in the platform's log before the issuer
hears of it; the token itself is asked for by the user, on their tenant's road.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from partywall.decision.action import PLATFORM, ActionType, Resource
from partywall.decision.facts import TenantFacts
from partywall.decision.manifest import canonical_json
from partywall.decision.permit import Permit
from partywall.decision.ports import Call, Clock, Effect, Prepared, Road
from partywall.errors import NotFound, Unauthenticated, Unavailable
from partywall.ipc import Client
from partywall.providers.operator.provider import CALL_LIMIT_S, performed
from partywall.signing import PermitSigner
from partywall.wire.control import SignInStep
from partywall.wire.sign_in import parse_step

KIND: Final = "sign-in"
_encode = msgspec.msgpack.Encoder().encode


class SignInProvider:
    """`operator.token` on `sign-in/*` of the platform. Replies as `wire/sign_in.py` says."""

    kind = KIND
    actions = frozenset({ActionType.OPERATOR_TOKEN})

    def __init__(
        self,
        issuer: Client,
        signer: PermitSigner,
        *,
        audience: Callable[[], str],
        clock: Clock,
        region: str,
        refused: Callable[[], None],
    ) -> None:
        self._issuer = issuer
        self._signer = signer
        self._audience = audience
        self._clock = clock
        self._region = region
        self._refused = refused

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the platform's resource and the step's bytes. Raises: Malformed; NotFound inside a tenant."""
        if facts.id != PLATFORM:
            raise NotFound("there is no such thing here")
        resource = Resource(region=self._region, tenant=PLATFORM, kind=self.kind, id="*")
        return Prepared(resource=resource, payload=canonical_json(parse_step(call.payload)))

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Have the issuer take the step. Raises: Malformed, NotFound, LimitExceeded, Unavailable, BadReply."""
        now_s = self._clock()
        claims = permit.redeem(ActionType.OPERATOR_TOKEN, payload, now_s)
        signed = self._signer.sign(claims, self._audience(), now_s)
        deadline_s = max(0.05, min(claims.expires_at_s - now_s, CALL_LIMIT_S))
        try:
            raw_reply = await self._issuer.call(_encode(SignInStep(signed, payload)), timeout_s=deadline_s)
        except Unauthenticated as error:
            self._refused()
            raise Unavailable("the issuer is out of reach", private=error.code, retry_after_s=1.0) from error
        body = performed(raw_reply)
        reply: dict[str, Any] = msgspec.json.decode(body)
        return Effect(body=body, error=reply.get("error"))
