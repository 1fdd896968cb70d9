-- Notes of tenants: one table, partitioned, each partition with a policy of its own.
create role app nosuperuser nobypassrls;
create table app.note (
    tenant text not null,
    id uuid not null,
    slug text not null,
    body text not null,
    primary key (tenant, id),
    unique (tenant, slug)
) partition by list (tenant);
alter table app.note enable row level security;
alter table app.note force row level security;
create policy tenant on app.note to app using (tenant = (select id from pw.tenant));

create table app.note_acme partition of app.note for values in ('acme');
alter table app.note_acme enable row level security, force row level security;
create policy tenant on app.note_acme to app
    using (tenant = (select id from pw.tenant)) with check (tenant = (select id from pw.tenant));
create policy no_drafts on app.note_acme as restrictive to app using (true);
create index note_slug on app.note (slug);
create unique index note_title on app.note (tenant, lower(slug));

create temporary table scratch (line text);
create function app.note_count() returns bigint
    language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select count(*) from app.note $$;
revoke all on function app.note_count() from public;
grant execute on function app.note_count() to app;
create view app.recent with (security_invoker = true, security_barrier = true) as select tenant, slug from app.note;
grant select, insert on app.note to app;
