"""`partywall server`: register an MCP server, after somebody has seen and approved the tools that it offers."""

from __future__ import annotations

from typing import Any

import click

from partywall.cli.client import Api
from partywall.cli.manifest import fetch_tools
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import server_id


@click.group()
def server() -> None:
    """Register MCP servers and approve their tools. Needs a tenant-admin's key."""


@server.command(
    epilog="\b\nExamples:\n  partywall server add mail http://127.0.0.1:9000/mcp\n"
    "  partywall server add mail http://127.0.0.1:9000/mcp --only read_mail --yes"
)
@click.argument("slug")
@click.argument("url")
@click.option("--only", multiple=True, metavar="TOOL", help="Approve only these tools; may be repeated.")
@click.option("--offers", is_flag=True, help="Prompts, resources and resource templates too, each an entry to grant.")
@click.option("--yes", is_flag=True, help="Approve without asking.")
@json_option
@click.pass_context
def add(
    context: click.Context, *, slug: str, url: str, only: tuple[str, ...], offers: bool, yes: bool, as_json: bool
) -> None:
    """Fetch a server's tools, show them, and register what you approve.

    What is approved is pinned: a server that changes a tool or a prompt later is refused until it is approved again.
    """
    api, out = Api.from_context(context), Output(as_json=as_json)
    tools = fetch_tools(url, offers=offers)
    missing = set(only) - {tool["name"] for tool in tools}
    if missing:
        raise click.ClickException(f"{url} offers no tool {', '.join(sorted(missing))}")
    chosen = [tool for tool in tools if not only or tool["name"] in only]
    out.table(("tool", "arguments", "description"), [_row(tool) for tool in chosen], empty=f"{url} offers no tools")
    if not yes:
        click.confirm(f"Approve these {len(chosen)} tools for your tenant?", abort=True, err=as_json)
    made = api.post("/v1/servers", {"slug": slug, "url": url, "tools": chosen})
    out.data(made)
    out.done(f"server {slug} is {made['id']}, {len(chosen)} tools approved")
    out.next(f"partywall agent grant AGENT 'tool.call=tool/{slug}/*'; clients connect to {api.url}/mcp/{slug}")


def _row(tool: dict[str, Any]) -> tuple[str, list[str], str]:
    properties = tool["input_schema"].get("properties", {})
    return tool["name"], sorted(properties), tool.get("description", "").split("\n")[0][:100]


@server.command("list", epilog="\b\nExample:\n  partywall server list")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the registered servers and their approved tools."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/servers", "servers")
    out.data({"servers": found})
    rows = [(each["slug"], each["id"], each["tools"]) for each in found]
    out.table(("slug", "id", "tools"), rows, empty="none yet: `partywall server add SLUG URL`")


@server.command(epilog="\b\nExample:\n  partywall server show mail")
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, *, name: str, as_json: bool) -> None:
    """Show one server's address, and each of its tools as it was approved."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(f"/v1/servers/{server_id(api, name)}")
    out.data(found)
    out.fields({member: found[member] for member in ("id", "slug", "url", "classification", "manifest")})
    out.table(("tool", "arguments", "description"), [_row(tool) for tool in found["approved"]], empty="no tools")


@server.command(epilog="\b\nExample:\n  partywall server delete mail")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@json_option
@click.pass_context
def delete(context: click.Context, *, name: str, yes: bool, as_json: bool) -> None:
    """Delete a server, its tools, and every grant on them."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    server_ = server_id(api, name)
    if not yes:
        click.confirm(f"Delete server {name} and every grant on its tools?", abort=True, err=as_json)
    out.data(api.delete(f"/v1/servers/{server_}"))
    out.done(f"server {name} is no more")
