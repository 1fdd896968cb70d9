"""A permit: one allowed action, bound to the exact bytes that the provider will send.

Inside a process a permit is redeemed by identity, once. Permits that leave the process are signed
(`wire/permit.py`). Only `gateway/pipeline.py` mints. Source: ADR-0003.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec

from partywall.decision.action import Action, ActionType
from partywall.decision.principal import Principal
from partywall.decision.verdict import Obligation
from partywall.errors import Bug
from partywall.wire.ids import ActId, PermitId, TenantId


class PermitClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What a permit says. payload_sha256: 32 bytes over the canonical payload. Times: Unix seconds."""

    id: PermitId
    act: ActId
    tenant: TenantId
    principal: Principal
    action: Action
    payload_sha256: bytes
    policy_revision: str
    trace_id: str
    issued_at_s: float
    expires_at_s: float
    obligations: tuple[Obligation, ...] = ()
    depth: int = 0
    parent: ActId | None = None


class Permit:
    """Claims and the one chance to use them, made by `decision.mint` only. note: from the provider's `prepare`."""

    __slots__ = ("_spent", "claims", "note")

    def __init__(self, claims: PermitClaims, note: Any = None) -> None:
        self.claims = claims
        self.note = note
        self._spent = False

    def redeem(self, action_type: ActionType, payload: bytes, now_s: float) -> PermitClaims:
        """Return the claims, once, for this action and exactly these bytes.

        Raises: Bug when it is spent, expired, of another action, or of other bytes.
        """
        claims = self.claims
        if self._spent:
            raise Bug("a permit was used twice", private=claims.id)
        self._spent = True
        if claims.action.type is not action_type:
            raise Bug("a permit of another action", private=claims.id)
        if now_s > claims.expires_at_s:
            raise Bug("an expired permit", private=claims.id)
        if not hmac.compare_digest(hashlib.sha256(payload).digest(), claims.payload_sha256):
            raise Bug("a permit of another payload", private=claims.id)
        return claims
