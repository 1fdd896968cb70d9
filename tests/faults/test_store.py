"""The data database hung, killed, full of callers, or cut off mid-way: refused in time, nothing bleeds, it recovers."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import asyncpg
import pytest
from knockouts.store import StickyPool
from tests.postgres_fixture import Databases, make_databases, own, postgres_ids
from tests.store_attacks import Neighbours

from partywall.decision.labels import Classification, Label
from partywall.errors import Bug, PartywallError, Unavailable
from partywall.settings import Home, Settings
from partywall.store import cluster
from partywall.store.memory import StoredMemories
from partywall.store.migrations import Migration, apply
from partywall.store.pool import TenantPool
from partywall.store.provision import MARK, provision
from partywall.telemetry.log import Log


@pytest.fixture(scope="module")
def mine() -> Iterator[Databases]:
    """A data database of this module's own: it is stopped and killed here."""
    made = make_databases(("data",))
    yield made
    made.close()


@pytest.fixture
async def n(mine: Databases):
    opened = await Neighbours(mine).open()
    opened.pool = TenantPool(mine.app, lambda: opened.key, limit=4, timeout_s=1.0)
    yield opened
    await opened.close()


async def storm(n: Neighbours, pool: TenantPool, *, requests: int = 1_000) -> tuple[int, int]:
    """RLS-4: interleaved requests of two tenants, a fifth of them cancelled somewhere on their way."""
    memories = StoredMemories(pool)
    wrong = answered = 0
    chance = random.Random(7)
    for tenant in (n.a, n.b):
        await memories.of(tenant, n.subject, Classification.RESTRICTED).put(
            "whose", f'"{tenant}"'.encode(), Label(tenant=tenant)
        )

    async def ask(tenant: str) -> None:
        nonlocal wrong, answered
        found = await memories.of(tenant, n.subject, Classification.RESTRICTED).get("whose")
        answered += 1
        if found is None or found.value != f'"{tenant}"'.encode():
            wrong += 1

    async def one(number: int) -> None:
        task = asyncio.ensure_future(ask(n.a if number % 2 else n.b))
        if chance.random() < 0.2:
            await asyncio.sleep(chance.random() * 0.004)
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    width = asyncio.Semaphore(40)

    async def bounded(number: int) -> None:
        async with width:
            await one(number)

    await asyncio.gather(*(bounded(number) for number in range(requests)))
    return wrong, answered


async def test_a_thousand_interleaved_requests_with_cancellations_bleed_nothing(n: Neighbours):
    n.pool = TenantPool(n.databases.app, lambda: n.key, limit=4)
    wrong, answered = await storm(n, n.pool)
    assert wrong == 0
    assert answered > 700
    assert not n.pool._lent
    assert len(n.pool._idle) <= 4


async def test_the_storm_would_show_a_pool_that_bleeds(n: Neighbours):
    pool = StickyPool(n.databases.app, lambda: n.key, limit=4)
    try:
        wrong, _ = await storm(n, pool, requests=100)
    except PartywallError:
        wrong = 1
    await pool.close()
    assert wrong > 0


async def test_a_cancelled_caller_leaves_no_connection_behind(n: Neighbours):
    async def slow() -> None:
        async with n.pool.tenant(n.a) as connection:
            await connection.fetch("select pg_sleep(10)")

    task = asyncio.ensure_future(slow())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not n.pool._lent
    assert not n.pool._idle
    await n.pool.ping()


async def test_a_statement_that_takes_too_long_is_cut(n: Neighbours):
    began = time.monotonic()
    with pytest.raises(Unavailable):
        async with n.pool.tenant(n.a) as connection:
            await connection.fetch("select pg_sleep(10)")
    assert time.monotonic() - began < 3
    await n.pool.ping()


