"""Codes and refresh tokens at the token endpoint: redeemed on the platform's road, answered on the tenant's.

Each says which user of which tenant; that user then asks for a token of their own, so the tenant's policy may deny
it and the tenant's log has it. Source: RFC 6749 4.1.3, 5.2, 6; docs/adr/0012-sign-in.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Clock
from partywall.decision.principal import Kind, Principal
from partywall.errors import Bug, Malformed
from partywall.gateway.http import Request
from partywall.gateway.sign_in_steps import Steps, Submits
from partywall.providers.operator import table
from partywall.wire.ids import TenantId
from partywall.wire.operations import TokenCreate
from partywall.wire.sign_in import parse_step

AUTHORIZATION_CODE: Final = "authorization_code"
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105  # a grant's name
_STEPS: Final = {
    AUTHORIZATION_CODE: ("redeem", ("client_id", "code", "code_verifier", "redirect_uri", "resource")),
    REFRESH_TOKEN: ("refresh", ("client_id", "refresh_token", "scope", "resource")),
}
"""Grant type -> the step, and what of the form belongs to it."""


class SignInGrant:
    """Gives access tokens for codes, or for refresh tokens. grant: the one of the two that it answers."""

    def __init__(self, grant: str, steps: Steps, pipeline: Submits, *, region: str, clock: Clock) -> None:
        self._grant = grant
        self._steps = steps
        self._pipeline = pipeline
        self._region = region
        self._clock = clock

    async def __call__(self, request: Request, form: Mapping[str, str]) -> bytes:
        """Return the token response.

        Raises: Malformed, its code an error of RFC 6749 5.2 in kebab-case (`invalid-grant`); the road's errors.
        """
        step, fields = _STEPS[self._grant]
        given = {name: form[name] for name in fields if name in form}
        reply = await self._steps.take(parse_step({"step": step, **given}), request.trace_id)
        if "error" in reply:
            raise Malformed(
                "it is not good here, or not any more: sign in again", code=str(reply["error"]).replace("_", "-")
            )
        principal = self._principal(reply)
        request.of(principal.tenant)
        operation = TokenCreate(subject=principal.id)
        call = Call(
            action=ActionType.OPERATOR_TOKEN,
            kind=table.RULES[TokenCreate].kind,
            name=table.target_of(operation),
            payload=msgspec.to_builtins(operation),
            trace_id=request.trace_id,
            parameters=table.parameters_of(operation) | {"grant": self._grant},
        )
        effect = await self._pipeline.submit(principal, call)
        if not isinstance(effect.body, bytes):
            raise Bug("a token is a stream")
        token = msgspec.json.decode(effect.body, type=dict[str, Any])
        issued = {name: token[name] for name in ("access_token", "token_type", "expires_in")}
        if reply["scopes"] is not None:
            issued["scope"] = " ".join(reply["scopes"])
        if "refresh_token" in reply:
            issued["refresh_token"] = reply["refresh_token"]
        return msgspec.json.encode(issued)

    def _principal(self, reply: Mapping[str, Any]) -> Principal:
        """Return the user whom the code was given to: good for one thing, a token of their own."""
        return Principal(
            kind=Kind(reply["kind"]),
            id=reply["subject"],
            region=self._region,
            tenant=TenantId(reply["tenant"]),
            credential=reply["credential"],
            expires_at_s=min(reply["expires_at_s"], self._clock() + 60.0),
            scopes=frozenset({ActionType.OPERATOR_TOKEN}),
            resource=reply["resource"],
        )
