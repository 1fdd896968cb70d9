"""One operation at work: its transaction, its caller, and what every noun needs of both."""

from __future__ import annotations

import secrets
from typing import Any, Final

import asyncpg
import msgspec

from partywall.control.caller import Credential
from partywall.control.database import Database
from partywall.control.keyring import Keyring
from partywall.decision.action import PLATFORM
from partywall.decision.principal import Kind
from partywall.errors import LimitExceeded, NotFound
from partywall.settings import IssuerSettings
from partywall.wire.ids import ID_BYTES, TenantId, format_id

SUBJECTS_LIMIT: Final = 1_000
RESOURCES_LIMIT: Final = 1_000
"""A tenant's subjects, and its models and servers together (`decision/facts.py`)."""

Reply = dict[str, Any]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """revision: of this change, 0 in operations that change nothing that workers read. now_s: Unix seconds.

    data: the data database, for leaves alone.
    tenant: the caller's own (`platform` for operators), from the permit and from nowhere else.
    credential: what the caller came with; None for the bootstrap token. checked: what `prevalidate` found.
    trust_domain: of our own SPIFFE ids, and the audience of transaction tokens.
    """

    connection: asyncpg.Connection
    data: Database
    revision: int
    now_s: float
    region: str
    settings: IssuerSettings
    keyring: Keyring
    tenant: TenantId
    kind: Kind
    principal: str
    credential: Credential | None
    checked: Any = None
    trust_domain: str = ""

    @property
    def scope(self) -> str | None:
        """The caller's tenant as the tables have it: None for the platform."""
        return None if self.tenant == PLATFORM else self.tenant

    async def touch(self, tenant: str | None) -> None:
        """Let every worker load this tenant anew."""
        if tenant is not None:
            await self.connection.execute(
                "update control.tenant set revision = $1 where id = $2", self.revision, tenant
            )


async def require_room(work: Work, query: str, tenant: str | None, limit: int, what: str) -> None:
    """Raises: LimitExceeded when the tenant has limit of them already. query: counts, by tenant ($1)."""
    if await work.connection.fetchval(query, tenant) >= limit:
        raise LimitExceeded(f"at most {limit} {what}")


def new_id(prefix: str) -> str:
    """Return a fresh random id."""
    return format_id(prefix, secrets.token_bytes(ID_BYTES))


def not_found(noun: str) -> NotFound:
    """The answer for what does not exist and for what is another tenant's: the same bytes."""
    return NotFound(f"there is no such {noun}")
