"""The first two chapters: a deployment with its tool servers, and the tenants."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Final

from demo import suites
from demo.desk import DeskProcess
from demo.knocked import Knockers
from demo.report import Chapter
from demo.stage import Stage
from demo.tenants import LOCAL_MODEL, Tenant
from partywall.assurance.wire import Wire
from partywall.supervisor.throwaway import Throwaway

KEYS_FILE: Final = "demo-keys.json"
CONFIG: Final = "[federation]\nloopback_http = true\n"
"""The sign-in probes bring an identity provider of their own, on this machine."""


async def start(stage: Stage, chapter: Chapter) -> None:
    """Start the platform, one tool server a suite, and the knock-outs' own deployments in the background."""
    path = _kept_folder() / "home" if stage.options.keep else None
    stage.platform = platform = Throwaway(*(("--no-model",) if stage.options.no_model else ()), path=path)
    stage.stack.callback(platform.close)
    platform.home.path.mkdir(parents=True, exist_ok=True)
    platform.home.config.write_text(CONFIG)
    with stage.console.status("starting Postgres, issuer, ledger, gateway, model …"):
        state = await asyncio.to_thread(platform.start)
        for name in suites.SUITES:
            stage.desks[name] = await stage.stack.enter_async_context(DeskProcess(name))
    if not stage.options.no_knockouts:
        stage.knockers = await stage.stack.enter_async_context(Knockers(full=stage.options.full))
    names = [process.name for process in state.processes]
    chapter.figures = {"processes": names, "url": platform.url, "suites": suites.VERSION}
    chapter.says = f"{len(names)} processes and {len(stage.desks)} MCP servers are up: {', '.join(names)}"


async def found(stage: Stage, chapter: Chapter) -> None:
    """Make every tenant: an admin, a model, an approved tool server, an agent with just the grants of its tasks."""
    platform = stage.running()
    wire, operator = Wire(platform.url), platform.operator_key()
    said = []
    for name in suites.SUITES:
        tenant = Tenant(wire, operator, name)
        if not stage.options.no_model:
            tenant.give_model(operator, _local_model(platform), LOCAL_MODEL)
        approved = await tenant.register(stage.desks[name])
        granted = tenant.hire()
        said.append(f"{name}: {len(granted)} of {approved} tools granted")
        chapter.figures[name] = {"tenant": tenant.id, "tools": approved, "granted": len(granted)}
        stage.tenants.append(tenant)
    chapter.says = "; ".join(said)
    if stage.options.keep:
        _keep_keys(platform, stage.tenants)


def _kept_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pw-kept-"))
    folder.chmod(0o711)  # the platform's own users must pass it
    return folder


def _local_model(platform: Throwaway) -> str:
    return f"http://127.0.0.1:{int((platform.home.run / 'model' / 'port').read_text())}"


def _keep_keys(platform: Throwaway, tenants: list[Tenant]) -> None:
    """Write the keys down (0600) for whoever looks around in a kept deployment."""
    keys = {"operator": platform.operator_key()} | {
        tenant.slug: {"admin": tenant.admin, "agent": tenant.key} for tenant in tenants
    }
    path: Path = platform.home.path / KEYS_FILE
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(keys, file, indent=2)