async def test_more_callers_than_connections_wait_their_turn_and_then_are_refused(n: Neighbours):
    n.pool = TenantPool(n.databases.app, lambda: n.key, limit=1, timeout_s=0.5)
    async with n.pool.tenant(n.a):
        with pytest.raises(Unavailable, match="busy"):
            async with n.pool.tenant(n.b):
                pass
    await n.pool.ping()


async def test_a_hung_database_is_unavailable_in_time_and_used_again_when_it_wakes(n: Neighbours):
    memory = StoredMemories(n.pool).of(n.a, n.subject, Classification.RESTRICTED)
    assert await memory.get("secret") is not None
    server = n.databases.servers["data"].pid
    stopped = [server, n.pool._idle[-1].raw.get_server_pid()]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await memory.get("secret")
            assert time.monotonic() - began < 4
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert await until(lambda: memory.get("secret")) is not None


async def test_a_killed_database_loses_nothing_acknowledged_and_is_used_again(n: Neighbours):
    memory = StoredMemories(n.pool).of(n.a, n.subject, Classification.RESTRICTED)
    await memory.put("kept", b"1", Label(tenant=n.a))
    n.databases.stop("data", signal.SIGKILL)
    with pytest.raises(Unavailable):
        await memory.get("kept")
    with pytest.raises(Unavailable):
        await n.pool.ping()
    await asyncio.to_thread(wait_until_free, n.databases)
    await asyncio.to_thread(n.databases.start, "data")
    found = await until(lambda: memory.get("kept"))
    assert found is not None
    assert found.value == b"1"


async def test_a_restart_between_two_requests_is_not_noticed(n: Neighbours):
    memory = StoredMemories(n.pool).of(n.a, n.subject, Classification.RESTRICTED)
    await memory.put("kept", b"1", Label(tenant=n.a))
    await asyncio.to_thread(n.databases.stop, "data")
    await asyncio.to_thread(n.databases.start, "data")
    assert await memory.get("kept") is not None


async def test_a_backend_that_is_killed_costs_one_request_at_most(n: Neighbours):
    memory = StoredMemories(n.pool).of(n.a, n.subject, Classification.RESTRICTED)
    await memory.get("secret")
    n.databases.as_superuser("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'pw_app'")
    assert await memory.get("secret") is not None


async def test_without_a_live_key_nobody_is_served(n: Neighbours):
    n.key = type(n.key)(n.key.id, n.key.key, time.time() - 1)
    with pytest.raises(Unavailable):
        async with n.pool.tenant(n.a):
            pass
    n.key = type(n.key)(n.key.id, n.key.key, time.time() + 60)
    with pytest.raises(Bug):
        async with n.pool.tenant("ten_'; drop table pw.memory; --"):  # type: ignore[arg-type]
            pass


