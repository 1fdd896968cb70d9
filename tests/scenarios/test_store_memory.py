"""Memory and leaves over the real database."""

import asyncio
import contextlib
import os

import asyncpg
import pytest
from tests.postgres_fixture import Databases
from tests.store_attacks import NOTES, Neighbours, new_id

from partywall.decision.labels import Classification, Label, Trust
from partywall.errors import Bug, Conflict, LimitExceeded, Malformed, Unavailable
from partywall.store import guard, memory
from partywall.store.leaf import create_leaf, drop_leaf
from partywall.store.memory import StoredMemories
from partywall.store.pool import TenantPool
from partywall.store.tenant_token import TokenKey, forget_key, register_key


@pytest.fixture
async def n(databases: Databases):
    opened = await Neighbours(databases).open()
    opened.pool = TenantPool(databases.app, lambda: opened.key, limit=4)
    yield opened
    await opened.close()


async def test_entries_keep_their_labels_and_stay_with_their_subject(n: Neighbours):
    memories = StoredMemories(n.pool)
    mine = memories.of(n.a, new_id("agt"), Classification.RESTRICTED)
    other = memories.of(n.a, new_id("agt"), Classification.RESTRICTED)
    label = Label(tenant=n.a, classification=Classification.CONFIDENTIAL, trust=Trust.TRUSTED)
    await mine.put("plan", b'{"a":1}', label)
    await mine.put("also", b"2", Label(tenant=n.a))
    found = await mine.get("plan")
    assert found is not None
    assert (found.value, found.label) == (b'{"a":1}', label)
    assert [(entry.key, entry.value) for entry in await mine.list()] == [("also", b""), ("plan", b"")]
    assert await other.get("plan") is None
    assert await other.list() == []
    assert await other.delete("plan") is False
    await mine.put("plan", b"3", Label(tenant=n.a))
    found = await mine.get("plan")
    assert found is not None
    assert (found.value, found.label) == (b"3", Label(tenant=n.a))
    assert await mine.delete("plan") is True
    assert await mine.get("plan") is None


async def test_what_is_above_the_readers_clearance_does_not_exist_for_it(n: Neighbours):
    memories, subject = StoredMemories(n.pool), new_id("agt")
    high, low = (memories.of(n.a, subject, level) for level in (Classification.RESTRICTED, Classification.INTERNAL))
    await high.put("k", b"1", Label(tenant=n.a, classification=Classification.RESTRICTED))
    assert await low.get("k") is None
    assert await low.list() == []
    assert await low.delete("k") is False
    with pytest.raises(Conflict):
        await low.put("k", b"2", Label(tenant=n.a))
    assert (await high.get("k")).value == b"1"  # type: ignore[union-attr]


async def test_a_memory_is_bounded_and_still_replaces_at_its_bound(n: Neighbours, monkeypatch: pytest.MonkeyPatch):
    mine = StoredMemories(n.pool).of(n.a, new_id("agt"), Classification.RESTRICTED)
    async with n.pool.tenant(n.a) as connection:
        await connection.fetch(
            "insert into pw.memory (tenant, subject, key, value, classification, trust)"
            " select (select id from pw.tenant), $1, 'k' || i, '', 1, 0 from generate_series(1, $2::int) i",
            mine._subject, memory.ENTRIES_LIMIT,
        )  # fmt: skip
    with pytest.raises(LimitExceeded):
        await mine.put("one-more", b"1", Label(tenant=n.a))
    await mine.put("k7", b"1", Label(tenant=n.a))
    assert len(await mine.list()) == memory.ENTRIES_LIMIT
    await mine.delete("k8")
    await mine.put("one-more", b"1", Label(tenant=n.a))


async def test_values_that_the_database_cannot_hold_are_the_callers_fault(n: Neighbours):
    mine = StoredMemories(n.pool).of(n.a, new_id("agt"), Classification.RESTRICTED)
    with pytest.raises(Malformed):
        await mine.put("nul\0", b"1", Label(tenant=n.a))
    with pytest.raises(Conflict):
        await mine.put("", b"1", Label(tenant=n.a))


async def test_a_leaf_is_closed_from_its_first_moment(n: Neighbours):
    owner = await asyncpg.connect(n.databases.data_owner)
    leaf_id = new_id("col")
    leaf = await create_leaf(owner, n.a, leaf_id, NOTES)
    hostile = await asyncpg.connect(n.databases.app)
    assert await guard.unguarded_relations(hostile) == []
    async with n.pool.tenant(n.a) as connection:
        await connection.fetch(f"insert into {leaf} (note) values ('x')")
    assert await owner.fetch(f"select * from {leaf}") == [], "forced: not even the owner"
    async with n.pool.tenant(n.b) as connection:
        assert await connection.fetch(f"select * from {leaf}") == []
    with pytest.raises(Bug):
        async with n.pool.tenant(n.b) as connection:
            await connection.fetch(f"insert into {leaf} (note) values ('x')")
    await drop_leaf(owner, leaf_id)
    for tenant, leaf_id in (("ten_x", new_id("col")), (n.a, "x; drop table pw.memory"), (n.a, "")):
        with pytest.raises(Bug):
            await create_leaf(owner, tenant, leaf_id, NOTES)
    await hostile.close()
    await owner.close()


