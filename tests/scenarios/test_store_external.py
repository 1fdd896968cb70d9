"""External databases, given by their owner's DSN: our own server run by others, and the system's if there is one."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import asyncpg
import msgspec
import pytest
from tests.postgres_fixture import Databases, postgres_ids
from tests.store_attacks import ATTACKS, Neighbours

from partywall.errors import Unavailable
from partywall.settings import Home, Settings, StoreSettings
from partywall.store import cluster, guard
from partywall.store.dsn import read_dsn
from partywall.store.migrations import known, migrate
from partywall.store.pool import TenantPool
from partywall.store.provision import provision
from partywall.store.tenant_token import TokenKey
from partywall.telemetry.log import Log

SERVERS = [str(cluster.program("postgres").parent), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
QUIET = "".join(f"alter system set {name} = '{value}';\n" for name, value in guard.QUIET.items())


class Elsewhere(Databases):
    """A server that we did not set up, with its defaults; its superuser is `dba`."""

    def __init__(self, programs: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pw-"))
        self.folder.chmod(0o711)
        self.home = Home(self.folder / "home")
        self.programs = Path(programs)
        ids = postgres_ids()
        self.user = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
        self.data = self.folder / "data"
        self.data.mkdir()
        if ids is not None:
            os.chown(self.data, *ids)
        password = self.folder / "password"
        password.write_text("dba-password\n")
        self.run_program("initdb", "-D", str(self.data), "-U", "dba", "-A", "scram-sha-256", "--pwfile", str(password))
        with self.log("data").open("wb") as log:
            self.server = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), "-k", str(self.data), "-h", ""],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self.user,
            )  # fmt: skip
        for name in ("control", "data"):
            self.file(name).write_text(f"postgresql://acme_{name}:owner-password@/{name}?host={self.data}\n")

    def run_program(self, name: str, *words: str, given: str = "") -> str:
        done = subprocess.run(
            [str(self.programs / name), *words], input=given, capture_output=True, text=True, check=False, cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGPASSWORD": "dba-password"}, timeout=60, **self.user,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout

    def as_superuser(self, sql: str, instance: str = "data") -> str:
        return self.run_program("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.data), "-U", "dba", instance,
                                given=sql)  # fmt: skip

    def file(self, name: str) -> Path:
        return self.folder / f"{name}-owner.dsn"

    @property
    def settings(self) -> Settings:
        files = StoreSettings(control_dsn_file=str(self.file("control")), data_dsn_file=str(self.file("data")))
        return msgspec.structs.replace(Settings(), store=files)

    async def provision(self) -> None:
        await provision(self.home, self.settings, Log("test", StringIO()))

    def log(self, instance: str) -> Path:
        return self.folder / "log"

    def close(self) -> None:
        self.server.send_signal(signal.SIGINT)
        self.server.wait(30)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module", params=SERVERS)
def elsewhere(request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    made = Elsewhere(request.param)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            made.as_superuser("select 1", "postgres")
            break
        except RuntimeError:
            time.sleep(0.05)
    yield made
    made.close()


async def test_an_external_database_is_checked_made_ready_and_holds(elsewhere: Elsewhere):
    """One story, since each step needs the one before."""
    with pytest.raises(Unavailable, match="out of reach"):
        await elsewhere.provision()

    for name in ("control", "data"):
        elsewhere.as_superuser(
            f"create role acme_{name} login createrole superuser password 'owner-password';", "postgres"
        )
        elsewhere.as_superuser(f"create database {name} owner acme_{name}", "postgres")
    with pytest.raises(Unavailable, match="logs what its clients say: set log_min_error_statement"):
        await elsewhere.provision()
    elsewhere.as_superuser(QUIET + "alter system set log_min_messages = fatal; select pg_reload_conf()", "postgres")
    await asyncio.sleep(0.3)

    with pytest.raises(Unavailable, match="no superuser"):
        await elsewhere.provision()
    for name in ("control", "data"):
        elsewhere.as_superuser(f"alter role acme_{name} nosuperuser", "postgres")
    with pytest.raises(Unavailable, match="as a superuser, create extension vector schema vectors"):
        await elsewhere.provision()
    try:
        elsewhere.as_superuser("create extension vector schema vectors")
    except RuntimeError:
        pytest.skip("this server has no pgvector to install")
    await elsewhere.provision()
    before = [elsewhere.dsn(holder, name) for holder in ("issuer", "gateway") for name in ("control", "data")]
    await elsewhere.provision()
    assert before == [elsewhere.dsn(holder, name) for holder in ("issuer", "gateway") for name in ("control", "data")]

    for name in ("control", "data"):
        owner = await asyncpg.connect(elsewhere.dsn("issuer", name))
        await migrate(owner, name)  # type: ignore[arg-type]
        await owner.close()
    await _refuses_to_start(elsewhere)

    # What only a superuser can close is not closed here: statements that others run can be seen by the same role.
    for name in sorted(set(ATTACKS) - {"statements_of_others"}):
        neighbours = await Neighbours(elsewhere).open()
        got = await ATTACKS[name](neighbours)
        await neighbours.close()
        assert neighbours.canary not in got, name


VIEW = "create or replace view pw.tenant with (security_barrier) as "
UNSAFE = {
    "superuser": ("alter role pw_app superuser", "alter role pw_app nosuperuser"),
    "BYPASSRLS": ("alter role pw_app bypassrls", "alter role pw_app nobypassrls"),
    "create roles": ("alter role pw_app createrole", "alter role pw_app nocreaterole"),
    "create databases": ("alter role pw_app createdb", "alter role pw_app nocreatedb"),
    "replicate": ("alter role pw_app replication", "alter role pw_app noreplication"),
    "member of another role": ("grant pg_read_all_data to pw_app", "revoke pg_read_all_data from pw_app"),
    "owns something": ("create table pw.own (a int); alter table pw.own owner to pw_app", "drop table pw.own"),
    "may create objects": ("grant create on schema pw to pw_app", "revoke create on schema pw from pw_app"),
    "not the pinned one": (f"{VIEW} select 'x'::text as id", f"{VIEW} {{view}}"),
    "the pinned one": ("alter view pw.tenant reset (security_barrier)", f"{VIEW} {{view}}"),
    "reach the keys": (
        "grant select (kid) on pw.token_key to pw_app",
        "revoke select (kid) on pw.token_key from pw_app",
    ),
    "logs what its clients say": (
        "alter system set log_statement = 'all'; select pg_reload_conf()",
        "alter system set log_statement = 'none'; select pg_reload_conf()",
    ),
}


async def _refuses_to_start(elsewhere: Elsewhere) -> None:
    dsn = read_dsn(elsewhere.home.secrets("gateway") / "data.dsn")
    view = known("data")[0].sql.partition("create view pw.tenant with (security_barrier) as")[2].partition(";")[0]
    for reason, (change, undo) in UNSAFE.items():
        elsewhere.as_superuser(change)
        await asyncio.sleep(0.1)  # a reloaded setting reaches new sessions a moment later
        pool = TenantPool(dsn, lambda: TokenKey("k", b"", 0.0))
        with pytest.raises(Unavailable, match=reason):
            await pool.start()
        await pool.close()
        elsewhere.as_superuser(undo.replace("{view}", view))
    await asyncio.sleep(0.1)
    pool = TenantPool(dsn, lambda: TokenKey("k", b"", 0.0))
    await pool.start()
    await pool.close()