async def test_a_migration_that_fails_leaves_nothing_and_the_next_run_goes_on(n: Neighbours):
    owner = await asyncpg.connect(n.databases.data_owner)
    good = Migration(9001, "9001_good.sql", "a" * 64, "create table pw.good (a int)")
    bad = Migration(9002, "9002_bad.sql", "b" * 64, "create table pw.half (a int); select 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply(owner, [good, bad])
    assert await owner.fetchval("select to_regclass('pw.good') is not null and to_regclass('pw.half') is null")
    mended = Migration(9002, "9002_bad.sql", "c" * 64, "create table pw.half (a int)")
    assert await apply(owner, [good, mended]) == ["9002_bad.sql"]
    with pytest.raises(Unavailable, match="changed"):
        await apply(owner, [good, bad])
    await owner.execute("drop table pw.good, pw.half; delete from migration.schema_migration where number > 9000")
    await owner.close()


async def test_migrators_at_the_same_time_apply_each_file_once(n: Neighbours):
    files = [Migration(9001, "9001_slow.sql", "a" * 64, "select pg_sleep(0.1); create table pw.once (a int)")]
    owners = [await asyncpg.connect(n.databases.data_owner) for _ in range(4)]
    done = await asyncio.gather(*(apply(owner, files) for owner in owners))
    assert sorted(done) == [[], [], [], ["9001_slow.sql"]]
    await owners[0].execute("drop table pw.once; delete from migration.schema_migration where number > 9000")
    for owner in owners:
        await owner.close()


class Killed(BaseException):
    """As if the process had ended here."""


async def again(home: Home) -> None:
    await provision(home, Settings(), Log("test", StringIO()), own=own, uid_of=lambda _process: postgres_ids())


@pytest.mark.parametrize("step", range(8))
async def test_provisioning_killed_at_any_step_is_mended_by_the_next_run(step: int, monkeypatch: pytest.MonkeyPatch):
    """Each run of a program, in turn, is cut short half-way; then provisioning is simply run again."""
    made = Databases()
    real = cluster.run
    count = 0

    async def cut(argv, instance, spawn, *, given=""):  # type: ignore[no-untyped-def]
        nonlocal count
        count += 1
        if count - 1 == step:
            if Path(argv[0]).name == "initdb":
                (made.home.postgres_data(instance) / "PG_VERSION").write_text("18\n")
                (made.home.postgres_data(instance) / "base").mkdir()
            elif given:
                await real(argv, instance, spawn, given=given[: len(given) // 2].rpartition(";\n\n")[0] + ";\n\n")
            raise Killed
        return await real(argv, instance, spawn, given=given)

    monkeypatch.setattr(cluster, "run", cut)
    try:
        with pytest.raises(Killed):
            await asyncio.wait_for(again(made.home), 60)
    finally:
        monkeypatch.undo()
    await again(made.home)
    await asyncio.to_thread(made.start, "data")
    connection = await asyncpg.connect(made.app)
    assert await connection.fetchval("select current_user::text") == "pw_app"
    await connection.close()
    await asyncio.to_thread(made.close)


async def test_an_empty_lock_file_of_a_killed_server_stops_no_later_start():
    """Postgres makes `postmaster.pid` and then fills it; killed in between, it would refuse to start for ever."""
    made = await asyncio.to_thread(Databases)
    await again(made.home)
    data = made.home.postgres_data("data")
    (data / MARK).unlink()
    lock = data / "postmaster.pid"
    lock.touch()
    os.chown(lock, data.stat().st_uid, data.stat().st_gid)
    await again(made.home)
    assert not lock.exists()
    lock.touch()
    cluster.drop_empty_lock(made.home, "data", older_than_s=60)
    assert lock.exists()
    cluster.drop_empty_lock(made.home, "data")
    assert not lock.exists()
    lock.write_text("1\n")
    cluster.drop_empty_lock(made.home, "data")
    assert lock.exists()
    lock.unlink()
    await asyncio.to_thread(made.close)


async def test_a_lost_secret_is_made_anew_and_the_old_one_is_void(mine: Databases):
    made = await asyncio.to_thread(Databases)
    await again(made.home)
    old = made.app
    (made.home.secrets("gateway") / "data.dsn").unlink()
    await again(made.home)
    assert made.app != old
    await asyncio.to_thread(made.start, "data")
    await (await asyncpg.connect(made.app)).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(old)
    await asyncio.to_thread(made.close)


async def test_what_is_no_database_is_not_touched():
    made = Databases()
    folder = made.home.postgres_data("data")
    folder.mkdir(parents=True)
    (folder / "precious").write_text("mine")
    with pytest.raises(Unavailable, match="no database"):
        await again(made.home)
    assert (folder / "precious").read_text() == "mine"
    await asyncio.to_thread(made.close)


def wait_until_free(databases: Databases) -> None:
    """After SIGKILL the children of the server end by themselves, a moment later."""
    deadline = time.monotonic() + 20
    pattern = str(databases.home.postgres_data("data"))
    while time.monotonic() < deadline:
        users = [path for path in Path("/proc").glob("[0-9]*/cwd") if readlink(path) == pattern]
        if not users:
            return
        time.sleep(0.05)


def readlink(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


async def until(question, *, timeout_s: float = 15.0):  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await question()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
