-- Sign-in of people. A sign-in under way is kept, sealed, by the person's own browser; rows begin with the code that a
-- person who has signed in is given. Workers read none of it.

-- One sign-in that lasts: each of its refresh tokens is good once, and the next one's hash takes its place. ancestors:
-- the identity provider and the binding, which it ends with.
create table control.refresh_family (
    id text primary key check (id ~ '^rft_[a-z2-7]{26}$'),
    tenant text not null,
    subject text not null,
    client text not null,
    scopes text[],
    resource text,
    ancestors text[] not null,
    secret_sha256 bytea not null check (length(secret_sha256) = 32),
    expires_at_s double precision not null,
    ended_at_s double precision,
    foreign key (tenant, subject) references control.subject (tenant, id)
);
create index refresh_family_subject on control.refresh_family (subject, expires_at_s);
create index refresh_family_end on control.refresh_family (expires_at_s);

-- ancestors: what the tokens of a code end with. lasting: whether a refresh token was asked for. given: what the code's
-- one use gave, a credential or a family, so that a second use can end it.
create table control.authorization_code (
    code_sha256 bytea primary key check (length(code_sha256) = 32),
    attempt text not null unique check (attempt ~ '^sgn_[a-z2-7]{26}$'),
    tenant text not null,
    subject text not null,
    client text not null,
    redirect_uri text not null,
    challenge text not null,
    scopes text[],
    resource text,
    ancestors text[] not null,
    expires_at_s double precision not null,
    lasting boolean not null,
    used_at_s double precision,
    given text,
    foreign key (tenant, subject) references control.subject (tenant, id)
);
create index authorization_code_subject on control.authorization_code (subject, expires_at_s);
create index authorization_code_end on control.authorization_code (expires_at_s);

-- The one resource that a token is for; null: the whole deployment.
alter table control.access_token add column resource text;