async def test_a_table_without_forced_row_security_is_found(databases: Databases):
    owner, app = await asyncpg.connect(databases.data_owner), await asyncpg.connect(databases.app)
    async with app.transaction():
        await guard.check_gateway_role(app)
    for sql in (
        "create table pw.hole (tenant text); grant select on pw.hole to pw_app",
        (
            "create table pw.hole (tenant text); alter table pw.hole enable row level security;"
            "create policy p on pw.hole using (tenant = (select id from pw.tenant)); grant select on pw.hole to pw_app"
        ),
        (
            "create table pw.hole (tenant text); alter table pw.hole enable row level security;"
            "alter table pw.hole force row level security; create policy p on pw.hole using (true);"
            "grant select on pw.hole to pw_app"
        ),
        (
            "create table pw.hole (tenant text); alter table pw.hole enable row level security;"
            "alter table pw.hole force row level security; grant insert on pw.hole to pw_app;"
            "create policy p on pw.hole for insert with check (tenant = current_setting('app.tenant'))"
        ),
        "create table pw.hole (tenant text); grant select (tenant) on pw.hole to pw_app",
        "create view pw.hole as select * from pw.memory; grant select on pw.hole to pw_app",
        "create materialized view pw.hole as select * from pw.memory; grant select on pw.hole to pw_app",
    ):
        await owner.execute(sql)
        assert await guard.unguarded_relations(app) == ["pw.hole"], sql
        with pytest.raises(Unavailable, match="not guarded"):
            await guard.check_gateway_role(app)
        kind = "materialized view" if "materialized" in sql else "view" if "create view" in sql else "table"
        await owner.execute(f"drop {kind} pw.hole")
    assert await guard.unguarded_relations(app) == []
    await owner.close()
    await app.close()


async def test_keys_are_forgotten_and_ended_keys_are_pruned(n: Neighbours):
    owner = await asyncpg.connect(n.databases.data_owner)
    memories = StoredMemories(n.pool)
    mine = memories.of(n.a, n.subject, Classification.RESTRICTED)
    assert await mine.get("secret") is not None
    await forget_key(owner, n.key.id)
    assert await mine.get("secret") is None, "its token is worth nothing at once"
    now_s = n.key.expires_at_s - 600
    await register_key(owner, "gone" + os.urandom(4).hex(), os.urandom(32), now_s - 1)
    n.key = TokenKey(os.urandom(8).hex(), os.urandom(32), now_s + 600)
    await register_key(owner, n.key.id, n.key.key, n.key.expires_at_s)
    assert await mine.get("secret") is not None, "a new key is used at once"
    assert await owner.fetchval("select count(*) from pw.token_key where not_after < clock_timestamp()") == 0
    with pytest.raises(Bug):
        await register_key(owner, "x", b"short", now_s)
    await owner.close()


async def test_an_ended_key_in_the_table_is_worth_nothing(n: Neighbours):
    owner = await asyncpg.connect(n.databases.data_owner)
    await owner.execute("update pw.token_key set not_after = now() - interval '1 second' where kid = $1", n.key.id)
    assert "mine" not in await n.sees(n.token(n.a))
    await owner.close()


async def test_nothing_of_a_session_outlives_its_transaction(n: Neighbours):
    n.pool = TenantPool(n.databases.app, lambda: n.key, limit=1)
    async with n.pool.tenant(n.b) as connection:
        pid = await connection.fetchval("select pg_backend_pid()")
        await connection.fetch("declare kept cursor with hold for select * from pw.memory")
        await connection.fetch("set session work_mem = '1MB'")
        await connection.fetch("listen news")
        await connection.fetch("set session app.left_over = 'x'")
    async with n.pool.tenant(n.a) as connection:
        assert await connection.fetchval("select pg_backend_pid()") == pid
        assert await connection.fetch("select name from pg_cursors where name <> ''") == []
        assert await connection.fetch("select pg_listening_channels()") == []
        assert await connection.fetchval("show work_mem") == "4MB"
        assert await connection.fetchval("select current_setting('app.left_over', true)") in {None, ""}
    raw = n.pool._idle[-1].raw
    assert await raw.fetchval("select current_setting('pw.token', true)") == ""
    assert await raw.fetch("select * from pw.memory") == []


async def test_only_single_statements_pass(n: Neighbours):
    with pytest.raises(Bug):
        async with n.pool.tenant(n.a) as connection:
            await connection.fetch("select 1; select 2")
    with pytest.raises(Bug):
        async with n.pool.tenant(n.a) as connection:
            await connection.fetch("commit; select 1")


async def test_a_hidden_failure_is_no_success(n: Neighbours):
    mine = StoredMemories(n.pool).of(n.a, new_id("agt"), Classification.RESTRICTED)

    async def goes_on() -> None:
        async with n.pool.tenant(n.a) as connection:
            await connection.fetch(
                "insert into pw.memory values ((select id from pw.tenant), $1, 'k', '', 1, 0)", mine._subject
            )
            with contextlib.suppress(Bug):
                await connection.fetch("select no_such_column")

    with pytest.raises(Bug, match="went on"):
        await goes_on()
    assert await mine.list() == []


async def test_concurrent_writers_of_one_key_leave_one_value(n: Neighbours):
    mine = StoredMemories(n.pool).of(n.a, new_id("agt"), Classification.RESTRICTED)
    await asyncio.gather(*(mine.put("k", str(number).encode(), Label(tenant=n.a)) for number in range(20)))
    assert len(await mine.list()) == 1
