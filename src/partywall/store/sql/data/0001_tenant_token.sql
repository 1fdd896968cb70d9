-- The tenant token: the database itself verifies for whom a statement runs (ADR-0005).
--
-- pw_app may call pw.tenant() and nothing below it; the keys are readable by the owner of the function alone. HMAC is
-- made of the built-in sha256() and of pads that are stored instead of the key.

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

create table pw.token_key (
    kid text primary key,
    inner_pad bytea not null check (length(inner_pad) = 64),
    outer_pad bytea not null check (length(outer_pad) = 64),
    shard text not null,
    not_after timestamptz not null
);
revoke all on pw.shard, pw.token_key from public, pw_app;

-- Returns the tenant of a good token, null otherwise; it never raises. The digest is looked at first, so that what
-- comes after it reads only what a key holder wrote. Digests are compared by their own hash: how long the comparison
-- takes says nothing about the right digest. Restricted: a parallel worker has another process id.
create function pw.tenant() returns text
    language plpgsql stable security definer parallel restricted
    set search_path = pg_catalog, pg_temp
as $$
declare
    given constant text := current_setting('pw.token', true);
    expected text;
    rest_s double precision;
begin
    select encode(sha256(k.outer_pad || sha256(k.inner_pad || convert_to(
            substr(given, 65) || '/' || k.shard || '/' || pg_backend_pid()::text, 'UTF8'))), 'hex')
        into expected
        from pw.token_key k
        where k.kid = substr(given, 105) and k.not_after > clock_timestamp();
    if sha256(expected::bytea) = sha256(convert_to(substr(given, 1, 64), 'UTF8')) then
        rest_s := substr(given, 65, 10)::double precision - extract(epoch from clock_timestamp())::double precision;
        if rest_s > 0 and rest_s <= 30 then
            return substr(given, 75, 30);
        end if;
    end if;
    return null;
end
$$;
revoke all on function pw.tenant() from public;
grant execute on function pw.tenant() to pw_app;

-- The shard's name is no secret: whoever mints needs it.
create function pw.shard_id() returns text
    language sql stable security definer parallel restricted
    set search_path = pg_catalog, pg_temp
as $$ select id from pw.shard $$;
revoke all on function pw.shard_id() from public;
grant execute on function pw.shard_id() to pw_app;
