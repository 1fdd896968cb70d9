"""Real embedded databases for tests.

The fixture `databases` (tests/conftest.py offers it everywhere) is one
freshly provisioned and migrated home for the whole session; `make_databases()` makes one more.
"""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import asyncpg
import pytest

from partywall.settings import Home, Settings
from partywall.store import cluster
from partywall.store.dsn import format_dsn, read_dsn
from partywall.store.migrations import migrate
from partywall.store.provision import provision
from partywall.telemetry.log import Log

USER = "partywall-pg"
INSTANCES = ("control", "data")


def postgres_ids() -> tuple[int, int] | None:
    """(uid, gid) that Postgres runs as in tests: as root a system user, made once; else the tester's own (None)."""
    if os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(USER)
    except KeyError:
        words = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER]
        subprocess.run(words, check=False, capture_output=True)  # whoever comes second finds it there
        found = pwd.getpwnam(USER)
    return found.pw_uid, found.pw_gid


def own(path: Path, process: str) -> None:
    ids = postgres_ids()
    if ids is not None and process.startswith("postgres-"):
        os.chown(path, *ids)


class Databases:
    """One home with its two servers. DSNs by role: `control_owner`, `directory`, `data_owner`, `app`."""

    def __init__(self, settings: Settings | None = None) -> None:
        # Short, and below nothing closed: another user must pass, and a socket's path is limited.
        self.folder = Path(tempfile.mkdtemp(prefix="pw-"))
        self.folder.chmod(0o711)
        self.home = Home(self.folder / "home")
        self.settings = settings or Settings()
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    async def provision(self) -> None:
        await provision(
            self.home, self.settings, Log("test", StringIO()), own=own, uid_of=lambda _process: postgres_ids()
        )

    def copy(self) -> "Databases":
        """A stopped home once more, elsewhere: provisioning it again gives it its own addresses and keeps its data."""
        copied = Databases(self.settings)
        subprocess.run(["cp", "-a", str(self.home.path), str(copied.folder)], check=True)
        asyncio.run(copied.provision())
        return copied

    def start(self, instance: str) -> None:
        ids = postgres_ids()
        identity = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
        with self.log(instance).open("ab") as log:
            self.servers[instance] = subprocess.Popen(
                cluster.server_argv(self.home, instance), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, cwd="/", start_new_session=True, **identity,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.is_ready(instance):
            if time.monotonic() > deadline or self.servers[instance].poll() is not None:
                raise RuntimeError(self.log(instance).read_text())
            time.sleep(0.02)

    def is_ready(self, instance: str) -> bool:
        pid_file = self.home.postgres_data(instance) / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            mine = int(pid_file.read_text().split()[0]) == self.servers[instance].pid
            return mine and cluster.is_ready(self.home, instance)
        return False

    def stop(self, instance: str, number: int = signal.SIGINT) -> None:
        server = self.servers.pop(instance)
        server.send_signal(number)
        server.wait(timeout=30)

    def close(self) -> None:
        for instance in list(self.servers):
            self.stop(instance)
        shutil.rmtree(self.folder)

    def log(self, instance: str) -> Path:
        return self.folder / f"{instance}.log"

    def dsn(self, holder: str, instance: str) -> str:
        return read_dsn(self.home.secrets(holder) / f"{instance}.dsn")

    @property
    def control_owner(self) -> str:
        return self.dsn("issuer", "control")

    @property
    def data_owner(self) -> str:
        return self.dsn("issuer", "data")

    @property
    def directory(self) -> str:
        return self.dsn("gateway", "control")

    @property
    def app(self) -> str:
        return self.dsn("gateway", "data")

    def as_superuser(self, sql: str, instance: str = "data") -> str:
        """Run SQL in a running server as its superuser, which only the server's own uid may be; return psql's words."""
        ids = postgres_ids()
        identity = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
        dsn = format_dsn(cluster.SUPERUSER, "", instance, cluster.socket_dir(self.home, instance))
        done = subprocess.run(
            [str(cluster.program("psql")), "-XAtq", "-v", "ON_ERROR_STOP=1", dsn.replace(":@", "@")],
            input=sql, capture_output=True, text=True, check=False, timeout=60, cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, **identity,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout


def make_databases(instances: tuple[str, ...] = INSTANCES, *, migrated: bool = True) -> Databases:
    """Provision and start a home of its own; the caller closes it."""
    made = Databases()
    try:
        asyncio.run(made.provision())
        for instance in instances:
            made.start(instance)
        if migrated:
            asyncio.run(_migrate(made, instances))
    except BaseException:
        made.close()
        raise
    return made


async def _migrate(made: Databases, instances: tuple[str, ...]) -> None:
    for instance in instances:
        connection = await asyncpg.connect(made.dsn("issuer", instance))
        try:
            await migrate(connection, instance)  # type: ignore[arg-type]
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """One home for the session, both databases migrated: share it, and leave the roles as they are."""
    made = make_databases()
    yield made
    made.close()


if __name__ == "__main__":
    here = make_databases()
    sys.stdout.write(f"{here.home.path}\n")
    here.close()
