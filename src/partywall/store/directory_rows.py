"""Reads the control database's rows into immutable facts, newer than a revision, in bounded pieces.

A row that a newer release wrote and this one cannot read narrows: an unknown action grants nothing, an unknown state
is suspended, an unknown kind of subject does not exist.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import asyncpg
import msgspec

from partywall.decision.action import ActionType
from partywall.decision.facts import (
    CollectionFacts,
    Grant,
    KeyFacts,
    ModelFacts,
    PolicyFacts,
    ServerFacts,
    State,
    SubjectFacts,
    TenantFacts,
    ToolFacts,
)
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.wire.ids import CollectionId, KeyId, ModelId, OrganisationId, ServerId, TenantId

PIECE_TENANTS: Final = 100
PIECE_ROWS: Final = 1_000

_ACTIONS: Final = {action.value: action for action in ActionType}
_KINDS: Final = {kind.value: kind for kind in Kind}
_STATES: Final = {state.value: state for state in State}

_TENANTS: Final = "select id from control.tenant where revision > $1 and region = $2 order by id"
_TENANT: Final = "select id, slug, organisation, region, state, tier, revision from control.tenant where id = any($1)"
_SUBJECTS: Final = """
    select tenant, id, slug, kind, state, clearance from control.subject
    where tenant = any($1) and state <> 'deleted'"""
_GRANTS: Final = "select subject, action, resource, expires_at_s from control.subject_grant where tenant = any($1)"
_MODELS: Final = """
    select tenant, id, slug, upstream, upstream_model, hosted, classification, context_tokens, purpose, dimensions
    from control.model where tenant = any($1)"""
_SERVERS: Final = "select tenant, id, slug, url, manifest, classification from control.server where tenant = any($1)"
_TOOLS: Final = """
    select server, name, description, schema, output_schema, annotations, digest
    from control.tool where tenant = any($1) order by server, name"""
_COLLECTIONS: Final = """
    select tenant, id, slug, model, dimensions, classification from control.collection where tenant = any($1)"""
_POLICIES: Final = """
    select distinct on (tenant) tenant, number, sha256, module
    from control.policy_revision where tenant = any($1) order by tenant, number desc"""
_KEYS: Final = """
    select k.id, k.tenant, k.subject, k.secret_sha256, k.scopes, k.on_behalf_of, k.expires_at_s,
           k.revoked_at_s is not null as revoked, s.kind
    from control.api_key k
    join control.subject s on s.id = k.subject
    left join control.tenant t on t.id = k.tenant
    where k.revision > $1 and k.expires_at_s > $2 and (k.tenant is null or t.region = $3)"""
_REVOCATIONS: Final = """
    select credential, forget_at_s from control.revocation
    where revision > $1 and (forget_at_s is null or forget_at_s > $2)"""
_VERIFICATION_KEYS: Final = """
    select id, public_key, not_after_s from control.verification_key where not_after_s is null or not_after_s > $1"""

_PIECE: Final = {
    "tenants": _TENANT,
    "subjects": _SUBJECTS,
    "grants": _GRANTS,
    "models": _MODELS,
    "servers": _SERVERS,
    "tools": _TOOLS,
    "policies": _POLICIES,
    "collections": _COLLECTIONS,
}

Rows = list[asyncpg.Record]


class Changes(msgspec.Struct, kw_only=True):
    """What changed between two revisions. keys: None where revoked. Ends (Unix seconds): None for never."""

    revision: int
    tenants: dict[TenantId, TenantFacts]
    keys: dict[KeyId, KeyFacts | None]
    revocations: dict[str, float | None]
    verification_keys: dict[str, tuple[bytes, float | None]]


async def read_changes(connection: asyncpg.Connection, since: int, *, region: str, now_s: float) -> Changes:
    """Return what is newer than since, from one snapshot. Yields to the loop between pieces.

    Raises: what asyncpg raises.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        revision = await connection.fetchval("select n from control.revision")
        return Changes(
            revision=revision,
            tenants=await _tenants(connection, since, region),
            keys=await _keys(connection, since, region, now_s),
            revocations=await _revocations(connection, since, now_s),
            verification_keys={
                row["id"]: (row["public_key"], row["not_after_s"])
                for row in await connection.fetch(_VERIFICATION_KEYS, now_s)
            },
        )


async def _tenants(connection: asyncpg.Connection, since: int, region: str) -> dict[TenantId, TenantFacts]:
    ids = [row["id"] for row in await connection.fetch(_TENANTS, since, region)]
    tenants: dict[TenantId, TenantFacts] = {}
    for start in range(0, len(ids), PIECE_TENANTS):
        piece = ids[start : start + PIECE_TENANTS]
        rows = {name: await connection.fetch(query, piece) for name, query in _PIECE.items()}
        tenants.update((facts.id, facts) for facts in build_tenants(**rows))
        await asyncio.sleep(0)
    return tenants


async def _keys(connection: asyncpg.Connection, since: int, region: str, now_s: float) -> dict[KeyId, KeyFacts | None]:
    cursor = await connection.cursor(_KEYS, since, now_s, region)
    keys: dict[KeyId, KeyFacts | None] = {}
    while rows := await cursor.fetch(PIECE_ROWS):
        for row in rows:
            keys[KeyId(row["id"])] = None if row["revoked"] else _key(row)
        await asyncio.sleep(0)
    return keys


