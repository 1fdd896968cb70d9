"""Bindings: which subject of a foreign issuer is which subject of a tenant. Without one, nobody is.

A condition is an equality, of the whole `sub` or of a claim, or a prefix that ends where a path segment ends; never a
pattern. When two bindings answer with two subjects, nobody is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import asyncpg
import msgspec

from partywall.control.credentials import checked_scopes
from partywall.control.federation.identity import ExternalIdentity, IdentityProvider, ProviderKind, refused
from partywall.control.federation.providers import COLUMNS, provider_of, require_provider
from partywall.control.narrowing import narrow_scopes
from partywall.control.revocation import revoke_issue
from partywall.control.subjects import lock_active_subject
from partywall.control.work import Reply, Work, new_id, not_found, require_room
from partywall.decision.principal import Kind
from partywall.errors import Malformed
from partywall.wire.operations import BindingCreate, BindingDelete, BindingList

BINDINGS_LIMIT: Final = 1_000
OPEN_LIMIT: Final = 100
"""Of one provider in one tenant, those without an exact `sub`: each is looked at for each token."""

_COUNT: Final = "select count(*) from control.identity_binding where tenant = $1"
_OPEN_COUNT: Final = """
    select count(*) from control.identity_binding where tenant = $1 and provider = $2 and match_subject is null"""
_INSERT: Final = """
    insert into control.identity_binding
        (id, provider, tenant, subject, match_subject, match_prefix, match_claims, scopes, created_at_s)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""
_WAIT: Final = "select pg_advisory_xact_lock(hashtextextended(id, 0)) from control.identity_binding where "
"""Queue behind those who are issuing by a binding, and before those who come later (`proofs.use_proof`)."""
_CANDIDATES: Final = f"""
    select {COLUMNS}, b.id as binding, b.subject as bound, b.match_subject, b.match_prefix, b.match_claims,
           b.scopes, s.kind as bound_kind
    from control.tenant t
    join control.identity_provider p on (p.tenant = t.id or p.organisation = t.organisation) and p.issuer = $2
    left join control.identity_binding b
        on b.provider = p.id and b.tenant = t.id and (b.match_subject = $3 or b.match_subject is null)
    left join control.subject s on s.id = b.subject and s.tenant = t.id and s.state = 'active'
    where t.id = $1 and t.region = $4 and t.state = 'active'"""  # noqa: S608  # constants


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate: what must hold, and who it then is. kind: None when that subject is not active."""

    id: str
    subject: str
    kind: str | None
    match_subject: str | None
    match_prefix: str | None
    match_claims: Mapping[str, str]
    scopes: list[str] | None


class Candidates(msgspec.Struct, frozen=True):
    """The one provider that a token may be of, and the bindings that may hold for it."""

    provider: IdentityProvider
    bindings: tuple[Binding, ...]


class Fetches(Protocol):
    """A connection, or a database that fetches over one of its own."""

    async def fetch(self, query: str, *arguments: Any) -> Any: ...


async def find_candidates(connection: Fetches, *, tenant: str, issuer: str, subject: str, region: str) -> Candidates:
    """Return what an active tenant knows of an issuer and one of its subjects. Nothing of the token is believed here.

    Raises: Unauthenticated when the tenant trusts no such issuer, or two.
    """
    rows = await connection.fetch(_CANDIDATES, tenant, issuer, subject, region)
    providers = {row["id"]: row for row in rows}
    if len(providers) != 1:
        raise refused("issuer" if not providers else "ambiguous")
    bindings = tuple(_binding(row) for row in rows if row["binding"] is not None)
    return Candidates(provider_of(next(iter(providers.values()))), bindings)


def choose(identity: ExternalIdentity, bindings: Iterable[Binding]) -> Binding:
    """Return the binding of a verified identity. Raises: Unauthenticated when none holds, or two name two subjects."""
    holding = [binding for binding in bindings if _holds(binding, identity)]
    if not holding:
        raise refused("not-bound")
    if len({binding.subject for binding in holding}) > 1:
        raise refused("ambiguous")
    chosen = min(holding, key=lambda binding: (binding.scopes is None, len(binding.scopes or ()), binding.id))
    if chosen.kind is None:
        raise refused("not-active")
    return chosen


def _holds(binding: Binding, identity: ExternalIdentity) -> bool:
    if binding.match_subject is None and binding.match_prefix is None and not binding.match_claims:
        return False
    if binding.match_subject is not None and binding.match_subject != identity.subject:
        return False
    if binding.match_prefix is not None and not is_below(identity.subject, binding.match_prefix):
        return False
    return all(claim_of(identity.claims, name) == text for name, text in binding.match_claims.items())


def is_below(subject: str, prefix: str) -> bool:
    """Whether a subject is a path below prefix, which ends with `/`."""
    return prefix.endswith("/") and subject.startswith(prefix) and len(subject) > len(prefix)


def claim_of(claims: Mapping[str, Any], name: str) -> str | None:
    """Return a claim's text, None for anything else. name: of a claim, or a JSON pointer (RFC 6901) to one."""
    if not name.startswith("/"):
        value: Any = claims.get(name)
    else:
        value = claims
        for part in name[1:].split("/"):
            value = value.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


