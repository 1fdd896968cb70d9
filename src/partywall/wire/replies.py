"""What the public API answers, long because it is the whole vocabulary of the OpenAPI document: real replies fit it.

Replies only grow: a reader takes members that it does not know for granted. Times are Unix seconds. A list carries
`next_cursor`: hand it back as `cursor` for the page after, until it is null.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from partywall.wire.operations import ActionName, GrantResource, Id, Level, Slug, ToolName

State = Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Revision = Annotated[str, Meta(pattern=r"^(base|[1-9][0-9]*-[0-9a-f]{12})\Z")]


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The form of every reply."""


class Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The form of a request's body, where no operation is one."""


class Page(Reply, frozen=True, kw_only=True):
    """The form of every list. next_cursor: null on the last page."""

    next_cursor: str | None


# --- problems ---------------------------------------------------------------------------------------------------------


class Problem(Reply, frozen=True, kw_only=True):
    """A refusal (RFC 9457). code: stable, for programs; detail: what to do; trace: names the request in our log."""

    type: Annotated[str, Meta(pattern=r"^urn:partywall:problem:[a-z0-9-]+\Z")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    code: Annotated[str, Meta(pattern=r"^[a-z0-9-]+\Z")]
    trace: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


class OpenAiFault(Reply, frozen=True, kw_only=True):
    """What is wrong, in OpenAI's words."""

    message: str
    type: str
    code: str | None
    param: str | None = None


class OpenAiProblem(Reply, frozen=True, kw_only=True):
    """A refusal as OpenAI's SDK reads it."""

    error: OpenAiFault


# --- the deployment ---------------------------------------------------------------------------------------------------


class Tenant(Reply, frozen=True, kw_only=True):
    """A tenant as its operator sees it: nothing of its content. organisation: slug."""

    id: Id
    slug: Slug
    organisation: Slug
    region: str
    state: State
    tier: str


class Tenants(Page, frozen=True, kw_only=True):
    """A page of tenants, by slug."""

    tenants: list[Tenant]


class Organisation(Reply, frozen=True, kw_only=True):
    """Whom tenants belong to."""

    id: Id
    slug: Slug


class Organisations(Page, frozen=True, kw_only=True):
    """A page of organisations, by slug."""

    organisations: list[Organisation]


class Deleted(Reply, frozen=True, kw_only=True):
    """What is no more."""

    deleted: Id


# --- subjects and their credentials -----------------------------------------------------------------------------------


class Grant(Reply, frozen=True, kw_only=True):
    """One right of one subject. Without expires_at_s it has no end."""

    action: ActionName
    resource: GrantResource
    expires_at_s: float | UnsetType = UNSET


class Subject(Reply, frozen=True, kw_only=True):
    """Who acts in a tenant. kind: agent, user or tenant-admin."""

    id: Id
    slug: Slug
    kind: Annotated[str, Meta(pattern=r"^(agent|user|tenant-admin)\Z")]
    state: State
    clearance: Level
    grants: list[Grant]


class Grants(Reply, frozen=True, kw_only=True):
    """All grants of one subject."""

    grants: list[Grant]


class Subjects(Page, frozen=True, kw_only=True):
    """A page of subjects, by slug."""

    subjects: list[Subject]


class Key(Reply, frozen=True, kw_only=True):
    """An API key without its secret. scopes null: all that its subject is granted."""

    id: Id
    subject: Id
    scopes: list[ActionName] | None
    on_behalf_of: Id | None
    created_at_s: float
    expires_at_s: float
    revoked: bool


class Keys(Page, frozen=True, kw_only=True):
    """A page of API keys, oldest first."""

    keys: list[Key]


class NewKey(Reply, frozen=True, kw_only=True):
    """A new API key. secret: shown this once."""

    id: Id
    subject: Id
    scopes: list[ActionName] | None
    expires_at_s: float
    secret: Annotated[str, Meta(pattern=r"^pw_[a-z2-7]{26}_[A-Za-z0-9_-]{43}\Z")]
    on_behalf_of: Id | UnsetType = UNSET


class NewAdmin(Reply, frozen=True, kw_only=True):
    """A new tenant-admin and its first key."""

    admin: Subject
    key: NewKey


class FirstKey(Reply, frozen=True, kw_only=True):
    """The first operator's key."""

    key: NewKey


class Token(Reply, frozen=True, kw_only=True):
    """A new access token. expires_in: seconds."""

    id: Id
    access_token: str
    token_type: Annotated[str, Meta(pattern=r"^Bearer\Z")]
    expires_in: float


class Revoked(Reply, frozen=True, kw_only=True):
    """What has ended."""

    revoked: Id


# --- policy -----------------------------------------------------------------------------------------------------------


class ActivePolicy(Reply, frozen=True, kw_only=True):
    """The policy that is active now. number: left out when an earlier text was activated again."""

    revision: Revision
    number: int | UnsetType = UNSET


class PastRevision(Reply, frozen=True, kw_only=True):
    """A text that was active from activated_at_s on."""

    revision: Revision
    activated_at_s: float


class Policy(Reply, frozen=True, kw_only=True):
    """The active text, and the newest 100 revisions. module null: the base policy alone decides."""

    revision: Revision
    module: str | None
    history: list[PastRevision]


class Revisions(Page, frozen=True, kw_only=True):
    """A page of the revisions that are kept, newest first."""

    revisions: list[PastRevision]


class PastPolicy(PastRevision, frozen=True, kw_only=True):
    """One revision with its text."""

    module: str


class Finding(Reply, frozen=True, kw_only=True):
    """One thing to mend before a text can be activated. line: from 1; 0 is the whole text."""

    id: str
    line: int
    message: str


class DraftReport(Reply, frozen=True, kw_only=True):
    """A draft and what its validation said. valid: it can be activated."""

    id: Id
    slug: Slug
    sha256: Sha256
    valid: bool
    findings: list[Finding]
    created_at_s: float
    changed_at_s: float


class Draft(DraftReport, frozen=True, kw_only=True):
    """A draft with its text."""

    module: str


class Drafts(Page, frozen=True, kw_only=True):
    """A page of drafts, by slug."""

    drafts: list[DraftReport]


# --- servers and models -----------------------------------------------------------------------------------------------


class Server(Reply, frozen=True, kw_only=True):
    """An MCP server. manifest: digest of its approved tools, which are pinned; tools: their names."""

    id: Id
    slug: Slug
    manifest: Sha256
    tools: list[ToolName]


class ApprovedTool(Reply, frozen=True, kw_only=True):
    """One tool exactly as it was approved. digest: a server that lists another is refused."""

    name: ToolName
    description: str
    input_schema: dict[str, Any]
    annotations: dict[str, Any]
    digest: Sha256
    output_schema: dict[str, Any] | UnsetType = UNSET


class RegisteredServer(Server, frozen=True, kw_only=True):
    """An MCP server with its address and what was approved."""

    url: str
    classification: Level
    approved_at_s: float
    approved: list[ApprovedTool]


class Servers(Page, frozen=True, kw_only=True):
    """A page of servers, by slug."""

    servers: list[Server]


class Model(Reply, frozen=True, kw_only=True):
    """A model of a tenant. hosted: its bytes leave to a third party."""

    id: Id
    slug: Slug
    upstream_model: str
    hosted: bool
    context_tokens: int
    classification: Level


class OperatedModel(Model, frozen=True, kw_only=True):
    """A model as its operator sees it: with its place."""

    upstream: str


class OperatedModels(Page, frozen=True, kw_only=True):
    """A page of a tenant's models, by slug, for the operator."""

    models: list[OperatedModel]


class Models(Page, frozen=True, kw_only=True):
    """A page of the models that the operator gave this tenant, by slug."""

    models: list[Model]


# --- the log ----------------------------------------------------------------------------------------------------------


class Leaf(Reply, frozen=True, kw_only=True):
    """One leaf, opened. activity: OCSF, null once its key was shredded."""

    seq: int
    time_us: int
    activity: dict[str, Any] | None


class Leaves(Reply, frozen=True, kw_only=True):
    """A page of the caller's own log. next_start: null at its end; size: leaves in all."""

    leaves: list[Leaf]
    next_start: int | None
    size: int


class Export(Reply, frozen=True, kw_only=True):
    """A page of the caller's own log, sealed (base64), with its keys, as `partywall audit verify` reads it."""

    origin: str
    log: str
    vkey: str
    start: int
    leaves: list[str]
    keys: dict[str, str]
    next_start: int | None
    checkpoints: list[Any]


class Checkpoint(Reply, frozen=True, kw_only=True):
    """The signed head of the log (C2SP checkpoint), and the key that verifies it."""

    checkpoint: str
    vkey: str
    size: int


class FoundLeaves(Page, frozen=True, kw_only=True):
    """A page of what was found, decrypted. next_cursor: null when there is no more.

    size: leaves of the log; searched: how many of them, from the first, were looked at: all of them when at_head.
    checkpoint_size: what a signed checkpoint covers already; a leaf of that number or above is not under one yet.
    """

    leaves: list[Leaf]
    size: int
    searched: int
    at_head: bool
    checkpoint_size: int


class ProvenLeaf(Reply, frozen=True, kw_only=True):
    """One sealed leaf (base64) and its RFC 6962 inclusion proof (base64 each)."""

    seq: int
    leaf: str
    proof: list[str]


class Extract(Page, frozen=True, kw_only=True):
    """A page of a filtered export. checkpoint: the signed note that the proofs lead to, on the first page."""

    origin: str
    log: str
    vkey: str
    checkpoint: str | None
    checkpoint_size: int
    leaves: list[ProvenLeaf]
    keys: dict[str, str]
    at_head: bool


class BreakGlassRequest(Reply, frozen=True, kw_only=True):
    """A request to look into a tenant. state: requested | approved | refused | withdrawn | expired.

    ends_at_s: when the approval ends; subject: the user that it made; token: the one it gave, to revoke it by.
    """

    id: Id
    tenant: Id
    requester: Id
    justification: str
    actions: list[ActionName]
    life_s: float
    state: Annotated[str, Meta(pattern=r"^(requested|approved|refused|withdrawn|expired)\Z")]
    requested_at_s: float
    expires_at_s: float
    approver: Id | UnsetType = UNSET
    decided_at_s: float | UnsetType = UNSET
    ends_at_s: float | UnsetType = UNSET
    subject: Id | UnsetType = UNSET
    token: Id | UnsetType = UNSET


class BreakGlassRequests(Page, frozen=True, kw_only=True):
    """A page of requests, newest first."""

    requests: list[BreakGlassRequest]


# --- memory -----------------------------------------------------------------------------------------------------------

Classified = Annotated[str, Meta(pattern=r"^(public|internal|confidential|restricted)\Z")]
Trusted = Annotated[str, Meta(pattern=r"^(trusted|untrusted)\Z")]


class MemoryEntry(Reply, frozen=True, kw_only=True):
    """One entry as a list shows it."""

    key: str
    updated_at_s: float
    classification: Classified
    trust: Trusted


class MemoryValue(MemoryEntry, frozen=True, kw_only=True):
    """One entry with its value: any JSON."""

    value: Any


class MemoryEntries(Page, frozen=True, kw_only=True):
    """A page of the entries that the caller may read, by key."""

    entries: list[MemoryEntry]


class MemoryWritten(Reply, frozen=True, kw_only=True):
    """What was written, and with which label."""

    key: str
    classification: Classified
    trust: Trusted


class MemoryDeleted(Reply, frozen=True, kw_only=True):
    """deleted: whether there was such an entry."""

    key: str
    deleted: bool


class Memory(Sent, frozen=True, kw_only=True):
    """The body of a write: any JSON value of at most 64 KiB, and how sensitive it is (0 to 3)."""

    value: Any
    classification: Level | UnsetType = UNSET


# --- keys of the deployment -------------------------------------------------------------------------------------------


class PublicKey(Reply, frozen=True, kw_only=True):
    """One Ed25519 public key (RFC 8037) that verifies access tokens."""

    kid: str
    kty: str
    crv: str
    x: str
    alg: str
    use: str


class PublicKeys(Reply, frozen=True, kw_only=True):
    """The keys that verify access tokens now (RFC 7517)."""

    keys: list[PublicKey]


class BootstrapToken(Sent, frozen=True, kw_only=True):
    """The one-time token that `partywall up` prints."""

    token: Annotated[str, Meta(min_length=1, max_length=256)]


class OAuthFault(Reply, frozen=True, kw_only=True):
    """A refusal of the token endpoint (RFC 6749 section 5.2)."""

    error: Annotated[str, Meta(pattern=r"^[a-z_]+\Z")]
    error_description: str


class SignInChoice(Reply, frozen=True, kw_only=True):
    """What a person chose on the sign-in page. choice: `continue`, or anything else to go back."""

    attempt: str
    form: str
    choice: str
    tenant: str | UnsetType = UNSET


class RevokedToken(Sent, frozen=True, kw_only=True):
    """The token to end (RFC 7009)."""

    token: Annotated[str, Meta(min_length=1, max_length=4096)]


# --- other protocols --------------------------------------------------------------------------------------------------


class ListedModel(Reply, frozen=True, kw_only=True):
    """A model that the caller may ask, as OpenAI lists it. id: its slug."""

    id: Slug
    object: str
    created: int
    owned_by: str


class ListedModels(Reply, frozen=True, kw_only=True):
    """The models that the caller may ask."""

    object: str
    data: list[ListedModel]


class RpcRequest(Sent, frozen=True, kw_only=True):
    """One JSON-RPC 2.0 request or notification of MCP."""

    jsonrpc: Annotated[str, Meta(pattern=r"^2\.0\Z")]
    method: Annotated[str, Meta(pattern=r"^[a-z]+(/[a-z_]+)*\Z")]
    id: str | int | UnsetType = UNSET
    params: dict[str, Any] | UnsetType = UNSET


class RpcFault(Reply, frozen=True, kw_only=True):
    """Why a request was refused."""

    code: int
    message: str
    data: Any = None


class RpcReply(Reply, frozen=True, kw_only=True):
    """One JSON-RPC 2.0 answer: result or error."""

    jsonrpc: str
    id: str | int | None = None
    result: dict[str, Any] | UnsetType = UNSET
    error: RpcFault | UnsetType = UNSET


# --- the token endpoint -----------------------------------------------------------------------------------------------


class TokenRequest(Reply, frozen=True, kw_only=True):
    """The form of a token request (RFC 8693, RFC 6749): one grant type, and the parameters that it takes."""

    grant_type: str
    subject_token: str | UnsetType = UNSET
    subject_token_type: str | UnsetType = UNSET
    actor_token: str | UnsetType = UNSET
    actor_token_type: str | UnsetType = UNSET
    requested_token_type: str | UnsetType = UNSET
    audience: str | UnsetType = UNSET
    resource: str | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    request_details: str | UnsetType = UNSET
    request_context: str | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    code_verifier: str | UnsetType = UNSET
    redirect_uri: str | UnsetType = UNSET


class IssuedToken(Reply, frozen=True, kw_only=True):
    """A token response. issued_token_type: of what an exchange gave. spiffe_id: of the agent that it is for."""

    access_token: str
    token_type: str
    expires_in: int
    issued_token_type: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    spiffe_id: str | UnsetType = UNSET


class IdentityProvider(Reply, frozen=True, kw_only=True):
    """A trusted external issuer, without its secret. organisation: the slug of the one that it belongs to, if any."""

    id: str
    slug: Slug
    kind: str
    issuer: str
    organisation: Slug | None
    audiences: list[str]
    algorithms: list[str]
    max_age_s: float
    single_use: bool
    jwks_uri: str | None
    pinned: bool
    client_id: str | None
    has_secret: bool


class IdentityProviders(Reply, frozen=True, kw_only=True):
    """What a tenant trusts: its own, and its organisation's."""

    identity_providers: list[IdentityProvider]


class Binding(Reply, frozen=True, kw_only=True):
    """Which subject of an identity provider is which subject of this tenant."""

    id: str
    idp: str
    subject: Id
    match_subject: str | None
    match_prefix: str | None
    match_claims: dict[str, str]
    scopes: list[ActionName] | None
    created_at_s: float


class Bindings(Reply, frozen=True, kw_only=True):
    """The bindings of a tenant, oldest first."""

    bindings: list[Binding]


class Decision(Reply, frozen=True, kw_only=True):
    """AuthZEN: one decision. context: reasons, for people and programs."""

    decision: bool
    context: dict[str, Any] | UnsetType = UNSET


class Decisions(Reply, frozen=True, kw_only=True):
    """AuthZEN: a decision for each evaluation, in their order; without `evaluations` it is one decision."""

    evaluations: list[Decision] | UnsetType = UNSET
    decision: bool | UnsetType = UNSET
    context: dict[str, Any] | UnsetType = UNSET


class FoundPage(Reply, frozen=True, kw_only=True):
    """AuthZEN: where a search goes on; an empty token at its end."""

    next_token: str
    count: int


class FoundEntities(Reply, frozen=True, kw_only=True):
    """AuthZEN: what a search found, within the caller's own tenant."""

    results: list[dict[str, Any]]
    page: FoundPage


class DecisionQuestion(Reply, frozen=True, kw_only=True):
    """AuthZEN: may this subject do this to that resource. Members that are not known are passed over."""

    subject: dict[str, Any]
    action: dict[str, Any]
    resource: dict[str, Any]
    context: dict[str, Any] | UnsetType = UNSET


class DecisionQuestions(Reply, frozen=True, kw_only=True):
    """AuthZEN: several questions; what stands beside `evaluations` is the default of each."""

    evaluations: list[dict[str, Any]] | UnsetType = UNSET
    subject: dict[str, Any] | UnsetType = UNSET
    action: dict[str, Any] | UnsetType = UNSET
    resource: dict[str, Any] | UnsetType = UNSET
    context: dict[str, Any] | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET


class EntitySearch(Reply, frozen=True, kw_only=True):
    """AuthZEN: which subjects, resources or actions; of what is searched for only the type is given."""

    subject: dict[str, Any]
    resource: dict[str, Any]
    action: dict[str, Any] | UnsetType = UNSET
    context: dict[str, Any] | UnsetType = UNSET
    page: dict[str, Any] | UnsetType = UNSET
