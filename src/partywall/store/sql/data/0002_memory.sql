-- What agents remember: pooled, one row per tenant, subject and key. The subject comes first in every question.
--
-- value: canonical JSON. classification, trust: the label it was written with (decision/labels.py).

create table pw.memory (
    tenant text not null check (tenant ~ '^ten_[a-z2-7]{26}$'),
    subject text not null check (subject ~ '^(usr|agt)_[a-z2-7]{26}$'),
    key text not null check (octet_length(key) between 1 and 256),
    value bytea not null check (octet_length(value) <= 65536),
    classification smallint not null check (classification between 0 and 3),
    trust smallint not null check (trust between 0 and 1),
    updated_at timestamptz not null default clock_timestamp(),
    primary key (tenant, subject, key)
);
revoke all on pw.memory from public;
alter table pw.memory enable row level security;
alter table pw.memory force row level security;
create policy tenant on pw.memory to pw_app
    using (tenant = (select id from pw.tenant))
    with check (tenant = (select id from pw.tenant));
grant select, insert, update, delete on pw.memory to pw_app;
