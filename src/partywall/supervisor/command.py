"""`partywall up`, `down`, `status`: what a starter sees of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from partywall import settings as configuration
from partywall.errors import PartywallError
from partywall.settings import Home, Settings, default_home
from partywall.supervisor import lock, welcome
from partywall.supervisor.child import open_log
from partywall.supervisor.run import Progress, run
from partywall.telemetry.log import configure

DOWN_TIMEOUT_S: Final = 60.0
_COLOURS: Final = {"ready": "green", "starting": "yellow", "restarting": "red", "stopped": "red"}


@click.command(
    epilog="\b\nExamples:\n  partywall up\n  partywall up --port 0 --workers 2\n"
    "  PARTYWALL_HOME=/srv/partywall partywall up --no-model"
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one.  [default: 8470]")
@click.option("--workers", type=click.IntRange(1, 64), help="Gateway processes.  [default: 1]")
@click.option("--model/--no-model", default=None, help="Run the local model server.")
@click.option("--embeddings/--no-embeddings", default=None, help="Run the local embedding model.")
@click.option("--loopback-tools", is_flag=True, help="Let tenants' tool servers lie on this machine. For development.")
@click.option("--json", "as_json", is_flag=True, help="Print progress and the final state as JSON lines.")
def up(
    *,
    host: str | None,
    port: int | None,
    workers: int | None,
    model: bool | None,
    embeddings: bool | None,
    loopback_tools: bool,
    as_json: bool,
) -> None:
    """Start the platform in this home, and keep it up until Ctrl-C or SIGTERM.

    Exit status 0: stopped as asked. 1: could not start, and the message says why.
    """
    home = default_home()
    try:
        settings = _overridden(
            configuration.load(home),
            {"host": host, "port": port, "workers": workers},
            model=model,
            embeddings=embeddings,
        )
        if loopback_tools:
            settings = msgspec.structs.replace(settings, tools=msgspec.structs.replace(settings.tools, loopback=True))
        _run(home, settings, _Teller(as_json=as_json))
    except PartywallError as error:
        if as_json:
            click.echo(json.dumps({"error": error.code, "message": error.public}))
        raise click.ClickException(error.public) from error


def _overridden(settings: Settings, gateway: dict[str, str | int | None], **enabled: bool | None) -> Settings:
    """Return the settings with what the command line says. enabled: `model`, `embeddings`."""
    given = {name: value for name, value in gateway.items() if value is not None}
    settings = msgspec.structs.replace(settings, gateway=msgspec.structs.replace(settings.gateway, **given))
    for name, wanted in enabled.items():
        if wanted is not None:
            changed = msgspec.structs.replace(getattr(settings, name), enabled=wanted)
            settings = msgspec.structs.replace(settings, **{name: changed})
    return settings


def _run(home: Home, settings: Settings, teller: _Teller) -> None:
    home.log("supervisor").parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open_log(home.log("supervisor")) as fd, os.fdopen(os.dup(fd), "a", encoding="utf-8") as stream:
        log = configure("supervisor", stream)
        sys.excepthook = sys.__excepthook__  # this process has a terminal, and somebody in front of it

        async def until_stopped() -> None:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.add_signal_handler(number, stop.set)
            await run(home, settings, log, stop=stop, tell=teller.tell, on_ready=teller.ready)

        asyncio.run(until_stopped())


class _Teller:
    """Says on the terminal how the start goes."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False)
        self._began_s = time.monotonic()

    def tell(self, progress: Progress) -> None:
        if self._as_json:
            click.echo(msgspec.json.encode(progress))
        elif progress.state == "note":
            self._console.print(f"[yellow]note[/]      {escape(progress.detail)}")
        elif progress.state == "ready":
            elapsed = time.monotonic() - self._began_s
            self._console.print(f"[green]ready[/]     {progress.name:18} [dim]{progress.detail}  +{elapsed:.1f} s[/]")
        elif progress.state == "stopped":
            self._console.print("[dim]stopped: nothing is left running[/]")
        elif progress.state == "stopping":
            self._console.print(f"[dim]stopping  {progress.name}[/]")
        elif progress.detail:
            self._console.print(f"[dim]starting  {progress.name}: {progress.detail}[/]")

    def ready(self, state: lock.State) -> None:
        if self._as_json:
            click.echo(json.dumps({"state": "ready"} | msgspec.to_builtins(state)))
        else:
            welcome.show(self._console, state)
        sys.stdout.flush()


@click.command(epilog="\b\nExamples:\n  partywall down\n  PARTYWALL_HOME=/srv/partywall partywall down")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def down(*, as_json: bool) -> None:
    """Stop the platform of this home, and return when every process has ended."""
    home = default_home()
    pid = _holder(home)
    if pid is None:
        _say(as_json, {"stopped": None}, f"nothing is running in {home.path}")
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    while _holder(home) == pid:
        if time.monotonic() > deadline:
            raise click.ClickException(f"pid {pid} did not stop within {DOWN_TIMEOUT_S:.0f} s; `kill -9 {pid}` will")
        time.sleep(0.05)
    _say(as_json, {"stopped": pid}, f"stopped (pid {pid})")


@click.command(epilog="\b\nExamples:\n  partywall status\n  partywall status --json")
@click.option("--json", "as_json", is_flag=True, help="Print the state as JSON.")
def status(*, as_json: bool) -> None:
    """Show the processes of this home. Exit status 3 when it isn't running."""
    home = default_home()
    state = lock.read_state(home) if _holder(home) is not None else None
    if state is None:
        _say(
            as_json, {"running": False, "home": str(home.path)}, f"not running in {home.path}: `partywall up` starts it"
        )
        raise SystemExit(3)
    if as_json:
        click.echo(json.dumps({"running": True} | msgspec.to_builtins(state)))
        return
    console = Console(highlight=False)
    console.print(f"[bold]{state.url}[/]  home {escape(state.home)}  pid {state.pid}")
    console.print(f"isolation: {welcome.isolation(state)}")
    table = Table(box=None, pad_edge=False)
    for column in ("process", "state", "pid", "user", "restarts", "last exit"):
        table.add_column(column)
    for process in state.processes:
        colour = _COLOURS.get(process.state, "white")
        last = process.last_exit or ""
        table.add_row(process.name, f"[{colour}]{process.state}[/]", str(process.pid or "-"),
                      f"{process.user} ({process.uid})", str(process.restarts), last)  # fmt: skip
    console.print(table)


def _holder(home: Home) -> int | None:
    try:
        return lock.holder(home)
    except PermissionError as error:
        raise click.ClickException(f"{home.path} is closed to you: ask as the user that started it") from error


def _say(as_json: bool, data: dict[str, object], text: str) -> None:  # noqa: FBT001  # private
    click.echo(json.dumps(data) if as_json else text)
