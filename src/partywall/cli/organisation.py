"""`partywall org`: organisations, whom tenants belong to."""

from __future__ import annotations

import click

from partywall.cli.client import Api
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import organisation_id


@click.group()
def org() -> None:
    """Make, list, show organisations. Needs a platform operator's key."""


@org.command(epilog="\b\nExample:\n  partywall org create umbrella")
@click.argument("slug")
@json_option
@click.pass_context
def create(context: click.Context, *, slug: str, as_json: bool) -> None:
    """Make an organisation; `partywall tenant create --organisation` makes a missing one too."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    made = api.post("/v1/organisations", {"slug": slug})
    out.data(made)
    out.done(f"organisation {slug} is {made['id']}")
    out.next(f"partywall tenant create SLUG --organisation {slug}")


@org.command("list", epilog="\b\nExample:\n  partywall org list --json")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the organisations."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/organisations", "organisations")
    out.data({"organisations": found})
    rows = [(each["slug"], each["id"]) for each in found]
    out.table(("slug", "id"), rows, empty="none yet: `partywall org create SLUG`")


@org.command(epilog="\b\nExample:\n  partywall org show umbrella")
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, *, name: str, as_json: bool) -> None:
    """Show one organisation and its tenants."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    path = f"/v1/organisations/{organisation_id(api, name)}"
    found, tenants = api.get(path), api.get_all(f"{path}/tenants", "tenants")
    out.data(found | {"tenants": tenants})
    out.fields(found)
    rows = [(each["slug"], each["id"], each["state"]) for each in tenants]
    out.table(("tenant", "id", "state"), rows, empty="it has no tenants")
