"""What the superuser takes from everybody in an embedded database, once, before anyone can connect.

None of it is the wall between tenants (row security with the tenant token is); it closes what leaks beside rows:
other sessions' statements, sizes and estimates, locks, large objects, notifications, temporary objects.
Source: attacks.md RLS-3 and RLS-6, components.md "Row-level security, attacked".
"""

from __future__ import annotations

from typing import Final

from partywall.store.configuration import Roles

VECTORS: Final = "vectors"
"""The schema of the extension pgvector."""

_VIEWS: Final = r"""
do $do$
declare found record;
begin
    for found in
        select c.oid::regclass::text as name from pg_catalog.pg_class c
        where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'v'
          and (c.relname like 'pg\_stat%' or c.relname in ('pg_locks', 'pg_prepared_xacts', 'pg_roles_settings',
               'pg_shmem_allocations', 'pg_backend_memory_contexts', 'pg_replication_slots', 'pg_aios'))
    loop
        execute format('revoke all on %s from public', found.name);
    end loop;
    for found in
        select p.oid::regprocedure::text as name from pg_catalog.pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind = 'f'
          and (p.proname like 'pg\_stat\_%' or p.proname like 'lo\_%' or p.proname like 'pg\_advisory\_%'
               or p.proname like 'pg\_try\_advisory\_%' or p.proname in (
               'loread', 'lowrite', 'pg_lock_status', 'pg_blocking_pids', 'pg_safe_snapshot_blocking_pids',
               'pg_notify', 'pg_notification_queue_usage', 'pg_terminate_backend', 'pg_cancel_backend',
               'pg_logical_emit_message', 'pg_export_snapshot', 'pg_prepared_xact',
               'pg_relation_size', 'pg_table_size', 'pg_indexes_size', 'pg_total_relation_size', 'pg_database_size',
               'pg_tablespace_size', 'query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema',
               'cursor_to_xml', 'cursor_to_xmlschema', 'table_to_xml', 'table_to_xmlschema',
               'table_to_xml_and_xmlschema', 'schema_to_xml', 'schema_to_xmlschema', 'schema_to_xml_and_xmlschema',
               'database_to_xml', 'database_to_xmlschema', 'database_to_xml_and_xmlschema'))
    loop
        execute format('revoke all on function %s from public', found.name);
        if found.name like 'pg\_%advisory%' then
            execute format('grant execute on function %s to OWNER', found.name);
        end if;
    end loop;
end
$do$
"""

_ESTIMATES: Final = """
do $do$
declare columns text;
begin
    select string_agg(quote_ident(attname), ', ') into columns from pg_catalog.pg_attribute
        where attrelid = 'pg_catalog.pg_class'::regclass and attnum > 0 and not attisdropped
          and attname not in ('relpages', 'reltuples', 'relallvisible', 'relallfrozen');
    revoke all on pg_catalog.pg_class from public;
    execute format('grant select (%s) on pg_catalog.pg_class to public', columns);
    grant select on pg_catalog.pg_class to OWNER;
end
$do$
"""


def role_statements(roles: Roles, verifiers: dict[str, str]) -> list[str]:
    """Return what makes the roles and the database; to be run in the `postgres` database, any number of times."""
    made = [
        f"do $do$ begin if not exists (select from pg_catalog.pg_roles where rolname = '{role}')"
        f" then create role {role}; end if; end $do$"
        for role in (roles.owner, roles.reader)
    ]
    for role, verifier in verifiers.items():
        made.append(
            f"alter role {role} with login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls"
            f" connection limit 40 password '{verifier}'"
        )
    return [
        *made,
        f"alter role {roles.reader} set temp_file_limit = '64MB'",
        f"alter role {roles.reader} set statement_timeout = '10s'",
        f"alter role {roles.reader} set lock_timeout = '5s'",
        f"alter role {roles.reader} set transaction_timeout = '60s'",
    ]


def database_statements(instance: str, roles: Roles) -> list[str]:
    """Return what closes the instance's database; to be run in it, any number of times."""
    leaves = _for_leaves(roles) if instance == "data" else []
    return [
        f"revoke all on database {instance} from public",
        f"grant connect on database {instance} to {roles.reader}",
        "drop schema if exists public",
        "revoke all on language plpgsql from public",
        f"grant usage on language plpgsql to {roles.owner}",
        _VIEWS.replace("OWNER", roles.owner),
        _ESTIMATES.replace("OWNER", roles.owner),
        *leaves,
    ]


def _for_leaves(roles: Roles) -> list[str]:
    """Return what leaves need of a superuser: pgvector in a schema of its own, and sizes for the owner alone."""
    return [
        f"create schema if not exists {VECTORS}",
        f"revoke all on schema {VECTORS} from public",
        f"create extension if not exists vector schema {VECTORS}",
        "alter extension vector update",
        f"grant usage on schema {VECTORS} to {roles.owner}, {roles.reader}",
        f"grant execute on function pg_catalog.pg_relation_size(regclass) to {roles.owner}",
        f"grant execute on function pg_catalog.pg_relation_size(regclass, text) to {roles.owner}",
    ]
