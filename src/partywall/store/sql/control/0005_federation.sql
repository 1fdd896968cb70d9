-- External issuers that a tenant or an organisation trusts, and which of their subjects is which of ours. Workers read
-- none of it: tokens of others are verified where tokens are signed.

create table control.identity_provider (
    id text primary key check (id ~ '^idp_[a-z2-7]{26}$'),
    tenant text references control.tenant (id),
    organisation text references control.organisation (id),
    slug text not null,
    kind text not null check (kind in ('oidc', 'workload', 'spiffe')),
    issuer text not null,
    audiences text[] not null check (cardinality(audiences) > 0),
    algorithms text[] not null check (cardinality(algorithms) > 0),
    max_age_s double precision not null check (max_age_s > 0),
    single_use boolean not null,
    jwks_uri text,
    jwks text,
    client_id text,
    client_secret bytea,
    created_at_s double precision not null,
    check ((tenant is null) <> (organisation is null))
);
create unique index identity_provider_slug on control.identity_provider (tenant, slug) where tenant is not null;
create unique index identity_provider_issuer on control.identity_provider (tenant, issuer) where tenant is not null;
create unique index organisation_provider_slug
    on control.identity_provider (organisation, slug) where organisation is not null;
create unique index organisation_provider_issuer
    on control.identity_provider (organisation, issuer) where organisation is not null;

-- All conditions of a binding must hold; a null one is none. match_claims: a JSON object, name -> the value it must have.
create table control.identity_binding (
    id text primary key check (id ~ '^bnd_[a-z2-7]{26}$'),
    provider text not null references control.identity_provider (id) on delete cascade,
    tenant text not null,
    subject text not null,
    match_subject text,
    match_prefix text,
    match_claims text not null default '{}',
    scopes text[],
    created_at_s double precision not null,
    foreign key (tenant, subject) references control.subject (tenant, id),
    check (match_subject is not null or match_prefix is not null or match_claims <> '{}')
);
create index identity_binding_exact on control.identity_binding (provider, tenant, match_subject);
create index identity_binding_tenant on control.identity_binding (tenant);

-- Tokens of others that were good once, until they would have ended: a digest, never the token.
create table control.used_assertion (
    id text primary key check (id ~ '^asr_[a-z2-7]{26}$'),
    forget_at_s double precision not null
);
create index used_assertion_end on control.used_assertion (forget_at_s);
