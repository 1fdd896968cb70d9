"""The mint. Only `gateway/pipeline.py` imports this module (import-linter holds it)."""

from __future__ import annotations

import hashlib
from typing import Any

from partywall.decision.envelope import Envelope
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.verdict import Allow
from partywall.wire.ids import PermitId


def mint(
    envelope: Envelope,
    verdict: Allow,
    payload: bytes,
    *,
    permit_id: PermitId,
    now_s: float,
    note: Any = None,
) -> Permit:
    """Return the permit for an allowed envelope and these canonical bytes; it ends at the deadline."""
    return Permit(
        PermitClaims(
            id=permit_id,
            act=envelope.act,
            tenant=envelope.tenant,
            principal=envelope.principal,
            action=envelope.action,
            payload_sha256=hashlib.sha256(payload).digest(),
            policy_revision=verdict.policy_revision,
            trace_id=envelope.trace_id,
            issued_at_s=now_s,
            expires_at_s=envelope.deadline_s,
            obligations=verdict.obligations,
            depth=envelope.depth,
            parent=envelope.parent,
        ),
        note,
    )
