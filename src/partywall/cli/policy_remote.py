"""`partywall policy activate|show|rollback`: the policy that a running platform applies to the caller's tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TextIO

import click

from partywall.cli.client import Api
from partywall.cli.output import Output, json_option
from partywall.cli.policy import policy

__all__ = ["policy"]


@policy.command(
    epilog="\b\nExamples:\n  partywall policy activate acme.rego\n  cat acme.rego | partywall policy activate -"
)
@click.argument("module", type=click.File("r", encoding="utf-8"))
@json_option
@click.pass_context
def activate(context: click.Context, *, module: TextIO, as_json: bool) -> None:
    """Validate a policy on the platform and make it your tenant's; it can only narrow what the base allows."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    active = api.put("/v1/policy", {"module": module.read()})
    out.data(active)
    out.done(f"policy {active['revision']} is active on every worker within 5 s")
    out.next("partywall policy show; partywall policy rollback REVISION undoes it")


@policy.command(epilog="\b\nExample:\n  partywall policy show > acme.rego")
@json_option
@click.pass_context
def show(context: click.Context, *, as_json: bool) -> None:
    """Print your tenant's active policy; its history goes to the terminal."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    shown = api.get("/v1/policy")
    out.data(shown)
    if as_json:
        return
    for entry in shown.get("history", []):
        at = datetime.fromtimestamp(entry["activated_at_s"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        mark = "active" if entry["revision"] == shown["revision"] else ""
        click.echo(f"{at}  {entry['revision']}  {mark}".rstrip(), err=True)
    click.echo(shown.get("module") or "# no policy of your own: the base policy and the grants decide", nl=True)


@policy.command(epilog="\b\nExample:\n  partywall policy rollback REVISION")
@click.argument("revision")
@json_option
@click.pass_context
def rollback(context: click.Context, *, revision: str, as_json: bool) -> None:
    """Activate an earlier policy again, as a new revision."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    active = api.post("/v1/policy/rollback", {"revision": revision})
    out.data(active)
    out.done(f"policy {active['revision']} is active on every worker within 5 s")
