"""The directory: its role, its region, rows it cannot read, and many tenants of which one changes."""

import asyncio
import secrets
import time

import asyncpg
import pytest
from tests.issuer_fixture import REGION, deployment, new

from partywall.decision.action import ActionType
from partywall.decision.facts import State
from partywall.errors import Unauthenticated
from partywall.gateway.authenticate import Authenticator
from partywall.store.directory import ControlDirectory
from partywall.wire import operations as ops

TENANTS = 2_000


async def owner_executes(house, *statements):
    connection = await asyncpg.connect(house.databases.control_owner)
    try:
        async with connection.transaction():
            for statement, *parameters in statements:
                await connection.execute(statement, *parameters)
    finally:
        await connection.close()


async def test_the_role_reads_what_decisions_need_and_writes_nothing(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases):
        connection = await asyncpg.connect(issuer_databases.directory)
        try:
            tables = await connection.fetch(
                "select c.oid, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
                " where n.nspname = 'control' and c.relkind = 'r'"
            )
            rights = {}
            for row in tables:
                rights[row["relname"]] = {
                    right
                    for right in ("select", "insert", "update", "delete", "truncate", "references", "trigger")
                    if await connection.fetchval("select has_table_privilege($1::oid, $2)", row["oid"], right)
                }
            closed = {"access_token", "bootstrap", "organisation", "session", "policy_draft", "idempotency"}
            closed |= {"identity_provider", "identity_binding", "used_assertion", "authorization_code"}
            closed |= {"refresh_family", "break_glass"}
            assert {name for name, held in rights.items() if not held} == closed
            assert all(held == {"select"} for name, held in rights.items() if name not in closed)
            assert not await connection.fetchval("select has_schema_privilege('control', 'create')")
        finally:
            await connection.close()


async def test_only_this_regions_tenants_and_keys_are_loaded(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, operator_key = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        elsewhere = ControlDirectory(issuer_databases.directory, house.log, region="far")
        await elsewhere.start()
        try:
            assert elsewhere.tenant(admin.tenant) is None
            assert elsewhere.key(admin.credential) is None
            assert elsewhere.key(operator_key["id"]) is not None
            assert elsewhere.verification_keys()
        finally:
            await elsewhere.close()


async def test_rows_of_a_later_release_narrow_and_never_widen(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        grants = [ops.GrantSpec(action="memory", resource="memory/self")]
        create = ops.SubjectCreate(kind="agent", slug="a", grants=grants)
        agent = await house.worker.perform(admin, create)
        key = await house.worker.perform(admin, ops.KeyCreate(subject=agent["id"], scopes=["memory", "tool.call"]))
        await owner_executes(
            house,
            ("update control.revision set n = n + 1",),
            (
                (
                    "insert into control.subject_grant (tenant, subject, action, resource)"
                    " values ($1, $2, 'future.act', 'x/y')"
                ),
                admin.tenant,
                agent["id"],
            ),
            ("update control.api_key set scopes = '{future.act}', revision = 1000000 where id = $1", key["id"]),
            ("alter table control.tenant drop constraint tenant_state_check",),
            ("update control.tenant set state = 'archived', revision = (select n from control.revision)",),
        )
        directory = await house.directory()
        facts = directory.tenant(admin.tenant)
        assert [grant.action for grant in facts.subjects[agent["id"]].grants] == [ActionType.MEMORY]
        assert facts.state is State.SUSPENDED
        assert directory.key(key["id"]).scopes == frozenset()


async def test_a_row_that_cannot_be_loaded_makes_the_facts_old_and_is_retried(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        directory = await house.directory(poll_s=0.02)
        touch = "update control.tenant set revision = (select n from control.revision)"
        await owner_executes(
            house,
            ("alter table control.subject drop constraint subject_clearance_check",),
            ("update control.revision set n = n + 1",),
            ("update control.subject set clearance = 9",),
            (touch,),
        )
        await asyncio.sleep(0.3)
        assert directory.age_s() > 0.2
        await owner_executes(
            house, ("update control.revision set n = n + 1",), ("update control.subject set clearance = 1",), (touch,)
        )
        await asyncio.sleep(0.3)
        assert directory.age_s() < 0.2
        assert directory.tenant(admin.tenant).subjects[admin.id].clearance == 1


async def test_one_change_among_many_tenants_is_one_tenants_work(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        await crowd(house, TENANTS)
        loop_lag = Lag()
        async with loop_lag:
            directory = await house.directory(poll_s=60)
        assert loop_lag.longest_s < 0.5
        assert directory.tenant(admin.tenant) is not None
        before = dict(directory._tenants)
        assert len(before) == TENANTS + 1
        changes = []
        directory.on_change(lambda: changes.append(directory.revision))
        await directory.refresh()
        assert changes == []
        await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
        started_at_s = time.monotonic()
        await directory.refresh()
        assert time.monotonic() - started_at_s < 0.5
        assert len(changes) == 1
        assert [tenant for tenant, facts in directory._tenants.items() if facts is not before[tenant]] == [admin.tenant]


async def crowd(house, count):
    connection = await asyncpg.connect(house.databases.control_owner)
    try:
        organisation = await connection.fetchval("select id from control.organisation limit 1")
        tenants = [new("ten") for _ in range(count)]
        rows = {
            "tenant": [
                (tenant, organisation, f"c{n}", REGION, "pool", "active", 0.0, 1) for n, tenant in enumerate(tenants)
            ],
            "subject": [(new("agt"), tenant, "a", "agent", "active", 1, 0.0) for tenant in tenants],
        }
        end_s = time.time() + 1e6
        rows["api_key"] = [
            (new("key"), row[1], row[0], secrets.token_bytes(32), None, None, 0.0, end_s, None, 1)
            for row in rows["subject"]
        ]
        async with connection.transaction():
            for table, records in rows.items():
                await connection.copy_records_to_table(table, schema_name="control", records=records)
            await connection.execute("update control.revision set n = n + 1")
    finally:
        await connection.close()


class Lag:
    """The longest that the event loop kept others waiting."""

    async def __aenter__(self):
        self.longest_s = 0.0
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()

    async def _watch(self):
        while True:
            before_s = time.monotonic()
            await asyncio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.monotonic() - before_s)


async def test_a_directory_without_a_database_starts_empty_and_denies(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        directory = ControlDirectory(
            "postgresql://pw_directory@/control?host=/nonexistent", house.log, region=REGION, poll_s=0.01
        )
        callers = []
        directory.on_change(lambda: callers.append(1 / 0))
        await directory.start()
        await asyncio.sleep(0.1)
        assert directory.age_s() == float("inf")
        assert directory.revision == -1
        directory._dsn = issuer_databases.directory
        for _ in range(200):
            if directory.revision >= 0:
                break
            await asyncio.sleep(0.01)
        assert directory.age_s() < 1  # a listener's bug stops nothing
        with pytest.raises(Unauthenticated):
            Authenticator(directory, region=REGION, clock=time.time).authenticate("pw_" + "a" * 26 + "_" + "b" * 43)
        await directory.close()
