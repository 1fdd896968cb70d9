-- Requests of a platform operator to look into a tenant, and what the tenant said. They stay: they are evidence.
--
-- What an approval gives is not here: it is a user of the tenant, made for this one request, with grants that end when
-- the approval does. Workers read that like any user and know nothing of this table.

create table control.break_glass (
    id text primary key check (id ~ '^brk_[a-z2-7]{26}$'),
    tenant text not null references control.tenant (id),
    requester text not null references control.subject (id),
    justification text not null,
    actions text[] not null check (cardinality(actions) > 0),
    life_s double precision not null check (life_s > 0 and life_s <= 3600),
    state text not null default 'requested' check (state in ('requested', 'approved', 'refused', 'withdrawn')),
    requested_at_s double precision not null,
    expires_at_s double precision not null,
    approver text,
    decided_at_s double precision,
    ends_at_s double precision,
    subject text,
    token text,
    check ((state = 'requested') = (decided_at_s is null)),
    check ((state in ('approved', 'withdrawn')) = (subject is not null)),
    check (token is null or subject is not null),
    foreign key (tenant, approver) references control.subject (tenant, id),
    foreign key (tenant, subject) references control.subject (tenant, id)
);
create index break_glass_tenant on control.break_glass (tenant, requested_at_s);
