"""Identity providers as operators and tenant-admins keep them: registered, listed, removed; never changed in place.

A provider belongs to one tenant, or (an operator registers it) to one organisation, whose tenants may then bind to it.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import msgspec

from partywall.control.federation.fetch import UrlPolicy
from partywall.control.federation.identity import IdentityProvider, ProviderKind
from partywall.control.federation.keys import parse_key_set
from partywall.control.federation.seal import ClientSecrets
from partywall.control.federation.token import trust_domain_of
from partywall.control.revocation import revoke_issue
from partywall.control.work import Reply, Work, new_id, not_found, require_room
from partywall.errors import Malformed, NotFound
from partywall.wire.operations import IdpCreate, IdpDelete, IdpList, IdpShow

PROVIDERS_LIMIT: Final = 20
KEY_SET_LIMIT_BYTES: Final = 65_536
MAX_AGE_S: Final = {ProviderKind.OIDC: 300.0, ProviderKind.WORKLOAD: 3_600.0, ProviderKind.SPIFFE: 3_600.0}
"""How old a token may be. A kubelet turns projected tokens at 80% of their hour; an ID token is for this moment."""

COLUMNS: Final = """p.id, p.tenant, p.organisation, p.slug, p.kind, p.issuer, p.audiences, p.algorithms, p.max_age_s,
    p.single_use, p.jwks_uri, p.jwks, p.client_id, p.client_secret"""
_COUNT: Final = "select count(*) from control.identity_provider where coalesce(tenant, organisation) = $1"
_VISIBLE: Final = f"""
    select {COLUMNS}, o.slug as organisation_slug from control.identity_provider p
    left join control.organisation o on o.id = p.organisation
    where case when $1::text is null then p.organisation is not null
          else p.tenant = $1 or p.organisation = (select organisation from control.tenant where id = $1) end"""  # noqa: S608  # constants
_WAIT: Final = """
    select pg_advisory_xact_lock(hashtextextended(b.id, 0)) from control.identity_binding b
    join control.identity_provider p on p.id = b.provider
    where p.id = $1 and p.tenant is not distinct from $2"""
"""Queue behind those who are issuing by one of its bindings (`proofs.use_proof`)."""
_INSERT: Final = """
    insert into control.identity_provider
        (id, tenant, organisation, slug, kind, issuer, audiences, algorithms, max_age_s, single_use, jwks_uri, jwks,
         client_id, client_secret, created_at_s)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"""


def provider_of(row: asyncpg.Record) -> IdentityProvider:
    """Return the provider of a row with `COLUMNS`."""
    fields = {name: row[name] for name in IdentityProvider.__struct_fields__}
    fields["audiences"], fields["algorithms"] = tuple(row["audiences"]), tuple(row["algorithms"])
    return IdentityProvider(**fields | {"kind": ProviderKind(row["kind"])})


class Registration(msgspec.Struct, frozen=True):
    """What is ready before the transaction: the new provider's id, and its secret as it may lie in the database."""

    id: str
    secret: bytes | None


def prepare_registration(operation: IdpCreate, policy: UrlPolicy, secrets: ClientSecrets) -> Registration:
    """Return a registration whose shape is right. Raises: Malformed, saying which member is wrong."""
    check_shape(operation, policy)
    provider = new_id("idp")
    secret = operation.client_secret
    return Registration(provider, None if secret is None else secrets.seal(provider, secret))


async def create_provider(work: Work, operation: IdpCreate) -> Reply:
    """Return a new provider. Raises: Malformed, Conflict, NotFound, LimitExceeded."""
    registration: Registration = work.checked
    organisation = await _organisation(work, operation.organisation)
    await require_room(work, _COUNT, work.scope or organisation, PROVIDERS_LIMIT, "identity providers")
    kind = ProviderKind(operation.kind)
    await work.connection.execute(
        _INSERT,
        registration.id,
        work.scope,
        organisation,
        operation.slug,
        kind,
        operation.issuer,
        _audiences(work, operation),
        list(dict.fromkeys(operation.algorithms)),
        operation.max_age_s or MAX_AGE_S[kind],
        kind is ProviderKind.OIDC if operation.single_use is None else operation.single_use,
        operation.jwks_uri,
        None if operation.jwks is None else msgspec.json.encode(operation.jwks).decode(),
        operation.client_id,
        registration.secret,
        work.now_s,
    )
    return await show_provider(work, IdpShow(idp=registration.id))


async def list_providers(work: Work, _operation: IdpList) -> Reply:
    """Return what the caller's tenant trusts: its own and its organisation's; an operator: every organisation's."""
    rows = await work.connection.fetch(_VISIBLE + " order by p.slug, p.id", work.scope)
    return {"identity_providers": [_object(row) for row in rows]}


