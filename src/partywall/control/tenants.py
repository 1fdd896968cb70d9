"""Tenants and their first admins: what a platform operator makes. Their content is none of its business."""

from __future__ import annotations

from partywall.control.credentials import issue_key
from partywall.control.paging import paged, position_of
from partywall.control.subjects import insert_subject, subject_object
from partywall.control.work import Reply, Work, new_id, not_found
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.wire.operations import (
    AdminCreate,
    OrganisationCreate,
    OrganisationList,
    OrganisationShow,
    TenantCreate,
    TenantList,
    TenantShow,
    TenantState,
)

_TENANTS = """
    select t.id, t.slug, o.slug as organisation, t.region, t.state, t.tier
    from control.tenant t join control.organisation o on o.id = t.organisation
    where t.region = $1 and t.state <> 'deleted'"""


async def create_tenant(work: Work, operation: TenantCreate) -> Reply:
    """Return the new tenant. Raises: Conflict."""
    connection = work.connection
    await connection.execute(
        "insert into control.organisation (id, slug, created_at_s) values ($1, $2, $3) on conflict (slug) do nothing",
        new_id("org"),
        operation.organisation,
        work.now_s,
    )
    tenant = new_id("ten")
    await connection.execute(
        """insert into control.tenant (id, organisation, slug, region, created_at_s, revision)
           select $1, o.id, $2, $3, $4, $5 from control.organisation o where o.slug = $6""",
        tenant,
        operation.slug,
        work.region,
        work.now_s,
        work.revision,
        operation.organisation,
    )
    return await tenant_object(work, tenant)


async def list_tenants(work: Work, operation: TenantList) -> Reply:
    """Return a page of the tenants of this region, by slug; of one organisation, when it is named. Raises: NotFound."""
    if operation.organisation is not None:
        await organisation_object(work, operation.organisation)
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        _TENANTS
        + """ and ($2::text is null or o.id = $2) and ($3::text is null or t.slug > $3)
              order by t.slug limit $4""",
        work.region,
        operation.organisation,
        after and after[0],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["slug"],))
    return {"tenants": [dict(row) for row in page], "next_cursor": following}


async def show_tenant(work: Work, operation: TenantShow) -> Reply:
    """Return a tenant. Raises: NotFound."""
    return await tenant_object(work, operation.tenant)


async def create_organisation(work: Work, operation: OrganisationCreate) -> Reply:
    """Return the new organisation. Raises: Conflict."""
    organisation = new_id("org")
    await work.connection.execute(
        "insert into control.organisation (id, slug, created_at_s) values ($1, $2, $3)",
        organisation,
        operation.slug,
        work.now_s,
    )
    return await organisation_object(work, organisation)


async def list_organisations(work: Work, operation: OrganisationList) -> Reply:
    """Return a page of the organisations, by slug."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        "select id, slug from control.organisation where ($1::text is null or slug > $1) order by slug limit $2",
        after and after[0],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["slug"],))
    return {"organisations": [dict(row) for row in page], "next_cursor": following}


async def show_organisation(work: Work, operation: OrganisationShow) -> Reply:
    """Return an organisation. Raises: NotFound."""
    return await organisation_object(work, operation.organisation)


async def organisation_object(work: Work, organisation: str) -> Reply:
    """Return an organisation as replies show it. Raises: NotFound."""
    row = await work.connection.fetchrow("select id, slug from control.organisation where id = $1", organisation)
    if row is None:
        raise not_found("organisation")
    return dict(row)


async def set_tenant_state(work: Work, operation: TenantState) -> Reply:
    """Suspend or resume. Raises: NotFound."""
    await require_tenant(work, operation.tenant)
    await work.connection.execute(
        "update control.tenant set state = $2, revision = $3 where id = $1",
        operation.tenant,
        operation.state,
        work.revision,
    )
    return await tenant_object(work, operation.tenant)


async def create_admin(work: Work, operation: AdminCreate) -> Reply:
    """Return a new tenant-admin and its first key. Raises: NotFound, Conflict, LimitExceeded."""
    await require_tenant(work, operation.tenant)
    admin = await insert_subject(work, operation.tenant, operation.slug, Kind.TENANT_ADMIN, Classification.RESTRICTED)
    key = await issue_key(work, tenant=operation.tenant, subject=admin)
    await work.touch(operation.tenant)
    return {"admin": await subject_object(work, operation.tenant, admin), "key": key}


async def require_tenant(work: Work, tenant: str) -> None:
    """Raises: NotFound unless it is a tenant of this region."""
    known = await work.connection.fetchval(
        "select true from control.tenant where id = $1 and region = $2 and state <> 'deleted'", tenant, work.region
    )
    if not known:
        raise not_found("tenant")


async def tenant_object(work: Work, tenant: str) -> Reply:
    """Return a tenant as replies show it. Raises: NotFound."""
    row = await work.connection.fetchrow(_TENANTS + " and t.id = $2", work.region, tenant)
    if row is None:
        raise not_found("tenant")
    return dict(row)
