"""Hostile SQL as the gateway's own role, with a good token for A: nothing of B's comes back (RLS-1, 3, 5, 6)."""

import asyncpg
import pytest
from tests.postgres_fixture import Databases
from tests.store_attacks import ATTACKS, Neighbours, caught


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_gets_nothing_of_the_neighbour(databases: Databases, name: str):
    got, neighbours = await caught(databases, name)
    assert neighbours.canary not in got


async def test_a_good_token_reads_its_own_and_nothing_else(databases: Databases):
    n = await Neighbours(databases).open()
    mine = await n.sees(n.token(n.a))
    theirs = await n.sees(n.token(n.b))
    assert "mine" in mine
    assert n.canary not in mine
    assert n.canary in theirs
    assert "mine" not in theirs
    assert theirs.count(n.canary) == 5, "the memory, the leaf, and a collection's header, chunk and vector"
    await n.close()


REFUSED = (
    "create table pw.x (a int)",
    "create table leaf.x (a int)",
    "create schema x",
    "create temp table x (a int)",
    "create function pw.x() returns int language sql as 'select 1'",
    "create function pg_temp.x() returns int language sql as 'select 1'",
    "do $$ begin null; end $$",
    "create extension vector",
    "create function vectors.x() returns int language sql as 'select 1'",
    "alter extension vector set schema pw",
    "drop extension vector",
    "truncate pw.memory",
    "truncate {leaf}",
    "alter table pw.memory disable row level security",
    "alter table pw.memory no force row level security",
    "alter table {leaf} disable row level security",
    "drop policy tenant on pw.memory",
    "create policy mine on pw.memory using (true)",
    "drop table pw.memory",
    "create or replace view pw.tenant as select 'x'::text as id",
    "set role pw_data_owner",
    "set session authorization pw_data_owner",
    "set role pw_superuser",
    "alter role pw_app bypassrls",
    "alter role pw_app superuser",
    "copy pw.memory to program 'cat'",
    "copy pw.memory from '/etc/passwd'",
    "select pg_read_file('/etc/passwd')",
    "select pg_ls_dir('/')",
    "select lo_creat(-1)",
    "select lo_from_bytea(0, 'x')",
    "select lo_import('/etc/passwd')",
    "select pg_notify('a', 'b')",
    "select pg_terminate_backend(1)",
    "select pg_cancel_backend(1)",
    "select pg_advisory_lock(1)",
    "select pg_relation_size('pw.memory')",
    "select pg_total_relation_size('{leaf}')",
    "select reltuples from pg_class where relname = 'memory'",
    "select relpages from pg_class",
    "select * from pg_locks",
    "select * from pg_stats",
    "select * from pg_stat_user_tables",
    "select * from pg_stat_activity",
    "select pg_stat_get_live_tuples('pw.memory'::regclass)",
    "select * from pg_authid",
    "select * from pg_statistic",
    "select query_to_xml('select 1', true, true, '')",
    "select pg_logical_emit_message(false, 'a', 'b')",
    "select rolpassword from pg_authid",
    "table migration.schema_migration",
    "alter system set log_statement = 'all'",
    "set log_statement = 'all'",
    "set log_min_messages = debug5",
    "set track_activities = on",
    "set temp_file_limit = -1",
    "load 'auto_explain'",
    "vacuum full pw.memory",
    "lock table pw.token_key in access share mode",
)


async def test_what_the_role_may_not_do(databases: Databases):
    n = await Neighbours(databases).open()
    done = []
    for statement in REFUSED:
        try:
            async with n.hostile.transaction():
                await n.hostile.execute(statement.replace("{leaf}", n.leaf))
        except asyncpg.PostgresError:
            continue
        done.append(statement)
    assert done == []
    await n.hostile.execute("grant select on pw.memory to public")  # a warning: it has no right to hand on
    public = "select count(*) from information_schema.table_privileges where grantee = 'PUBLIC' and table_schema = 'pw'"
    assert await n.hostile.fetchval(public) == 0
    await n.close()


async def test_row_security_off_is_an_error_and_no_way_around(databases: Databases):
    n = await Neighbours(databases).open()
    await n.hostile.execute("set row_security = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await n.hostile.fetch("select * from pw.memory")
    await n.close()


async def test_a_taken_key_and_a_free_one_are_refused_alike(databases: Databases):
    """Whether B has a row under a name cannot be probed through unique keys."""
    n = await Neighbours(databases).open()
    await n.sees(n.token(n.a))
    errors = []
    for key in ("secret", "nothing-here"):
        with pytest.raises(asyncpg.PostgresError) as caught_error:
            await n.hostile.execute(
                "insert into pw.memory (tenant, subject, key, value, classification, trust)"
                f" values ('{n.b}', '{n.subject}', '{key}', '', 1, 1)"
            )
        errors.append((caught_error.value.sqlstate, str(caught_error.value), caught_error.value.detail))
    assert errors[0] == errors[1]
    await n.close()


async def test_the_check_runs_once_per_statement(databases: Databases):
    n = await Neighbours(databases).open()
    await n.sees(n.token(n.a))
    plan = await n.hostile.fetch("explain (verbose, costs off) select * from pw.memory where subject = 'x'")
    text = "\n".join(row[0] for row in plan)
    assert text.count("token_key") == 1
    assert "InitPlan" in text
    assert "Index Cond: ((memory.tenant = (InitPlan" in text
    await n.close()
