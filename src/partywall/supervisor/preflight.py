"""Tries the confinement once before anything depends on it, so that a failure is explained and not logged N times."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Final

from partywall.errors import Unavailable
from partywall.supervisor.child import View, confined
from partywall.supervisor.confine import first_closed_ancestor
from partywall.supervisor.identity import Isolation

TIMEOUT_S: Final = 30.0


async def check(isolation: Isolation, view: View, environment: Mapping[str, str]) -> None:
    """Return when a confined interpreter can start and import this package.

    Raises: Unavailable saying what stands in the way and what to do.
    """
    words = [*confined(isolation.of("gateway"), view), sys.executable, "-P", "-S", "-c", "import json"]
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        cwd="/",
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Unavailable("a confined interpreter did not start in time") from None
    if process.returncode != 0:
        raise Unavailable(_explain(said, isolation, view), code="cannot-confine")


def _explain(said: bytes, isolation: Isolation, view: View) -> str:
    try:
        reason = str(json.loads(said.splitlines()[-1])["reason"])
    except (ValueError, IndexError, KeyError, TypeError):
        reason = "the interpreter is out of its reach"
    gateway = isolation.of("gateway")
    groups = {gateway.gid, *gateway.groups}
    folders = {first_closed_ancestor(path, gateway.uid, groups) for path in (*view.writable, *view.read_only)}
    closed = " ".join(sorted(folder for folder in folders if folder))
    mend = f"`chmod o+x {closed}` (it lets pass, not list)" if closed else "let that user read this installation"
    return (
        f"the user {gateway.user} cannot run the platform: {reason}. Either start partywall without root, or {mend}, "
        "or keep PARTYWALL_HOME and this installation where everybody may pass"
    )
