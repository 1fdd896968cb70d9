"""Which identity provider a tenant's people sign in at: the tenant's own, or its organisation's.

A tenant that there is not, one of another region and one without sign-in give the same answer.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from partywall.control.federation.identity import IdentityProvider
from partywall.control.federation.providers import COLUMNS, provider_of
from partywall.control.work import not_found
from partywall.errors import NotFound

_OF_TENANT: Final = f"""
    select {COLUMNS}, t.id as of_tenant from control.tenant t
    join control.identity_provider p on p.tenant = t.id or p.organisation = t.organisation
    where $1 in (t.id, t.slug) and t.region = $2 and t.state <> 'deleted'
        and p.kind = 'oidc' and p.client_id is not null
    order by p.tenant is null, p.created_at_s, p.id limit 1"""  # noqa: S608  # names of columns
_BY_ID: Final = f"select {COLUMNS} from control.identity_provider p where p.id = $1"  # noqa: S608  # names of columns


async def find_provider(connection: asyncpg.Connection, name: str, *, region: str) -> tuple[str, IdentityProvider]:
    """Return (tenant id, provider) of a tenant by slug or id: its own before its organisation's, the oldest first.

    Raises: NotFound.
    """
    row = await connection.fetchrow(_OF_TENANT, name, region)
    if row is None:
        raise NotFound("nobody signs in to a tenant of that name here", code="unknown-tenant")
    return str(row["of_tenant"]), provider_of(row)


async def require_provider(connection: asyncpg.Connection, provider: str) -> IdentityProvider:
    """Return a provider by id. Raises: NotFound when it was removed meanwhile."""
    row = await connection.fetchrow(_BY_ID, provider)
    if row is None:
        raise not_found("identity provider")
    return provider_of(row)