async def _revocations(connection: asyncpg.Connection, since: int, now_s: float) -> dict[str, float | None]:
    cursor = await connection.cursor(_REVOCATIONS, since, now_s)
    revocations: dict[str, float | None] = {}
    while rows := await cursor.fetch(PIECE_ROWS):
        revocations.update((row["credential"], row["forget_at_s"]) for row in rows)
        await asyncio.sleep(0)
    return revocations


def build_tenants(
    *,
    tenants: Rows,
    subjects: Rows,
    grants: Rows,
    models: Rows,
    servers: Rows,
    tools: Rows,
    policies: Rows,
    collections: Rows,
) -> Iterable[TenantFacts]:
    """Yield the facts of each tenant row; each other row goes to the one tenant that it names."""
    granted: dict[str, list[Grant]] = defaultdict(list)
    for row in grants:
        if (action := _ACTIONS.get(row["action"])) is not None:
            grant = Grant(action=action, resource=row["resource"], expires_at_s=row["expires_at_s"])
            granted[row["subject"]].append(grant)
    approved: dict[str, dict[str, ToolFacts]] = defaultdict(dict)
    for row in tools:
        approved[row["server"]][row["name"]] = _tool(row)
    subjects_of = _grouped(_subject(row, granted) for row in subjects if row["kind"] in _KINDS)
    models_of = _grouped(_model(row) for row in models)
    servers_of = _grouped(_server(row, approved) for row in servers)
    collections_of = _grouped(_collection(row) for row in collections)
    policy_of = {row["tenant"]: _policy(row) for row in policies}
    for row in tenants:
        tenant = row["id"]
        yield TenantFacts(
            id=TenantId(tenant),
            slug=row["slug"],
            organisation=OrganisationId(row["organisation"]),
            region=row["region"],
            state=_STATES.get(row["state"], State.SUSPENDED),
            revision=row["revision"],
            tier=row["tier"],
            policy=policy_of.get(tenant, PolicyFacts()),
            subjects=subjects_of.get(tenant, {}),
            models=models_of.get(tenant, {}),
            servers=servers_of.get(tenant, {}),
            collections=collections_of.get(tenant, {}),
        )


def _grouped(items: Iterable[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    grouped: dict[str, dict[str, Any]] = defaultdict(dict)
    for tenant, facts in items:
        grouped[tenant][facts.id] = facts
    return grouped


def _subject(row: asyncpg.Record, granted: dict[str, list[Grant]]) -> tuple[str, SubjectFacts]:
    return row["tenant"], SubjectFacts(
        id=row["id"],
        slug=row["slug"],
        kind=_KINDS[row["kind"]],
        state=_STATES.get(row["state"], State.SUSPENDED),
        clearance=Classification(row["clearance"]),
        grants=tuple(granted.get(row["id"], ())),
    )


def _model(row: asyncpg.Record) -> tuple[str, ModelFacts]:
    return row["tenant"], ModelFacts(
        id=ModelId(row["id"]),
        slug=row["slug"],
        upstream=row["upstream"],
        upstream_model=row["upstream_model"],
        hosted=row["hosted"],
        classification=Classification(row["classification"]),
        context_tokens=row["context_tokens"],
        purpose=row["purpose"],
        dimensions=row["dimensions"] or 0,
    )


def _collection(row: asyncpg.Record) -> tuple[str, CollectionFacts]:
    return row["tenant"], CollectionFacts(
        id=CollectionId(row["id"]),
        slug=row["slug"],
        model=ModelId(row["model"]),
        dimensions=row["dimensions"],
        classification=Classification(row["classification"]),
    )


def _server(row: asyncpg.Record, approved: dict[str, dict[str, ToolFacts]]) -> tuple[str, ServerFacts]:
    return row["tenant"], ServerFacts(
        id=ServerId(row["id"]),
        slug=row["slug"],
        url=row["url"],
        manifest=row["manifest"],
        tools=approved.get(row["id"], {}),
        classification=Classification(row["classification"]),
    )


def _tool(row: asyncpg.Record) -> ToolFacts:
    return ToolFacts(
        name=row["name"],
        description=row["description"],
        schema=row["schema"],
        digest=row["digest"],
        output_schema=row["output_schema"],
        annotations=row["annotations"],
    )


def _policy(row: asyncpg.Record) -> PolicyFacts:
    return PolicyFacts(revision=f"{row['number']}-{row['sha256'][:12]}", module=row["module"])


def _key(row: asyncpg.Record) -> KeyFacts | None:
    if (kind := _KINDS.get(row["kind"])) is None:
        return None
    scopes = row["scopes"]
    return KeyFacts(
        id=KeyId(row["id"]),
        secret_sha256=row["secret_sha256"],
        kind=kind,
        subject=row["subject"],
        tenant=None if row["tenant"] is None else TenantId(row["tenant"]),
        expires_at_s=row["expires_at_s"],
        scopes=None if scopes is None else frozenset(_ACTIONS[scope] for scope in scopes if scope in _ACTIONS),
        on_behalf_of=row["on_behalf_of"],
    )
