"""Principals of five kinds, and delegation that only narrows."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.labels import Classification
from partywall.wire.ids import AgentId, SessionId, TenantId, UserId


class Kind(StrEnum):
    """Who can stand before the wall."""

    PLATFORM_OPERATOR = "platform-operator"
    TENANT_ADMIN = "tenant-admin"
    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A verified principal, as `authenticate` resolved it from a credential.

    id: `usr_…`, `agt_…` or `system:<name>`. tenant: None only for operators and the system.
    scopes: action types that the credential carries; None means all that the principal is granted.
    on_behalf_of: the user for whom an agent acts. credential: the key id or token id, for revocation.
    expires_at_s: Unix seconds. region: the deployment's. resource: the one thing that the token is for (an MCP server's
    URL); None: all of the deployment.
    """

    kind: Kind
    id: str
    region: str
    tenant: TenantId | None
    credential: str
    expires_at_s: float
    scopes: frozenset[ActionType] | None = None
    clearance: Classification = Classification.RESTRICTED
    session: SessionId | None = None
    on_behalf_of: UserId | None = None
    resource: str | None = None

    def delegate(
        self,
        agent: AgentId,
        *,
        scopes: frozenset[ActionType] | None,
        clearance: Classification,
        credential: str,
        expires_at_s: float,
        session: SessionId | None = None,
    ) -> Principal:
        """Return the principal of an agent that acts for this user.

        Invariant: scopes, clearance and life time are at most this principal's; the tenant is the same.
        Raises: ValueError unless self is a user of a tenant.
        """
        if self.kind not in {Kind.USER, Kind.TENANT_ADMIN} or self.tenant is None:
            raise ValueError("only a tenant's user delegates to an agent")
        return Principal(
            kind=Kind.AGENT,
            id=agent,
            region=self.region,
            tenant=self.tenant,
            credential=credential,
            expires_at_s=min(self.expires_at_s, expires_at_s),
            scopes=narrow(self.scopes, scopes),
            clearance=min(self.clearance, clearance),
            session=session,
            on_behalf_of=UserId(self.id),
            resource=self.resource,
        )


def narrow(outer: frozenset[ActionType] | None, inner: frozenset[ActionType] | None) -> frozenset[ActionType] | None:
    """Return the scopes that both carry; None stands for all."""
    if outer is None:
        return inner
    return outer if inner is None else outer & inner
