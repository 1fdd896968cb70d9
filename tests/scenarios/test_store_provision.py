"""Scenarios of provisioning: what a fresh home has, and that doing it again changes nothing."""

import asyncio

import asyncpg
import pytest
from tests.postgres_fixture import Databases, make_databases

from partywall.store import guard
from partywall.store.migrations import migrate
from partywall.store.provision import MARK


async def test_each_role_connects_with_its_dsn_and_only_to_its_own_database(databases: Databases):
    for dsn, role, database in (
        (databases.control_owner, "pw_control_owner", "control"),
        (databases.directory, "pw_directory", "control"),
        (databases.data_owner, "pw_data_owner", "data"),
        (databases.app, "pw_app", "data"),
    ):
        connection = await asyncpg.connect(dsn)
        row = await connection.fetchrow("select current_user::text as role, current_database()::text as database")
        assert dict(row) == {"role": role, "database": database}
        await connection.close()
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(dsn.replace(f"/{database}?", "/postgres?"))
        with pytest.raises(asyncpg.PostgresError):
            await asyncpg.connect(dsn, password="guess")


async def test_the_gateways_role_passes_the_guard(databases: Databases):
    connection = await asyncpg.connect(databases.app)
    assert await guard.view_sha256(connection) == guard.TENANT_VIEW_SHA256
    await guard.check_gateway_role(connection)
    await connection.close()


async def test_migrating_again_does_nothing(databases: Databases):
    connection = await asyncpg.connect(databases.data_owner)
    assert await migrate(connection, "data") == []
    await connection.close()


def test_a_home_that_was_made_without_pgvector_has_it_after_its_next_start():
    made = make_databases(("data",))
    try:
        made.as_superuser("drop extension vector; drop schema vectors; create table pw.kept (a int)")
        made.stop("data")
        mark = made.home.postgres_data("data") / MARK
        mark.write_text("of an earlier release")
        asyncio.run(made.provision())
        made.start("data")
        asked = "select extname, extnamespace::regnamespace from pg_extension where extname = 'vector'"
        assert made.as_superuser(asked).strip() == "vector|vectors"
        assert made.as_superuser("select has_schema_privilege('pw_app', 'vectors', 'usage')").strip() == "t"
        assert made.as_superuser("select has_schema_privilege('pw_app', 'vectors', 'create')").strip() == "f"
        assert made.as_superuser("select to_regclass('pw.kept')").strip() == "pw.kept"
    finally:
        made.close()
