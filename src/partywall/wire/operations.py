"""Operator actions, long because one union names them all: a strict schema each, parsed at the door and by the issuer.

The payload of `Perform` is canonical JSON of `{"operation": <tag>, …fields}`: exactly one of these structs. Replies are
JSON objects as each docstring says. `tenant` fields name the tenant that an *operator* works on; a tenant-admin's own
tenant comes from the permit, never from a field. Ids are full ids; slugs match `SLUG`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from partywall.wire.conditions import Conditions

SLUG: Final = r"^[a-z][a-z0-9-]{0,62}\Z"
Slug = Annotated[str, Meta(pattern=SLUG)]
Id = Annotated[str, Meta(pattern=r"^[a-z]{3}_[a-z2-7]{26}\Z")]
OrganisationRef = Annotated[str, Meta(pattern=r"^org_[a-z2-7]{26}\Z")]
TenantRef = Annotated[str, Meta(pattern=r"^ten_[a-z2-7]{26}\Z")]
SubjectRef = Annotated[str, Meta(pattern=r"^(agt|usr)_[a-z2-7]{26}\Z")]
KeyRef = Annotated[str, Meta(pattern=r"^key_[a-z2-7]{26}\Z")]
ModelRef = Annotated[str, Meta(pattern=r"^mdl_[a-z2-7]{26}\Z")]
ServerRef = Annotated[str, Meta(pattern=r"^mcp_[a-z2-7]{26}\Z")]
PolicyRef = Annotated[str, Meta(pattern=r"^pol_[a-z2-7]{26}\Z")]
IdpRef = Annotated[str, Meta(pattern=r"^idp_[a-z2-7]{26}\Z")]
BindingRef = Annotated[str, Meta(pattern=r"^bnd_[a-z2-7]{26}\Z")]
RevisionRef = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,8}-[0-9a-f]{12}\Z")]
Module = Annotated[str, Meta(max_length=65_536)]
PageLimit = Annotated[int, Meta(ge=1, le=200)]
Cursor = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,512}\Z")]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s?#@]+\Z", max_length=512)]
LOCAL_EMBEDDINGS: Final = "local:minilm"
"""The upstream of a model that the deployment's own embedding process serves (`wire/embeddings.py`)."""
ModelUrl = Annotated[str, Meta(pattern=r"^(https?://[^\s?#@]+|local:minilm)\Z", max_length=512)]
Purpose = Annotated[str, Meta(pattern=r"^(chat|embeddings)\Z")]
Dimensions = Annotated[int, Meta(ge=1, le=2000)]
BreakGlassRef = Annotated[str, Meta(pattern=r"^brk_[a-z2-7]{26}\Z")]
BreakGlassAction = Annotated[str, Meta(pattern=r"^audit\.read\Z")]
CollectionRef = Annotated[str, Meta(pattern=r"^col_[a-z2-7]{26}\Z")]
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,128}\Z")]
ActionName = Annotated[str, Meta(pattern=r"^[a-z]+(\.[a-z]+)?\Z")]
GrantResource = Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}/[A-Za-z0-9_./*-]{1,200}\Z")]
Level = Annotated[int, Meta(ge=0, le=3)]
TokenResource = Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z", max_length=512)]
Text255 = Annotated[str, Meta(min_length=1, max_length=255)]
Assertion = Annotated[str, Meta(min_length=1, max_length=16_384)]
Issuer = Annotated[str, Meta(pattern=r"^(https?|spiffe)://[^\s?#@]+\Z", max_length=255)]
ProviderKindName = Annotated[str, Meta(pattern=r"^(oidc|workload|spiffe)\Z")]
AlgorithmName = Annotated[str, Meta(pattern=r"^(RS256|PS256|ES256|ES384|EdDSA)\Z")]
SLUG_SHAPE: Final = re.compile(SLUG, re.ASCII)


class _Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="operation"):
    pass


class _Change(_Operation, frozen=True, kw_only=True):
    """What changes something. conditions: from the request's headers, never from its body."""

    conditions: Conditions | UnsetType = UNSET


class _Paged(_Operation, frozen=True, kw_only=True):
    """A list, a page at a time. cursor: the `next_cursor` of the page before. Reply: also {"next_cursor"}."""

    limit: PageLimit = 50
    cursor: Cursor | None = None


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


class OrganisationCreate(_Change, frozen=True, tag="organisation.create"):
    """operator.tenant on `organisation/*`. Reply: organisation object: id, slug."""

    slug: Slug


class OrganisationList(_Paged, frozen=True, tag="organisation.list"):
    """operator.read on `organisation/*`. Reply: {"organisations": [organisation object]}."""


class OrganisationShow(_Operation, frozen=True, tag="organisation.show"):
    """operator.read on `organisation/<id>`. Reply: organisation object."""

    organisation: OrganisationRef


class TenantCreate(_Change, frozen=True, tag="tenant.create"):
    """operator.tenant on `tenant/*`. Reply: tenant object. organisation: a slug, made when missing."""

    slug: Slug
    organisation: Slug = "default"


class TenantList(_Paged, frozen=True, tag="tenant.list"):
    """operator.read on `tenant/*`. Reply: {"tenants": [tenant object]}: id, slug, organisation, region, state, tier.

    organisation: of this one alone.
    """

    organisation: OrganisationRef | None = None


class TenantShow(_Operation, frozen=True, tag="tenant.show"):
    """operator.read on `tenant/<id>`. Reply: tenant object."""

    tenant: TenantRef


class TenantState(_Change, frozen=True, tag="tenant.state"):
    """operator.tenant on `tenant/<id>`. state: active | suspended. Reply: tenant object."""

    tenant: Id
    state: Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]


class AdminCreate(_Change, frozen=True, tag="admin.create"):
    """operator.tenant on `tenant/<id>`. Makes an admin and its first key. Reply: {"admin": subject, "key": key}."""

    tenant: Id
    slug: Slug


class ModelCreate(_Change, frozen=True, tag="model.create"):
    """operator.model on `tenant/<id>`. Reply: model object, with `upstream`."""

    tenant: Id
    slug: Slug
    upstream: ModelUrl
    upstream_model: str
    hosted: bool = False
    context_tokens: int = 2048
    purpose: Purpose = "chat"
    dimensions: Dimensions | None = None


class ModelList(_Paged, frozen=True, tag="model.list"):
    """operator.read on `tenant/<id>`. Reply: {"models": [model object with `upstream`]}."""

    tenant: TenantRef


class ModelShow(_Operation, frozen=True, tag="model.show"):
    """operator.read on `tenant/<id>`. Reply: model object, with `upstream`."""

    tenant: TenantRef
    model: ModelRef


class ModelChange(_Change, frozen=True, tag="model.change"):
    """operator.model on `tenant/<id>`. Changes what is given. Reply: model object, with `upstream`."""

    tenant: TenantRef
    model: ModelRef
    upstream: Url | None = None
    upstream_model: str | None = None
    hosted: bool | None = None
    context_tokens: int | None = None
    classification: Level | None = None


class ModelDelete(_Change, frozen=True, tag="model.delete"):
    """operator.model on `tenant/<id>`. Its grants end with it. Reply: {"deleted": id}."""

    tenant: TenantRef
    model: ModelRef


class OperatorKeyCreate(_Change, frozen=True, tag="operator-key.create"):
    """operator.key on `key/*`. Another platform operator's key. Reply: key object with `secret` (once)."""

    slug: Slug
    life_s: float | None = None


# --- tenant-admin, own tenant: resource `pw:<region>:<tenant>:<kind>/<id or *>` ---------------------------------------


class SubjectCreate(_Change, frozen=True, tag="subject.create"):
    """operator.agent on `subject/*`. kind: agent | user. Reply: subject: id, slug, kind, state, clearance, grants."""

    kind: Annotated[str, Meta(pattern=r"^(agent|user)\Z")]
    slug: Slug
    clearance: Level = 1
    grants: list[GrantSpec] = []


class SubjectList(_Paged, frozen=True, tag="subject.list"):
    """operator.read on `subject/*`. Reply: {"subjects": [subject]}. kind: of this one alone."""

    kind: Annotated[str, Meta(pattern=r"^(agent|user|tenant-admin)\Z")] | None = None


class SubjectShow(_Operation, frozen=True, tag="subject.show"):
    """operator.read on `subject/<id>`. Reply: subject."""

    subject: SubjectRef


class SubjectChange(_Change, frozen=True, tag="subject.change"):
    """operator.agent on `subject/<id>`. Reply: subject."""

    subject: SubjectRef
    clearance: Level


class SubjectDelete(_Change, frozen=True, tag="subject.delete"):
    """operator.revoke on `subject/<id>`. Ends it with its keys and tokens. Reply: {"revoked": id}."""

    subject: SubjectRef


class SubjectState(_Change, frozen=True, tag="subject.state"):
    """operator.agent on `subject/<id>`. Reply: subject."""

    subject: Id
    state: Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]


class GrantsSet(_Change, frozen=True, tag="grants.set"):
    """grant on `subject/<id>`. Replaces all grants of a subject. Reply: subject."""

    subject: Id
    grants: list[GrantSpec]


class GrantList(_Operation, frozen=True, tag="grant.list"):
    """operator.read on `subject/<id>`. Reply: {"grants": [grant]}, all of them."""

    subject: SubjectRef


class GrantAdd(_Change, frozen=True, tag="grant.add"):
    """grant on `subject/<id>`. Adds one grant, or sets its end anew. Reply: subject."""

    subject: SubjectRef
    action: ActionName
    resource: GrantResource
    expires_at_s: float | None = None


class GrantRemove(_Change, frozen=True, tag="grant.remove"):
    """grant on `subject/<id>`. Takes one grant; one that it does not have is not found. Reply: subject."""

    subject: SubjectRef
    action: ActionName
    resource: GrantResource


class KeyCreate(_Change, frozen=True, tag="key.create"):
    """operator.key on `subject/<id>`. Reply: key: id, subject, expires_at_s, scopes, `secret` = `pw_…` (once)."""

    subject: Id
    scopes: list[ActionName] | None = None
    life_s: float | None = None
    on_behalf_of: Id | None = None


class KeyList(_Paged, frozen=True, tag="key.list"):
    """operator.read on `key/*`. Reply: {"keys": [key object without secret, with `revoked`]}."""


class KeyShow(_Operation, frozen=True, tag="key.show"):
    """operator.read on `key/<id>`. Reply: key object without secret, with `revoked`."""

    key: KeyRef


class KeyDelete(_Change, frozen=True, tag="key.delete"):
    """operator.revoke on `key/<id>`. Revokes it with every token that descends from it. Reply: {"revoked": id}."""

    key: KeyRef


class TokenCreate(_Change, frozen=True, tag="token.create"):
    """operator.token on `subject/<id>`. An access token (EdDSA JWT, at most 15 minutes).

    resource: the one MCP server, by its URL here, that it is for; absent: the whole deployment.
    A tenant-admin makes one for any subject of its tenant; an agent or user only for itself (same scopes or fewer).
    Reply: {"access_token", "token_type": "Bearer", "expires_in", "id"}.
    """

    subject: Id
    scopes: list[ActionName] | None = None
    session: Id | None = None
    on_behalf_of: Id | None = None
    resource: TokenResource | None = None


class TokenEnd(_Operation, frozen=True, tag="token.end"):
    """operator.token on `subject/<id>`. Ends the access token that the caller came with. Reply: {"revoked": id}."""

    subject: Id


class TokenExchange(_Operation, frozen=True, tag="token.exchange"):
    """operator.token on `subject/<id>`. An access token for the principal itself, at most what it came with.

    token: a foreign token that stands for subject; absent: the caller's own credential does. user, user_token: whom an
    agent acts for, and that user's proof (a foreign token, or an access token of ours).
    Reply: {"access_token", "issued_token_type", "token_type": "Bearer", "expires_in", "id", "scope"?, "spiffe_id"?}.
    """

    subject: Id
    token: Assertion | None = None
    user: Id | None = None
    user_token: Assertion | None = None
    scopes: list[ActionName] | None = None


class TransactionCreate(_Operation, frozen=True, tag="transaction.create"):
    """operator.token on `transaction/<id>`. A transaction token (60 s) for services behind the caller, never for us.

    subject: the caller. details: what it is about, for `tctx`; context: the caller's surroundings, for `rctx`.
    Reply: {"access_token", "issued_token_type", "token_type": "N_A", "expires_in"}.
    """

    subject: Id
    scopes: Annotated[list[ActionName], Meta(min_length=1, max_length=32)]
    details: dict[str, Any] = {}
    context: dict[str, Any] = {}


class IdpCreate(_Change, frozen=True, tag="idp.create"):
    """operator.key on `idp/*`. Trusts an external issuer: of the caller's tenant, or (an operator) of an organisation.

    issuer: `iss`, byte for byte; `spiffe://<trust domain>` for SPIFFE. audiences: one of which its tokens must be for;
    else `pw:<region>:<tenant>`. jwks: a pinned key set; else jwks_uri; else discovery. single_use: else of `oidc` only.
    Reply: identity provider, without the secret: id, slug, kind, issuer, audiences, …
    """

    slug: Slug
    issuer: Issuer
    kind: ProviderKindName = "oidc"
    organisation: Slug | None = None
    audiences: Annotated[list[Text255], Meta(max_length=8)] = []
    algorithms: Annotated[list[AlgorithmName], Meta(min_length=1, max_length=5)] = msgspec.field(
        default_factory=lambda: ["RS256", "ES256"]
    )
    jwks: dict[str, Any] | None = None
    jwks_uri: Url | None = None
    client_id: Text255 | None = None
    client_secret: Text255 | None = None
    max_age_s: Annotated[float, Meta(ge=60, le=86_400)] | None = None
    single_use: bool | None = None


class IdpList(_Operation, frozen=True, tag="idp.list"):
    """operator.read on `idp/*`. Reply: {"identity_providers": [identity provider]}: own, and the organisation's."""


class IdpShow(_Operation, frozen=True, tag="idp.show"):
    """operator.read on `idp/<id>`. Reply: identity provider."""

    idp: IdpRef


class IdpDelete(_Change, frozen=True, tag="idp.delete"):
    """operator.revoke on `idp/<id>`. Trusts it no more; bindings and live tokens of it end. Reply: {"deleted": id}."""

    idp: IdpRef


class BindingCreate(_Change, frozen=True, tag="binding.create"):
    """operator.key on `binding/*`. A provider's subject is this subject of the caller's tenant, if all conditions hold.

    match_subject: the exact `sub`. match_prefix: of a `sub`, ending with `/`. match_claims: claim (or JSON pointer to
    one) -> the text it must be. scopes: the most that its tokens carry. Reply: binding.
    """

    idp: IdpRef
    subject: SubjectRef
    match_subject: Text255 | None = None
    match_prefix: Annotated[str, Meta(min_length=2, max_length=255, pattern=r"/\Z")] | None = None
    match_claims: Annotated[dict[Text255, Text255], Meta(max_length=8)] = {}
    scopes: list[ActionName] | None = None


class BindingList(_Operation, frozen=True, tag="binding.list"):
    """operator.read on `binding/*`. Reply: {"bindings": [binding]}."""


class BindingDelete(_Change, frozen=True, tag="binding.delete"):
    """operator.revoke on `binding/<id>`. Live tokens that came of it end. Reply: {"deleted": id}."""

    binding: BindingRef


class Revoke(_Change, frozen=True, tag="revoke"):
    """operator.revoke on `credential/<id>`: a key, token, session or subject. Reply: {"revoked": id}."""

    credential: Id


class PolicyActivate(_Change, frozen=True, tag="policy.activate"):
    """operator.policy on `policy/*`. Validates (compile, budget, lint) and activates. Reply: {"revision", "number"}."""

    module: Module


class PolicyShow(_Operation, frozen=True, tag="policy.show"):
    """operator.read on `policy/*`. Reply: {"revision", "module", "history": [{"revision", "activated_at_s"}]}."""


class PolicyRollback(_Change, frozen=True, tag="policy.rollback"):
    """operator.policy on `policy/*`. Activates an earlier text again, as a new revision. Reply: {"revision"}."""

    revision: str


class RevisionList(_Paged, frozen=True, tag="revision.list"):
    """operator.read on `policy/*`. Reply: {"revisions": [{"revision", "activated_at_s"}]}, newest first."""


class RevisionShow(_Operation, frozen=True, tag="revision.show"):
    """operator.read on `policy/*`. Reply: {"revision", "module", "activated_at_s"}."""

    revision: RevisionRef


class DraftCreate(_Change, frozen=True, tag="draft.create"):
    """operator.policy on `policy/*`. Keeps a text with its validation report, active or not. Reply: draft object."""

    slug: Slug
    module: Module


class DraftReplace(_Change, frozen=True, tag="draft.replace"):
    """operator.policy on `policy/<id>`. Reply: draft object."""

    policy: PolicyRef
    module: Module


class DraftList(_Paged, frozen=True, tag="draft.list"):
    """operator.read on `policy/*`. Reply: {"drafts": [draft object without `module`]}."""


class DraftShow(_Operation, frozen=True, tag="draft.show"):
    """operator.read on `policy/<id>`. Reply: draft object: id, slug, sha256, valid, findings, module, times."""

    policy: PolicyRef


class DraftDelete(_Change, frozen=True, tag="draft.delete"):
    """operator.policy on `policy/<id>`. What was activated stays active. Reply: {"deleted": id}."""

    policy: PolicyRef


class DraftActivate(_Change, frozen=True, tag="draft.activate"):
    """operator.policy on `policy/<id>`. Makes a draft without findings active. Reply: {"revision", "number"}."""

    policy: PolicyRef


class ServerRegister(_Change, frozen=True, tag="server.register"):
    """operator.server on `server/*`. Registers, or re-approves a slug. Reply: id, slug, manifest, tools."""

    slug: Slug
    url: Url
    tools: list[ToolSpec]


class ServerList(_Paged, frozen=True, tag="server.list"):
    """operator.read on `server/*`. Reply: {"servers": [{id, slug, manifest, tools: [names]}]}."""


class ServerShow(_Operation, frozen=True, tag="server.show"):
    """operator.read on `server/<id>`. Reply: server object with `url`, and what was approved of each tool."""

    server: ServerRef


class ServerDelete(_Change, frozen=True, tag="server.delete"):
    """operator.server on `server/<id>`. Grants of its tools end with it. Reply: {"deleted": id}."""

    server: ServerRef


class CatalogueList(_Paged, frozen=True, tag="catalogue.list"):
    """operator.read on `catalogue/*`. Reply: {"models": [model object]}: what the operator gave this tenant."""


class CollectionCreate(_Change, frozen=True, tag="collection.create"):
    """operator.collection on `collection/*`. model: id or slug of one that makes embeddings. Reply: collection object.

    Model and classification never change. Reply: id, slug, model, dimensions, classification, created_at_s.
    """

    slug: Slug
    model: Annotated[str, Meta(pattern=r"^([a-z][a-z0-9-]{0,62}|mdl_[a-z2-7]{26})\Z")]
    classification: Level = 1


class CollectionList(_Paged, frozen=True, tag="collection.list"):
    """operator.read on `collection/*`. Reply: {"collections": [collection object], "next_cursor"}, by slug."""


class CollectionShow(_Operation, frozen=True, tag="collection.show"):
    """operator.read on `collection/<id>`. Reply: collection object."""

    collection: CollectionRef


class CollectionDelete(_Change, frozen=True, tag="collection.delete"):
    """operator.collection on `collection/<id>`. Documents and grants end with it. Reply: {"deleted": id}."""

    collection: CollectionRef


# --- looking into a tenant, with its leave ----------------------------------------------------------------------------


class BreakGlassCreate(_Change, frozen=True, tag="break-glass.create"):
    """operator.tenant on `break-glass/<id>`, the tenant's. Asks a tenant to let this operator look into it.

    It is in the tenant's own log before it is done, justification included: that text is for the record. life_s: how
    long an approval lasts. Reply: request object: id, tenant, requester, justification, actions, life_s, state,
    requested_at_s, expires_at_s and, once decided, approver, decided_at_s, ends_at_s, subject, token.
    """

    tenant: TenantRef
    justification: Annotated[str, Meta(min_length=10, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
    actions: Annotated[list[BreakGlassAction], Meta(min_length=1, max_length=8)] = msgspec.field(
        default_factory=lambda: ["audit.read"]
    )
    life_s: Annotated[float, Meta(ge=60, le=3_600)] = 900.0


class BreakGlassList(_Paged, frozen=True, tag="break-glass.list"):
    """operator.read on `break-glass/*`. A tenant-admin: those of its tenant; an operator: all. Reply: {"requests"}."""


class BreakGlassShow(_Operation, frozen=True, tag="break-glass.show"):
    """operator.read on `break-glass/<id>`. Reply: request object."""

    request: BreakGlassRef


class BreakGlassApprove(_Change, frozen=True, tag="break-glass.approve"):
    """approve on `break-glass/<id>`. Once, by an admin of the tenant who was there before. Reply: request object."""

    request: BreakGlassRef


class BreakGlassRefuse(_Change, frozen=True, tag="break-glass.refuse"):
    """approve on `break-glass/<id>`. Says no, or takes back an approval with what it gave. Reply: request object."""

    request: BreakGlassRef


class BreakGlassToken(_Change, frozen=True, tag="break-glass.token"):
    """operator.token on `break-glass/<id>`. The one token of an approval, for the operator who asked.

    Of a user of that tenant that was made for this request and holds what was approved. Reply: as `TokenCreate`.
    """

    request: BreakGlassRef


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
    | TokenEnd
    | TokenExchange
    | TransactionCreate
    | IdpCreate
    | IdpList
    | IdpShow
    | IdpDelete
    | BindingCreate
    | BindingList
    | BindingDelete
    | Revoke
    | PolicyActivate
    | PolicyShow
    | PolicyRollback
    | ServerRegister
    | ServerList
    | OrganisationCreate
    | OrganisationList
    | OrganisationShow
    | TenantShow
    | ModelList
    | ModelShow
    | ModelChange
    | ModelDelete
    | SubjectShow
    | SubjectChange
    | SubjectDelete
    | GrantList
    | GrantAdd
    | GrantRemove
    | KeyShow
    | KeyDelete
    | RevisionList
    | RevisionShow
    | DraftCreate
    | DraftReplace
    | DraftList
    | DraftShow
    | DraftDelete
    | DraftActivate
    | ServerShow
    | ServerDelete
    | CatalogueList
    | CollectionCreate
    | CollectionList
    | CollectionShow
    | CollectionDelete
    | BreakGlassCreate
    | BreakGlassList
    | BreakGlassShow
    | BreakGlassApprove
    | BreakGlassRefuse
    | BreakGlassToken
)