async def show_provider(work: Work, operation: IdpShow) -> Reply:
    """Return one. Raises: NotFound."""
    row = await work.connection.fetchrow(_VISIBLE + " and p.id = $2", work.scope, operation.idp)
    if row is None:
        raise not_found("identity provider")
    return _object(row)


async def require_provider(work: Work, provider: str) -> IdentityProvider:
    """Return a provider that the caller's tenant (or its organisation) trusts. Raises: NotFound."""
    row = await work.connection.fetchrow(_VISIBLE + " and p.id = $2", work.scope, provider)
    if row is None:
        raise not_found("identity provider")
    return provider_of(row)


async def delete_provider(work: Work, operation: IdpDelete) -> Reply:
    """Trust a provider no more: its bindings go, and every live token that came of it ends.

    A tenant-admin removes its tenant's, an operator an organisation's. Raises: NotFound.
    """
    await work.connection.execute(_WAIT, operation.idp, work.scope)
    deleted = await work.connection.fetchval(
        """delete from control.identity_provider where id = $1 and tenant is not distinct from $2 returning true""",
        operation.idp,
        work.scope,
    )
    if not deleted:
        raise not_found("identity provider")
    await revoke_issue(work, operation.idp)
    return {"deleted": operation.idp}


def check_shape(operation: IdpCreate, policy: UrlPolicy) -> None:
    """Raises: Malformed, saying which member is wrong."""
    if operation.kind == ProviderKind.SPIFFE:
        _check_spiffe(operation)
    else:
        if operation.issuer.lower().startswith("spiffe:") or operation.issuer.endswith("?"):
            raise Malformed("issuer is an https address, as `iss` says it", code="bad-provider")
        policy.check_url(operation.issuer)
    if operation.jwks is not None and operation.jwks_uri is not None:
        raise Malformed("give jwks (pinned) or jwks_uri (published), not both", code="bad-provider")
    if operation.jwks_uri is not None:
        policy.check_url(operation.jwks_uri)
    if operation.jwks is not None:
        if len(msgspec.json.encode(operation.jwks)) > KEY_SET_LIMIT_BYTES:
            raise Malformed(f"a pinned key set has at most {KEY_SET_LIMIT_BYTES} bytes", code="bad-key-set")
        parse_key_set(operation.jwks, ProviderKind(operation.kind))
    if operation.client_secret is not None and operation.client_id is None:
        raise Malformed("a client_secret needs its client_id", code="bad-provider")
    if not all(name.isprintable() for name in (*operation.audiences, operation.client_id or "")):
        raise Malformed("audiences and client_id are printable", code="bad-provider")


def _check_spiffe(operation: IdpCreate) -> None:
    if trust_domain_of(f"{operation.issuer}/x") != operation.issuer:
        raise Malformed("the issuer of SPIFFE ids is spiffe://<trust domain>", code="bad-provider")
    if operation.jwks is None and operation.jwks_uri is None:
        raise Malformed("a trust domain needs its bundle: jwks, or jwks_uri to fetch it from", code="bad-provider")


async def _organisation(work: Work, slug: str | None) -> str | None:
    """Return the organisation that an operator names; None for a tenant-admin, who names none."""
    if (slug is None) != (work.scope is not None):
        raise Malformed(
            "an operator names the organisation, a tenant-admin registers for its tenant", code="bad-provider"
        )
    if slug is None:
        return None
    found: str | None = await work.connection.fetchval("select id from control.organisation where slug = $1", slug)
    if found is None:
        raise NotFound("there is no such organisation")
    return found


def _audiences(work: Work, operation: IdpCreate) -> list[str]:
    """Return whom tokens must be for: as given and, of a sign-in client, the client; else this tenant by name."""
    given = [*operation.audiences, *([operation.client_id] if operation.client_id else [])]
    if not given and work.scope is None:
        raise Malformed("an organisation's provider needs audiences", code="bad-provider")
    return list(dict.fromkeys(given)) or [audience_of(work.region, work.tenant)]


def audience_of(region: str, tenant: str) -> str:
    """Return the audience that names a tenant: `pw:<region>:<tenant>`."""
    return f"pw:{region}:{tenant}"


def _object(row: asyncpg.Record) -> dict[str, Any]:
    """Return a provider as replies show it: all but its secret, of which only whether there is one."""
    shown = ("id", "slug", "kind", "issuer", "audiences", "algorithms", "max_age_s", "single_use", "jwks_uri")
    return {name: row[name] for name in shown} | {
        "organisation": row["organisation_slug"],
        "pinned": row["jwks"] is not None,
        "client_id": row["client_id"],
        "has_secret": row["client_secret"] is not None,
    }
