-- The control database: who there is, what they may do, and which keys vouch for them. Never tenant content.
--
-- Order: every change takes the one row of control.revision first (`update … returning n`), so changes commit in the
-- order of their numbers, and a snapshot that sees n sees everything up to n and nothing after it. Rows that workers
-- read carry the number of their last change; store/directory.py loads what is newer than what it has.
-- Ids are random and never reused; slugs are aliases, unique per tenant among what is not deleted.

create schema control;
revoke all on schema control from public;

create table control.revision (
    only_row boolean primary key default true check (only_row),
    n bigint not null default 0
);
insert into control.revision default values;

create table control.organisation (
    id text primary key check (id ~ '^org_[a-z2-7]{26}$'),
    slug text not null,
    created_at_s double precision not null,
    constraint organisation_slug unique (slug)
);

create table control.tenant (
    id text primary key check (id ~ '^ten_[a-z2-7]{26}$'),
    organisation text not null references control.organisation (id),
    slug text not null,
    region text not null,
    tier text not null default 'pool',
    state text not null default 'active' check (state in ('active', 'suspended', 'deleted')),
    created_at_s double precision not null,
    revision bigint not null
);
create unique index tenant_slug on control.tenant (slug) where state <> 'deleted';
create index tenant_revision on control.tenant (revision);

-- tenant is null for platform operators only.
create table control.subject (
    id text primary key check (id ~ '^(usr|agt)_[a-z2-7]{26}$'),
    tenant text references control.tenant (id),
    slug text not null,
    kind text not null check (kind in ('platform-operator', 'tenant-admin', 'user', 'agent')),
    state text not null default 'active' check (state in ('active', 'suspended', 'deleted')),
    clearance smallint not null default 1 check (clearance between 0 and 3),
    created_at_s double precision not null,
    check ((kind = 'platform-operator') = (tenant is null)),
    unique (tenant, id)
);
create unique index subject_slug on control.subject (tenant, slug) where tenant is not null and state <> 'deleted';
create unique index operator_slug on control.subject (slug) where tenant is null and state <> 'deleted';

create table control.subject_grant (
    tenant text not null,
    subject text not null,
    action text not null,
    resource text not null,
    expires_at_s double precision,
    primary key (subject, action, resource),
    foreign key (tenant, subject) references control.subject (tenant, id)
);
create index subject_grant_tenant on control.subject_grant (tenant);

-- Of an API key only the SHA-256 of its secret (256 random bits) is kept.
create table control.api_key (
    id text primary key check (id ~ '^key_[a-z2-7]{26}$'),
    tenant text references control.tenant (id),
    subject text not null references control.subject (id),
    secret_sha256 bytea not null check (length(secret_sha256) = 32),
    scopes text[],
    on_behalf_of text,
    created_at_s double precision not null,
    expires_at_s double precision not null,
    revoked_at_s double precision,
    revision bigint not null,
    foreign key (tenant, subject) references control.subject (tenant, id),
    foreign key (tenant, on_behalf_of) references control.subject (tenant, id)
);
create index api_key_revision on control.api_key (revision);
create index api_key_subject on control.api_key (subject);
create index api_key_user on control.api_key (on_behalf_of) where on_behalf_of is not null;
create index api_key_tenant on control.api_key (tenant);

-- A session's name belongs to one subject of one tenant; the same name elsewhere is another session.
create table control.session (
    tenant text not null,
    id text not null check (id ~ '^ses_[a-z2-7]{26}$'),
    subject text not null,
    revoked_at_s double precision,
    used_at_s double precision not null,
    primary key (tenant, id),
    foreign key (tenant, subject) references control.subject (tenant, id)
);

-- Issued access tokens while they live: what can be revoked, and by whom. The token itself is not kept.
create table control.access_token (
    id text primary key check (id ~ '^tok_[a-z2-7]{26}$'),
    tenant text not null,
    subject text not null,
    session text,
    on_behalf_of text,
    expires_at_s double precision not null,
    foreign key (tenant, subject) references control.subject (tenant, id)
);
create index access_token_subject on control.access_token (subject, expires_at_s);
create index access_token_user on control.access_token (on_behalf_of) where on_behalf_of is not null;
create index access_token_session on control.access_token (tenant, session) where session is not null;
create index access_token_end on control.access_token (expires_at_s);

-- Ids of keys, tokens and subjects that are refused. forget_at_s: when nothing that carries the id can live any more.
create table control.revocation (
    credential text primary key,
    revoked_at_s double precision not null,
    forget_at_s double precision,
    revision bigint not null
);
create index revocation_revision on control.revocation (revision);

-- The texts of a tenant's policy, all of them; the highest number is the active one.
create table control.policy_revision (
    tenant text not null references control.tenant (id),
    number integer not null check (number > 0),
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    module text not null,
    activated_at_s double precision not null,
    primary key (tenant, number)
);

create table control.model (
    id text primary key check (id ~ '^mdl_[a-z2-7]{26}$'),
    tenant text not null references control.tenant (id),
    slug text not null,
    upstream text not null,
    upstream_model text not null,
    hosted boolean not null default false,
    classification smallint not null default 1 check (classification between 0 and 3),
    context_tokens integer not null default 2048 check (context_tokens > 0),
    created_at_s double precision not null,
    constraint model_slug unique (tenant, slug)
);

create table control.server (
    id text primary key check (id ~ '^mcp_[a-z2-7]{26}$'),
    tenant text not null references control.tenant (id),
    slug text not null,
    url text not null,
    manifest text not null check (manifest ~ '^[0-9a-f]{64}$'),
    classification smallint not null default 1 check (classification between 0 and 3),
    approved_at_s double precision not null,
    constraint server_slug unique (tenant, slug),
    unique (tenant, id)
);

create table control.tool (
    tenant text not null,
    server text not null,
    name text not null,
    description text not null,
    schema text not null,
    output_schema text,
    annotations text not null default '{}',
    digest text not null check (digest ~ '^[0-9a-f]{64}$'),
    primary key (server, name),
    foreign key (tenant, server) references control.server (tenant, id)
);
create index tool_tenant on control.tool (tenant);

-- Public halves of the keys that sign access tokens. signs_from_s: never before every worker had time to learn the key.
-- not_after_s: set when it stops signing, once its last token has died.
create table control.verification_key (
    id text primary key,
    public_key bytea not null check (length(public_key) = 32),
    published_at_s double precision not null,
    signs_from_s double precision not null,
    not_after_s double precision
);

-- One-time tokens for the first operator's key: the hash alone.
create table control.bootstrap (
    token_sha256 bytea primary key check (length(token_sha256) = 32),
    expires_at_s double precision not null,
    used_at_s double precision
);

-- Workers read what a decision needs and nothing else: no sessions, issued tokens or bootstrap hashes.
grant usage on schema control to pw_directory;
grant select on control.revision, control.tenant, control.subject, control.subject_grant, control.api_key,
    control.revocation, control.policy_revision, control.model, control.server, control.tool, control.verification_key
    to pw_directory;
