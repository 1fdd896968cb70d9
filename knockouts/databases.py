"""Deployments whose data database lacks one control each; `CAUGHT_BY` says which probe must see the leak.

Each is a throwaway deployment of its own, whose database is changed once it runs. The statements are in `store.py`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg

from knockouts.mark import mark
from knockouts.store import apply
from partywall.settings import Home
from partywall.store import cluster
from partywall.store.configuration import SUPERUSER
from partywall.store.dsn import format_dsn, read_dsn
from partywall.supervisor.throwaway import Throwaway

CAUGHT_BY: Final = (
    ("bypass", "RLS-1"),
    ("owner-without-force", "RLS-5"),
    ("visible-statements", "RLS-6"),
    ("plain-setting", "RLS-7"),
)


@contextmanager
def knocked_out(name: str) -> Iterator[Throwaway]:
    """Yield a running deployment without that control."""
    with Throwaway("--no-model") as ground:
        mark(ground.home)
        asyncio.run(_apply(ground.home, name))
        yield ground


async def _apply(home: Home, name: str) -> None:
    owner = await asyncpg.connect(read_dsn(home.secrets("issuer") / "data.dsn"))
    try:
        await apply(home, owner, name, lambda sql: as_superuser(home, sql))
    finally:
        await owner.close()


def as_superuser(home: Home, sql: str) -> str:
    """Run SQL as the data instance's superuser, which only the server's own uid may be; return psql's words."""
    found = home.postgres_data("data").stat()
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        identity = {"user": found.st_uid, "group": found.st_gid, "extra_groups": []}
    dsn = format_dsn(SUPERUSER, "", "data", cluster.socket_dir(home, "data")).replace(":@", "@")
    done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603  # our own words, and no shell
        [str(cluster.program("psql")), "-XAtq", "-v", "ON_ERROR_STOP=1", dsn],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        **identity,
    )
    if done.returncode != 0:
        raise SystemExit(f"the knock-out could not be made: {done.stderr.strip()}")
    return done.stdout
