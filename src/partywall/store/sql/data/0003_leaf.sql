-- Where leaves live: one table per collection of one tenant, made by store/leaf.py.

create schema leaf;
revoke all on schema leaf from public;
grant usage on schema leaf to pw_app;
