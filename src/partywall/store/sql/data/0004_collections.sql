-- How much each collection holds. The documents are in leaves (store/leaf.py): `leaf.col_…` has the canonical text,
-- `leaf.vec_…` what is searched. The row is locked by whoever writes, so that the counts are right.

create table pw.collection_use (
    tenant text not null check (tenant ~ '^ten_[a-z2-7]{26}$'),
    collection text not null check (collection ~ '^col_[a-z2-7]{26}$'),
    documents bigint not null default 0 check (documents >= 0),
    chunks bigint not null default 0 check (chunks >= 0),
    bytes bigint not null default 0 check (bytes >= 0),
    primary key (tenant, collection)
);
revoke all on pw.collection_use from public;
alter table pw.collection_use enable row level security;
alter table pw.collection_use force row level security;
create policy tenant on pw.collection_use to pw_app
    using (tenant = (select id from pw.tenant))
    with check (tenant = (select id from pw.tenant));
grant select, insert, update on pw.collection_use to pw_app;
