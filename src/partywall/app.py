"""Wiring, and nothing else: the entry of every process, and of the command line."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from partywall.errors import PartywallError
from partywall.settings import Home, Settings, default_home
from partywall.telemetry.log import Log, configure

PR_SET_DUMPABLE: Final = 4

COMMANDS: Final = {
    "up": ("partywall.supervisor.command:up", "Start the platform here, and keep it up until Ctrl-C."),
    "down": ("partywall.supervisor.command:down", "Stop the platform of this home."),
    "status": ("partywall.supervisor.command:status", "Show the processes of this home and how they are kept apart."),
    "login": ("partywall.cli.login:login", "Sign in: at your organisation, or with the bootstrap token or an API key."),
    "logout": ("partywall.cli.login:logout", "Sign out: end the access token, and forget it."),
    "whoami": ("partywall.cli.login:whoami", "Say whose credential is in use, and until when."),
    "profile": ("partywall.cli.login:profile", "List the saved credentials, or switch between them."),
    "tenant": ("partywall.cli.tenant:tenant", "Make, list, suspend tenants (platform operator)."),
    "org": ("partywall.cli.organisation:org", "Make, list, show organisations (platform operator)."),
    "model": ("partywall.cli.model:model", "Give a tenant models, or list your own (platform operator, tenant-admin)."),
    "agent": ("partywall.cli.subject:agent", "Make, list, suspend agents, and grant them actions (tenant-admin)."),
    "user": ("partywall.cli.subject:user", "Make, list, suspend users, and grant them actions (tenant-admin)."),
    "key": ("partywall.cli.key:key", "Make, list, revoke API keys (tenant-admin)."),
    "token": ("partywall.cli.key:token", "Make short-lived access tokens."),
    "idp": ("partywall.cli.federation:idp", "Trust external issuers: clusters, clouds, CI, SPIFFE, your people's."),
    "binding": ("partywall.cli.federation:binding", "Say which of their subjects is which of yours (tenant-admin)."),
    "collection": ("partywall.cli.collection:collection", "Make, fill and search collections of documents."),
    "server": ("partywall.cli.server:server", "Register MCP servers and approve their tools (tenant-admin)."),
    "policy": ("partywall.cli.policy_draft:policy", "Test, check, evaluate and activate policies."),
    "plan": ("partywall.assurance.plan.command:plan", "Check infrastructure and schema changes (in CI)."),
    "audit": ("partywall.cli.audit:audit", "Search, show, export and verify the audit log."),
    "break-glass": ("partywall.cli.break_glass:break_glass", "Look into a tenant's log with the tenant's leave."),
    "probe": ("partywall.assurance.command:command", "Attack a live deployment and report what held."),
}  # fmt: skip
"""Command -> where it is (imported on use) and what it does."""

Service = Callable[[Home, Settings, Log, asyncio.Event], Awaitable[None]]


def main() -> None:
    """Serve as one process of a deployment (`serve NAME`, for the supervisor), or be the command line."""
    if sys.argv[1:2] == ["serve"]:
        sys.exit(serve(sys.argv[2:]))
    from partywall.cli.root import build

    build(COMMANDS)(prog_name="partywall")


def serve(arguments: Sequence[str]) -> int:
    """Run one process until SIGTERM. Returns: 0, or 1 when it could not start or failed (its log says why)."""
    parser = argparse.ArgumentParser(prog="partywall serve")
    parser.add_argument("name")
    parser.add_argument("--listener", type=int)
    options = parser.parse_args(arguments)
    _close_to_others()
    log = configure(options.name)
    try:
        settings = read_settings(default_home())
        run(service(options.name, options.listener), default_home(), settings, log)
    except PartywallError as error:
        log.error("process.failed", error, code=error.code, reason=error.public)  # noqa: TRY400  # our sink
        return 1
    except Exception as error:  # the last frame of the process: what is not logged here is lost
        log.error("process.failed", error)  # noqa: TRY400  # our sink
        return 1
    return 0


def run(target: Service, home: Home, settings: Settings, log: Log) -> None:
    """Run a service on the fast event loop; SIGTERM and SIGINT ask it to stop."""
    import uvloop

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: log.error("loop.failed", context.get("exception")))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await target(home, settings, log, stop)

    with asyncio.Runner(debug=False, loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())


def service(name: str, listener_fd: int | None = None) -> Service:
    """Return what a process runs; imported here, so that each loads its own code and no other's."""
    if name == "issuer":
        from partywall.control import issuer

        return issuer.serve
    if name == "ledger":
        return _ledger
    if name == "model":
        from partywall.providers.models import server

        return server.serve
    if name == "embeddings":
        from partywall.providers.embeddings import server as embeddings

        return embeddings.serve
    if name.startswith("gateway-") and listener_fd is not None:
        return _gateway(int(name.removeprefix("gateway-")), listener_fd)
    raise SystemExit(f"there is no process {name}")


async def _ledger(home: Home, settings: Settings, log: Log, stop: asyncio.Event) -> None:
    from partywall.keys.file import FileKeys
    from partywall.ledger import writer

    await writer.serve(home, settings, log, stop, keys=FileKeys(home.kek))


def _gateway(index: int, listener_fd: int) -> Service:
    from partywall.gateway import worker

    async def serve_gateway(home: Home, settings: Settings, log: Log, stop: asyncio.Event) -> None:
        with socket.socket(fileno=listener_fd) as listener:
            os.set_inheritable(listener_fd, False)
            listener.setblocking(False)
            await worker.serve(home, settings, log, stop, index=index, listener=listener)

    return serve_gateway


def read_settings(home: Home) -> Settings:
    """Return the settings as the supervisor resolved them for this start."""
    return msgspec.json.decode(Path(home.run / "settings.json").read_bytes(), type=Settings)


def _close_to_others() -> None:
    """Deny other processes of this uid to read this one's memory (ptrace, /proc)."""
    zero = ctypes.c_ulong(0)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, zero, zero, zero, zero)


if __name__ == "__main__":
    main()
