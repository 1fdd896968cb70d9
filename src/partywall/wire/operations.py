"""Operator actions: one strict schema each, parsed at the REST door and again in the issuer.

The payload of `Perform` is canonical JSON of `{"operation": <tag>, …fields}`: exactly one of these structs. Replies are
JSON objects as each docstring says. `tenant` fields name the tenant that an *operator* works on; a tenant-admin's own
tenant comes from the permit, never from a field. Ids are full ids; slugs match `SLUG`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

SLUG: Final = r"^[a-z][a-z0-9-]{0,62}\Z"
Slug = Annotated[str, Meta(pattern=SLUG)]
Id = Annotated[str, Meta(pattern=r"^[a-z]{3}_[a-z2-7]{26}\Z")]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s?#@]+\Z", max_length=512)]
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]
ActionName = Annotated[str, Meta(pattern=r"^[a-z]+(\.[a-z]+)?\Z")]
GrantResource = Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}/[A-Za-z0-9_./*-]{1,200}\Z")]
Level = Annotated[int, Meta(ge=0, le=3)]
SLUG_SHAPE: Final = re.compile(SLUG, re.ASCII)


class _Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="operation"):
    pass


class GrantSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One grant, as `decision.facts.Grant`; `model/<slug>` and `tool/<slug>/<tool>` are resolved to ids on entry."""

    action: ActionName
    resource: GrantResource
    expires_at_s: float | None = None


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tool as its server lists it (MCP `Tool`), as a tenant-admin approves it."""

    name: ToolName
    description: Annotated[str, Meta(max_length=4096)] = ""
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] = {}


# --- platform operator: resource `pw:<region>:platform:<kind>/<id or *>` ---------------------------------------------


class TenantCreate(_Operation, frozen=True, tag="tenant.create"):
    """operator.tenant on `tenant/*`. Reply: tenant object. organisation: a slug, made when missing."""

    slug: Slug
    organisation: Slug = "default"


class TenantList(_Operation, frozen=True, tag="tenant.list"):
    """operator.read on `tenant/*`. Reply: {"tenants": [tenant object]}: id, slug, organisation, region, state, tier."""


class TenantState(_Operation, frozen=True, tag="tenant.state"):
    """operator.tenant on `tenant/<id>`. state: active | suspended. Reply: tenant object."""

    tenant: Id
    state: Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]


class AdminCreate(_Operation, frozen=True, tag="admin.create"):
    """operator.tenant on `tenant/<id>`. Makes an admin and its first key. Reply: {"admin": subject, "key": key}."""

    tenant: Id
    slug: Slug


class ModelCreate(_Operation, frozen=True, tag="model.create"):
    """operator.model on `tenant/<id>`. Reply: model object: id, slug, upstream_model, hosted."""

    tenant: Id
    slug: Slug
    upstream: Url
    upstream_model: str
    hosted: bool = False
    context_tokens: int = 2048


class OperatorKeyCreate(_Operation, frozen=True, tag="operator-key.create"):
    """operator.key on `key/*`. Another platform operator's key. Reply: key object with `secret` (once)."""

    slug: Slug
    life_s: float | None = None


# --- tenant-admin, own tenant: resource `pw:<region>:<tenant>:<kind>/<id or *>` ---------------------------------------


class SubjectCreate(_Operation, frozen=True, tag="subject.create"):
    """operator.agent on `subject/*`. kind: agent | user. Reply: subject: id, slug, kind, state, clearance, grants."""

    kind: Annotated[str, Meta(pattern=r"^(agent|user)\Z")]
    slug: Slug
    clearance: Level = 1
    grants: list[GrantSpec] = []


class SubjectList(_Operation, frozen=True, tag="subject.list"):
    """operator.read on `subject/*`. Reply: {"subjects": [subject]}."""


class SubjectState(_Operation, frozen=True, tag="subject.state"):
    """operator.agent on `subject/<id>`. Reply: subject."""

    subject: Id
    state: Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]


class GrantsSet(_Operation, frozen=True, tag="grants.set"):
    """grant on `subject/<id>`. Replaces all grants of a subject. Reply: subject."""

    subject: Id
    grants: list[GrantSpec]


class KeyCreate(_Operation, frozen=True, tag="key.create"):
    """operator.key on `subject/<id>`. Reply: key: id, subject, expires_at_s, scopes, `secret` = `pw_…` (once)."""

    subject: Id
    scopes: list[ActionName] | None = None
    life_s: float | None = None
    on_behalf_of: Id | None = None


class KeyList(_Operation, frozen=True, tag="key.list"):
    """operator.read on `key/*`. Reply: {"keys": [key object without secret, with `revoked`]}."""


class TokenCreate(_Operation, frozen=True, tag="token.create"):
    """operator.token on `subject/<id>`. An access token (EdDSA JWT, at most 15 minutes).

    A tenant-admin makes one for any subject of its tenant; an agent or user only for itself (same scopes or fewer).
    Reply: {"access_token", "token_type": "Bearer", "expires_in", "id"}.
    """

    subject: Id
    scopes: list[ActionName] | None = None
    session: Id | None = None
    on_behalf_of: Id | None = None


class Revoke(_Operation, frozen=True, tag="revoke"):
    """operator.revoke on `credential/<id>`: a key, token, session or subject. Reply: {"revoked": id}."""

    credential: Id


class PolicyActivate(_Operation, frozen=True, tag="policy.activate"):
    """operator.policy on `policy/*`. Validates (compile, budget, lint) and activates. Reply: {"revision", "number"}."""

    module: Annotated[str, Meta(max_length=65_536)]


class PolicyShow(_Operation, frozen=True, tag="policy.show"):
    """operator.read on `policy/*`. Reply: {"revision", "module", "history": [{"revision", "activated_at_s"}]}."""


class PolicyRollback(_Operation, frozen=True, tag="policy.rollback"):
    """operator.policy on `policy/*`. Activates an earlier text again, as a new revision. Reply: {"revision"}."""

    revision: str


class ServerRegister(_Operation, frozen=True, tag="server.register"):
    """operator.server on `server/*`. Registers, or re-approves a slug. Reply: id, slug, manifest, tools."""

    slug: Slug
    url: Url
    tools: list[ToolSpec]


class ServerList(_Operation, frozen=True, tag="server.list"):
    """operator.read on `server/*`. Reply: {"servers": [{id, slug, manifest, tools: [names]}]}."""


Operation = (
    TenantCreate
    | TenantList
    | TenantState
    | AdminCreate
    | ModelCreate
    | OperatorKeyCreate
    | SubjectCreate
    | SubjectList
    | SubjectState
    | GrantsSet
    | KeyCreate
    | KeyList
    | TokenCreate
    | Revoke
    | PolicyActivate
    | PolicyShow
    | PolicyRollback
    | ServerRegister
    | ServerList
)
