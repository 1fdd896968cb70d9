"""What the control database says about one tenant, as one immutable snapshot per revision.

Built by `store/directory.py`, read by `decide`. At most 1,000 subjects and 1,000 resources a tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.wire.ids import CollectionId, KeyId, ModelId, OrganisationId, ServerId, TenantId


class State(StrEnum):
    """The life of a tenant or a subject."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One right of one subject. resource: `<kind>/<id>`; only a tool's last segment may be `*`.

    Examples: `model/mdl_…`, `tool/mcp_…/send_money`, `tool/mcp_…/*`. expires_at_s: Unix seconds or None.
    """

    action: ActionType
    resource: str
    expires_at_s: float | None = None


class SubjectFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A user, tenant-admin or agent of the tenant."""

    id: str
    slug: str
    kind: Kind
    state: State = State.ACTIVE
    clearance: Classification = Classification.INTERNAL
    grants: tuple[Grant, ...] = ()


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A model that the tenant may be granted. upstream: base URL that only the operator sets, or `local:minilm`.

    purpose: `chat` or `embeddings`. dimensions: of the vectors that it makes; 0 for chat.
    """

    id: ModelId
    slug: str
    upstream: str
    upstream_model: str
    hosted: bool = False
    classification: Classification = Classification.INTERNAL
    context_tokens: int = 2048
    purpose: str = "chat"
    dimensions: int = 0


class ToolFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One tool as it was approved. digest: SHA-256 (hex) of its manifest entry; schema: canonical JSON."""

    name: str
    description: str
    schema: str
    digest: str
    output_schema: str | None = None
    annotations: str = "{}"


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A registered streamable-HTTP MCP server. manifest: SHA-256 (hex) over all approved tools."""

    id: ServerId
    slug: str
    url: str
    manifest: str
    tools: Mapping[str, ToolFacts] = {}
    classification: Classification = Classification.INTERNAL


class CollectionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Documents that can be searched. model, dimensions: never change. classification: of its least document."""

    id: CollectionId
    slug: str
    model: ModelId
    dimensions: int
    classification: Classification = Classification.INTERNAL


class PolicyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's active policy. revision: `<number>-<first 12 hex digits of the SHA-256 of its text>`."""

    revision: str = "base"
    module: str | None = None


class TenantFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `decide` may know of a tenant. revision grows with every change to any of it."""

    id: TenantId
    slug: str
    organisation: OrganisationId
    region: str
    state: State
    revision: int
    tier: str = "pool"
    policy: PolicyFacts = PolicyFacts()
    subjects: Mapping[str, SubjectFacts] = {}
    models: Mapping[str, ModelFacts] = {}
    servers: Mapping[str, ServerFacts] = {}
    collections: Mapping[str, CollectionFacts] = {}


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An API key `pw_<id part>_<secret>`; only the SHA-256 of the secret is stored (it has 256 random bits).

    tenant is None for a platform operator's key. scopes None: all that the subject is granted.
    """

    id: KeyId
    secret_sha256: bytes
    kind: Kind
    subject: str
    tenant: TenantId | None
    expires_at_s: float
    scopes: frozenset[ActionType] | None = None
    on_behalf_of: str | None = None
