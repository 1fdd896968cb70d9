"""Keys that turn under load, an issuer that is killed, databases that stop, hang and come back."""

import asyncio
import contextlib
import signal
import sys
import time

import asyncpg
import psutil
import pytest
from tests.issuer_fixture import REGION, Worker, deployment, eventually

from partywall.control.database import Database
from partywall.control.keyring import Keyring
from partywall.decision.facts import State
from partywall.errors import Unauthenticated, Unavailable
from partywall.gateway.authenticate import Authenticator
from partywall.settings import IssuerSettings
from partywall.wire import operations as ops

SERVE = """
import asyncio, signal, sys
from pathlib import Path
from partywall.control.issuer import serve
from partywall.settings import Home, load
from partywall.telemetry.log import Log

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    home = Home(Path(sys.argv[1]))
    await serve(home, load(home), Log("issuer"), stop)

asyncio.run(main())
"""


class Process:
    """The issuer as a process of its own."""

    def __init__(self, home):
        self.home = home
        self._process = None

    async def start(self):
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVE, str(self.home.path), stderr=asyncio.subprocess.DEVNULL
        )
        worker = Worker(self.home)
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(Unavailable):
                    await worker.enrol()
                    return worker
                await asyncio.sleep(0.05)

    async def end(self, number):
        self._process.send_signal(number)
        return await self._process.wait()


