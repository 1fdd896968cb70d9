"""Sign-in's steps on the road, for the browser's door and for the endpoints of tokens and revocation.

Each is taken as `system:sign-in`, since nobody is known yet: the step's own secrets are what the issuer judges.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Clock, Effect
from partywall.decision.principal import Kind, Principal
from partywall.errors import Bug
from partywall.gateway.rest import Allowance
from partywall.wire.sign_in import STEP_KINDS, Step, parameters_of

STEPS_BURST: Final = 100
STEPS_REFILL_S: Final = 0.1
"""Of one worker, each step apart: a flood of beginnings waits here, fills no log, and delays nobody who has begun."""


class Submits(Protocol):
    """The only road, as a door sees it."""

    async def submit(self, principal: Principal, call: Call) -> Effect: ...


class Steps:
    """Sign-in's steps on the road, for the browser's door and for the token endpoint."""

    def __init__(self, pipeline: Submits, *, region: str, clock: Clock) -> None:
        self._pipeline = pipeline
        self._region = region
        self._clock = clock
        self._allowances = {kind: Allowance(clock, burst=STEPS_BURST, refill_s=STEPS_REFILL_S) for kind in STEP_KINDS}

    async def take(self, step: Step, trace_id: str) -> dict[str, Any]:
        """Return the issuer's reply to a step. Raises: LimitExceeded when they are too many; the road's errors."""
        self._allowances[type(step)].take()
        call = Call(
            action=ActionType.OPERATOR_TOKEN,
            kind="sign-in",
            name="*",
            payload=msgspec.to_builtins(step),
            trace_id=trace_id,
            parameters=parameters_of(step),
        )
        effect = await self._pipeline.submit(self._nobody(), call)
        if not isinstance(effect.body, bytes):
            raise Bug("a sign-in is a stream")
        return msgspec.json.decode(effect.body, type=dict[str, Any])

    def _nobody(self) -> Principal:
        """Return who asks before it is known who: the step's own secrets are what the issuer judges."""
        return Principal(
            kind=Kind.SYSTEM,
            id="system:sign-in",
            region=self._region,
            tenant=None,
            credential="sign-in",
            expires_at_s=self._clock() + 60.0,
            scopes=frozenset({ActionType.OPERATOR_TOKEN}),
        )
