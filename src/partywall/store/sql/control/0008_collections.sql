-- Collections of documents, and models that make vectors. What is in a collection is in the data database.
--
-- model and dimensions of a collection never change: a change is a new collection.

alter table control.model
    add column purpose text not null default 'chat' check (purpose in ('chat', 'embeddings')),
    add column dimensions integer check (dimensions between 1 and 2000),
    add constraint model_dimensions check ((purpose = 'embeddings') = (dimensions is not null));

create table control.collection (
    id text primary key check (id ~ '^col_[a-z2-7]{26}$'),
    tenant text not null references control.tenant (id),
    slug text not null,
    model text not null references control.model (id),
    dimensions integer not null check (dimensions between 1 and 2000),
    classification smallint not null default 1 check (classification between 0 and 3),
    created_at_s double precision not null,
    constraint collection_slug unique (tenant, slug)
);

grant select on control.collection to pw_directory;