async def test_keys_turn_under_load_and_no_token_is_ever_refused(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        keyring = Keyring(house.home.issuer, access_token_s=900.0, rotation_s=1.5, overlap_s=0.6)
        directory = await house.directory(poll_s=0.1)
        database = Database(house.databases.control_owner, application="test")
        await database.open()
        authenticator = Authenticator(directory, region=REGION, clock=time.time)
        tokens, kids, known_before_use = [], set(), []

        async def rotate():
            while True:
                await keyring.turn(database, time.time())
                await asyncio.sleep(0.05)

        rotating = asyncio.create_task(rotate())
        try:
            ends_at_s = time.monotonic() + 5.0
            from partywall.control.tokens import sign_token

            sample = (await house.worker.perform(admin, ops.TokenCreate(subject=admin.id)))["access_token"]
            claims = _claims(sample)
            while time.monotonic() < ends_at_s:
                await asyncio.sleep(0.05)
                key = keyring.signing_key(time.time())
                if key.kid not in kids:
                    known_before_use.append(key.kid in directory.verification_keys())
                kids.add(key.kid)
                tokens.append(sign_token(claims | {"iat": int(time.time())}, key))
                authenticator.authenticate(tokens[-1])
        finally:
            rotating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await rotating
            await database.close()
        assert len(kids) >= 3
        assert all(known_before_use)
        await directory.refresh()
        fresh = Authenticator(directory, region=REGION, clock=time.time)
        for token in tokens:  # also those of the first key: retired ones stay published while their tokens live
            fresh.authenticate(token)
        assert len(list(house.home.issuer.glob("token-*.key"))) <= 2


def _claims(token):
    import base64
    import json

    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


async def test_a_new_key_waits_until_workers_know_it_and_a_dead_one_is_forgotten(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        database = Database(house.databases.control_owner, application="test")
        await database.open()
        try:
            now_s = time.time()
            keyring = Keyring(house.home.issuer, access_token_s=900.0, rotation_s=86_400.0)
            await keyring.turn(database, now_s)
            first = keyring.signing_key(now_s)
            at = now_s + 86_400.0 - 5
            await keyring.turn(database, at)  # publishes the next
            assert keyring.signing_key(at).kid == first.kid
            assert keyring.signing_key(at + 9.9).kid == first.kid
            second = keyring.signing_key(at + 10)
            assert second.kid != first.kid
            await keyring.turn(database, at + 10)  # the first is retired, its private half gone
            assert not (house.home.issuer / f"token-{first.kid}.key").exists()
            rows = {row["id"]: row["not_after_s"] for row in await published(house)}
            assert rows == {first.kid: at + 10 + 960, second.kid: None}
            await keyring.turn(database, at + 10 + 961)
            assert [row["id"] for row in await published(house)] == [second.kid]
            (house.home.issuer / f"token-{second.kid}.key").unlink()  # lost: nobody can sign until the next is known
            later = at + 2_000
            lost = Keyring(house.home.issuer, access_token_s=900.0, rotation_s=86_400.0)
            await lost.turn(database, later)
            with pytest.raises(Unavailable):
                lost.signing_key(later)
            assert lost.signing_key(later + 10).kid not in {first.kid, second.kid}
        finally:
            await database.close()


async def published(house):
    connection = await asyncpg.connect(house.databases.control_owner)
    try:
        return await connection.fetch("select * from control.verification_key")
    finally:
        await connection.close()


async def test_an_issuer_killed_at_work_leaves_all_of_a_change_or_nothing(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
    process = Process(house.home)
    grants = [ops.GrantSpec(action="memory", resource="memory/self")]
    acknowledged = set()
    for attempt in range(4):
        worker = await process.start()

        async def make(n, worker=worker, attempt=attempt):
            slug = f"s{attempt}-{n}"
            await worker.perform(admin, ops.SubjectCreate(kind="agent", slug=slug, grants=grants))
            acknowledged.add(slug)

        making = [asyncio.create_task(make(n)) for n in range(40)]
        await asyncio.sleep(0.03 + 0.02 * attempt)
        assert await process.end(signal.SIGKILL) == -signal.SIGKILL
        results = await asyncio.gather(*making, return_exceptions=True)
        assert all(result is None or isinstance(result, Unavailable) for result in results)
        await worker.close()
    worker = await process.start()  # over the socket that the dead one left
    subjects = (await worker.perform(admin, ops.SubjectList()))["subjects"]
    await worker.close()
    assert await process.end(signal.SIGTERM) == 0
    made = {subject["slug"]: subject for subject in subjects if subject["kind"] == "agent"}
    assert acknowledged <= set(made)
    assert all(len(subject["grants"]) == 1 for subject in made.values())


async def test_a_permit_for_the_boot_before_is_refused(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        boot = house.worker.enrolled.boot
    async with deployment(short_folder, issuer_databases) as house:
        with pytest.raises(Unauthenticated):
            await house.worker.perform(operator, ops.TenantList(), audience=f"issuer/{boot}")
        assert (await house.worker.perform(operator, ops.TenantList())) == {"tenants": [], "next_cursor": None}


async def test_a_stopped_database_is_unavailable_and_comes_back(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        directory = await house.directory(poll_s=0.05)
        loaded = directory.revision
        issuer_databases.stop("control")
        try:
            await asyncio.sleep(0.2)
            with pytest.raises(Unavailable) as refusal:
                await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
            assert refusal.value.public == "the control database is out of reach"
            assert 0.1 < directory.age_s() < 10
            assert directory.tenant(admin.tenant) is not None
        finally:
            issuer_databases.start("control")
        await eventually(lambda: directory.age_s() < 0.1, 5.0)
        assert directory.revision == loaded
        assert (await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a")))["slug"] == "a"
        await eventually(lambda: any(s.slug == "a" for s in directory.tenant(admin.tenant).subjects.values()))


async def test_a_hung_database_ages_the_directory_and_blocks_nothing(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        directory = await house.directory(poll_s=0.05)
        server = psutil.Process(issuer_databases.servers["control"].pid)
        hung = [server, *server.children(recursive=True)]
        for process in hung:
            process.suspend()
        try:
            longest_s, started_at_s = 0.0, time.monotonic()
            asking = asyncio.create_task(house.worker.perform(admin, ops.SubjectList()))
            while time.monotonic() < started_at_s + 5.0:
                before_s = time.monotonic()
                await asyncio.sleep(0.005)
                longest_s = max(longest_s, time.monotonic() - before_s)
            with pytest.raises(Unavailable):
                await asking
            assert longest_s < 1.0
            assert directory.age_s() > 4.5
            assert directory.tenant(admin.tenant).state is State.ACTIVE
        finally:
            for process in hung:
                process.resume()
        await eventually(lambda: directory.age_s() < 0.2, 8.0)

        for _ in range(20):
            try:
                listed = await house.worker.perform(admin, ops.SubjectList())
                break
            except Unavailable:
                await asyncio.sleep(0.2)
        assert listed["subjects"]


async def test_the_issuer_waits_for_its_databases(short_folder, issuer_databases):
    issuer_databases.stop("data")
    started = False
    try:
        starting = asyncio.create_task(_start(short_folder, issuer_databases))
        await asyncio.sleep(0.5)
        assert not starting.done()
    finally:
        issuer_databases.start("data")
        started = True
    assert started
    house = await starting
    assert house.worker.enrolled.boot
    await house.stop()


async def _start(folder, databases):
    from tests.issuer_fixture import Deployment

    return await Deployment(folder, databases).start()


async def test_the_data_database_away_ends_enrolment_and_nothing_else(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        issuer_databases.stop("data")
        try:
            with pytest.raises(Unavailable):
                await Worker(house.home).enrol()
            assert (await house.worker.perform(operator, ops.TenantList())) == {"tenants": [], "next_cursor": None}
        finally:
            issuer_databases.start("data")
        await Worker(house.home).enrol()


async def test_a_restored_database_is_loaded_whole(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        directory = await house.directory(poll_s=60)
        connection = await asyncpg.connect(house.databases.control_owner)
        try:  # what an older copy looks like: the tenant's newest state is gone, and so is the number
            await connection.execute("update control.tenant set state = 'suspended', revision = 1")
            await connection.execute("update control.revision set n = 1")
        finally:
            await connection.close()
        changes = []
        directory.on_change(lambda: changes.append(directory.revision))
        await directory.refresh()
        assert changes == [1]
        assert directory.tenant(admin.tenant).state is State.SUSPENDED


async def test_expired_rows_are_swept(short_folder, issuer_databases):
    from partywall.control.upkeep import sweep

    async with deployment(short_folder, issuer_databases, issuer=IssuerSettings(access_token_s=60.0)) as house:
        operator, _ = await house.first_operator()
        admin = await house.tenant(operator, "acme")
        token = await house.worker.perform(admin, ops.TokenCreate(subject=admin.id))
        await house.worker.perform(admin, ops.Revoke(credential=token["id"]))
        database = Database(house.databases.control_owner, application="test")
        await database.open()
        try:
            for after_s, left in ((0.0, 1), (200.0, 0)):
                await sweep(house.home, database, time.time() + after_s)
                async with database.transaction() as connection:
                    for table in ("access_token", "revocation"):
                        assert await connection.fetchval(f"select count(*) from control.{table}") == left
        finally:
            await database.close()
