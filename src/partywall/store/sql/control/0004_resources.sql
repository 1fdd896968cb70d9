-- What the API keeps beside its resources: drafts of policies, and the replies to requests that must happen once.
-- Workers read neither, so nothing is granted on them.

-- A text that is not active (yet), with what its validation said. checked_by: the release that validated it.
create table control.policy_draft (
    id text primary key check (id ~ '^pol_[a-z2-7]{26}$'),
    tenant text not null references control.tenant (id),
    slug text not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    module text not null,
    findings text not null,
    checked_by text not null,
    created_at_s double precision not null,
    changed_at_s double precision not null,
    constraint policy_draft_slug unique (tenant, slug)
);

-- One row for each Idempotency-Key that a principal used, written with the effect itself. realm: the tenant, or
-- `platform`. reply: null where it held a secret, which is never kept; made: ids of what such a request made.
create table control.idempotency (
    realm text not null,
    principal text not null,
    key_sha256 bytea not null check (length(key_sha256) = 32),
    payload_sha256 bytea not null check (length(payload_sha256) = 32),
    reply bytea,
    made text not null default '',
    expires_at_s double precision not null,
    primary key (realm, principal, key_sha256)
);
create index idempotency_end on control.idempotency (expires_at_s);

create index api_key_page on control.api_key (tenant, created_at_s, id);
