"""What `up` prints once everything runs: how to sign in, and how to connect each kind of client."""

from __future__ import annotations

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
    console.print(f"\n[bold]Partywall is up[/] in {state.ready_s:.1f} s at [bold]{state.url}[/]")
    console.print(f"isolation  {isolation(state)}")
    console.print(f"logs       {escape(str(home.log('*')))}\n")
    url = "" if state.url.endswith(":8470") else f" --url {state.url}"
    if home.bootstrap_token.exists():
        token = home.bootstrap_token.read_text().strip()
        console.print("First, become the platform operator (this token works once):")
        console.print(f"  partywall{url} login --bootstrap {escape(token)}\n", soft_wrap=True)
    console.print("Then make a tenant, and an agent with a key:")
    console.print("  partywall tenant create acme --admin root")
    if any(process.name == "model" for process in state.processes):
        console.print("  partywall model add acme smollm2 --local")
    console.print("  partywall --profile acme-root agent create scout --grant model.request=model/smollm2\n")
    console.print("Connect with the key that this prints:")
    console.print(f'  OpenAI SDK   OpenAI(base_url="{state.url}/v1", api_key=KEY)', markup=False)
    console.print(
        f'  MCP client   streamable HTTP at {state.url}/mcp/SERVER, header "Authorization: Bearer KEY"', markup=False
    )
    console.print("\n[dim]`partywall status` shows the processes; Ctrl-C or `partywall down` stops them.[/]")
