"""Labels that travel with data: whose it is, how sensitive, how far it can be trusted.

Invariant: `join` never lowers classification and never raises trust.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from partywall.wire.ids import TenantId


class Classification(IntEnum):
    """Sensitivity, ordered."""

    PUBLIC = 0
    INTERNAL = 1
    CONFIDENTIAL = 2
    RESTRICTED = 3


class Trust(IntEnum):
    """How far content may steer an agent, ordered; UNTRUSTED is anything a third party could have written."""

    UNTRUSTED = 0
    TRUSTED = 1


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The label of one value of one tenant."""

    tenant: TenantId
    classification: Classification = Classification.INTERNAL
    trust: Trust = Trust.UNTRUSTED

    def join(self, other: Label) -> Label:
        """Return the label of data derived from both. Raises: ValueError across tenants."""
        if self.tenant != other.tenant:
            raise ValueError("labels of two tenants never join")
        return Label(
            tenant=self.tenant,
            classification=max(self.classification, other.classification),
            trust=min(self.trust, other.trust),
        )
