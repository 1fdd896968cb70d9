"""`partywall login` and `partywall profile`: whose key the other commands use."""

from __future__ import annotations

import click

from partywall.cli.client import DEFAULT_URL, Api
from partywall.cli.credentials import CredentialsStore, Profile
from partywall.cli.output import Output, json_option


@click.command(
    epilog="\b\nExamples:\n  partywall login --bootstrap TOKEN         once, with the token that `up` prints\n"
    "  partywall login --api-key KEY --as acme   with a key that somebody gave you"
)
@click.option("--bootstrap", metavar="TOKEN", help="The one-time token that `partywall up` prints.")
@click.option("--api-key", metavar="KEY", help="An API key to save.")
@click.option("--as", "name", default="operator", show_default=True, metavar="PROFILE", help="Name to save it under.")
@json_option
@click.pass_context
def login(context: click.Context, *, bootstrap: str | None, api_key: str | None, name: str, as_json: bool) -> None:
    """Save a credential for the other commands (in the home, readable by you alone)."""
    out = Output(as_json=as_json)
    if (bootstrap is None) == (api_key is None):
        raise click.UsageError("give either --bootstrap TOKEN or --api-key KEY")
    url = ((context.obj or {}).get("url") or DEFAULT_URL).rstrip("/")
    store = CredentialsStore()
    if bootstrap is not None:
        api_key = Api(url, None).post("/v1/bootstrap", {"token": bootstrap})["key"]["secret"]
    assert api_key is not None
    store.save(name, Profile(url=url, key=api_key), use=True)
    out.data({"profile": name, "url": url, "file": str(store.path)})
    out.done(f"signed in at {url} as profile {name}, saved in {store.path}")
    if bootstrap is not None:
        out.next("partywall tenant create acme --admin root")


@click.group()
def profile() -> None:
    """List the saved credentials, or switch between them."""


@profile.command("list", epilog="\b\nExample:\n  partywall profile list")
@json_option
def list_(*, as_json: bool) -> None:
    """List the saved credentials; never the keys themselves."""
    out = Output(as_json=as_json)
    store = CredentialsStore()
    names = store.names()
    out.data({"current": store.current, "profiles": {name: {"url": saved.url} for name, saved in names.items()}})
    rows = [(name, saved.url, "current" if name == store.current else "") for name, saved in sorted(names.items())]
    out.table(("profile", "url", ""), rows, empty="none yet: `partywall login` saves one")


@profile.command("use", epilog="\b\nExample:\n  partywall profile use acme-root")
@click.argument("name")
@json_option
def use(*, name: str, as_json: bool) -> None:
    """Make a saved credential the one that is used without `--profile`."""
    out = Output(as_json=as_json)
    CredentialsStore().use(name)
    out.data({"current": name})
    out.done(f"commands now use the profile {name}")
