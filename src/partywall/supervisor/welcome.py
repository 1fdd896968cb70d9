"""What `up` prints once everything runs: how to sign in, and how to connect each kind of client."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from partywall.settings import Home
from partywall.supervisor.lock import State


def isolation(state: State) -> str:
    """Return one line on how the processes are kept apart."""
    if state.isolation == "uid-per-process":
        users = len({process.uid for process in state.processes})
        return f"[green]each process has its own uid[/] ({users} users)"
    return f"[yellow]one uid for all processes[/]: {escape(state.isolation_reason)}"


def show(console: Console, state: State) -> None:
    """Print it. The bootstrap token is shown only while it is still good for something."""
    home = Home(Path(state.home))
    command = _command()
    url = "" if state.url.endswith(":8470") else f" --url {state.url}"
    lines = [
        f"\n[bold]Partywall is up[/] in {state.ready_s:.1f} s at [bold]{state.url}[/]",
        f"isolation  {isolation(state)}",
        f"logs       {escape(str(home.log('*')))}\n",
    ]
    if home.bootstrap_token.exists():
        token = home.bootstrap_token.read_text().strip()
        lines += [
            "First, become the platform operator (this token works once):",
            f"  {command}{url} login --bootstrap {escape(token)}\n",
        ]
    lines += ["Then make a tenant, and an agent with a key:", f"  {command} tenant create acme --admin root"]
    if any(process.name == "model" for process in state.processes):
        lines += [f"  {command} model add acme smollm2 --local"]
    lines += [
        f"  {command} --profile acme-root agent create scout --grant model.request=model/smollm2\n",
        "Connect with the key that this prints:",
        f'  OpenAI SDK   OpenAI(base_url="{state.url}/v1", api_key=KEY)',
        f'  MCP client   streamable HTTP at {state.url}/mcp/SERVER, header "Authorization: Bearer KEY"',
        f"\n[dim]`{command} status` shows the processes; Ctrl-C or `{command} down` stops them.[/]",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)


def _command() -> str:
    """Return the words that start this command line here: it may lie in an environment that nobody activated."""
    return "partywall" if shutil.which("partywall") else os.path.relpath(Path(sys.prefix) / "bin" / "partywall")