async def create_binding(work: Work, operation: BindingCreate) -> Reply:
    """Return a new binding; an admin's gives at most the scopes of the caller's own credential.

    Raises: NotFound for another tenant's provider or subject; Malformed, Denied, LimitExceeded.
    """
    provider = await require_provider(work, operation.idp)
    subject = await lock_active_subject(work, operation.subject)
    scopes = operation.scopes
    if subject["kind"] == Kind.TENANT_ADMIN and work.credential is not None:
        scopes = narrow_scopes(scopes, work.credential)  # as of a key: else whoever binds itself would widen itself
    _check_conditions(operation, provider)
    await require_room(work, _COUNT, work.tenant, BINDINGS_LIMIT, "bindings a tenant")
    if operation.match_subject is None:
        count = await work.connection.fetchval(_OPEN_COUNT, work.tenant, operation.idp)
        if count >= OPEN_LIMIT:
            raise Malformed(f"at most {OPEN_LIMIT} bindings of one provider without match_subject", code="bad-binding")
    binding = new_id("bnd")
    await work.connection.execute(
        _INSERT,
        binding,
        operation.idp,
        work.tenant,
        operation.subject,
        operation.match_subject,
        operation.match_prefix,
        msgspec.json.encode(operation.match_claims).decode(),
        checked_scopes(scopes),
        work.now_s,
    )
    row = await work.connection.fetchrow("select * from control.identity_binding where id = $1", binding)
    return _object(row)


async def list_bindings(work: Work, _operation: BindingList) -> Reply:
    """Return the bindings of the caller's tenant, oldest first."""
    rows = await work.connection.fetch(
        "select * from control.identity_binding where tenant = $1 order by created_at_s, id", work.tenant
    )
    return {"bindings": [_object(row) for row in rows]}


async def delete_binding(work: Work, operation: BindingDelete) -> Reply:
    """End a binding and every live token that came of it. Raises: NotFound."""
    await work.connection.execute(_WAIT + "id = $1 and tenant = $2", operation.binding, work.tenant)
    deleted = await work.connection.fetchval(
        "delete from control.identity_binding where id = $1 and tenant = $2 returning true",
        operation.binding,
        work.tenant,
    )
    if not deleted:
        raise not_found("binding")
    await revoke_issue(work, operation.binding)
    return {"deleted": operation.binding}


def _check_conditions(operation: BindingCreate, provider: IdentityProvider) -> None:
    if operation.match_subject is None and operation.match_prefix is None and not operation.match_claims:
        raise Malformed("say whom: match_subject, match_prefix or match_claims", code="bad-binding")
    if operation.match_subject is not None and operation.match_prefix is not None:
        raise Malformed("match_subject is exact: it needs no match_prefix", code="bad-binding")
    for text in (operation.match_subject, operation.match_prefix):
        if text is not None and provider.kind is ProviderKind.SPIFFE and not text.startswith(f"{provider.issuer}/"):
            raise Malformed(f"the ids of this provider begin with {provider.issuer}/", code="bad-binding")
    if operation.match_prefix == f"{provider.issuer}/":
        raise Malformed("a prefix names at least one path segment", code="bad-binding")


def _binding(row: asyncpg.Record) -> Binding:
    return Binding(
        id=row["binding"],
        subject=row["bound"],
        kind=row["bound_kind"],
        match_subject=row["match_subject"],
        match_prefix=row["match_prefix"],
        match_claims=msgspec.json.decode(row["match_claims"], type=dict[str, str]),
        scopes=row["scopes"],
    )


def _object(row: asyncpg.Record) -> dict[str, Any]:
    shown = ("id", "subject", "match_subject", "match_prefix", "scopes", "created_at_s")
    return {name: row[name] for name in shown} | {
        "idp": row["provider"],
        "match_claims": msgspec.json.decode(row["match_claims"]),
    }
