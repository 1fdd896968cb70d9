-- The tenant token: the database itself verifies for whom a statement runs (ADR-0005).
--
-- pw_app may read the view pw.tenant, which answers with its owner's rights, and nothing below it. HMAC is made of the
-- built-in sha256() and of pads that are stored instead of the key.

create schema pw;
revoke all on schema pw from public;
grant usage on schema pw to pw_app;
alter default privileges revoke execute on functions from public;

-- This database's own name: a token for another shard is worth nothing here.
create table pw.shard (
    only_row boolean primary key default true check (only_row),
    id text not null default translate(gen_random_uuid()::text, '-', '')
);
insert into pw.shard default values;

-- inner_start: the inner pad of HMAC and the shard's id, with which every message starts. outer_pad: the outer pad.
create table pw.token_key (
    kid text primary key,
    inner_start bytea not null check (length(inner_start) = 96),
    outer_pad bytea not null check (length(outer_pad) = 64),
    not_after timestamptz not null
);
revoke all on pw.shard, pw.token_key from public, pw_app;
-- No sample of a key in the planner's statistics.
alter table pw.token_key alter column inner_start set statistics 0, alter column outer_pad set statistics 0;

-- One row, the tenant of the token in the setting pw.token, or none (or null, when it has expired). Policies ask for it as
-- `(select id from pw.tenant)`: once per statement. Layout of the setting: 64 hex digits of HMAC-SHA-256, 10 digits of
-- expiry, 30 characters of tenant, the key's id. The expiry is read only of a token whose digest is right, so its cast
-- cannot fail. A barrier: no condition of a caller's runs before these. Names are bound here and now, no search_path can
-- change them. Comparing digests in plain text is sound for what lives 30 s; ADR-0005 has the figures, and why this is
-- no function.
create view pw.tenant with (security_barrier) as
    select case when abs(substr(current_setting('pw.token', true), 65, 10)::bigint - 15
                - date_part('epoch', clock_timestamp())) <= 15
            then substr(current_setting('pw.token', true), 75, 30) end as id
    from pw.token_key k
    where k.kid = substr(current_setting('pw.token', true), 105)
        and k.not_after > now()
        and encode(sha256(k.outer_pad || sha256(k.inner_start || int4send(pg_backend_pid())
                || convert_to(substr(current_setting('pw.token', true), 65), 'UTF8'))), 'hex')
            = substr(current_setting('pw.token', true), 1, 64);
revoke all on pw.tenant from public;
grant select on pw.tenant to pw_app;

-- The shard's name is no secret: whoever mints needs it.
create function pw.shard_id() returns text
    language sql stable security definer parallel restricted
    set search_path = pg_catalog, pg_temp
as $$ select id from pw.shard $$;
revoke all on function pw.shard_id() from public;
grant execute on function pw.shard_id() to pw_app;
