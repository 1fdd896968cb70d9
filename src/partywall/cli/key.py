"""`partywall key` and `partywall token`: long-lived API keys, and access tokens of at most 15 minutes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from partywall.cli.client import Api, segment
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import subject_id

DAY_S = 86_400.0


@click.group()
def key() -> None:
    """Make, list, revoke API keys. Needs a tenant-admin's key."""


@key.command(
    epilog="\b\nExamples:\n  partywall key create scout\n  partywall key create scout --scope model.request --days 7"
)
@click.argument("subject")
@click.option("--scope", "scopes", multiple=True, metavar="ACTION", help="Only these actions; may be repeated.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Life; else the deployment's own limit.")
@click.option("--for", "on_behalf_of", metavar="USER", help="The agent acts for this user.")
@json_option
@click.pass_context
def create(
    context: click.Context,
    *,
    subject: str,
    scopes: tuple[str, ...],
    days: float | None,
    on_behalf_of: str | None,
    as_json: bool,
) -> None:
    """Make an API key; the secret is shown this once, and only its hash is stored."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    body = _asked(api, subject, scopes, on_behalf_of)
    if days is not None:
        body["life_s"] = days * DAY_S
    made = api.post("/v1/keys", body)
    out.data(made)
    out.done(f"key {made['id']} of {subject}, until {_time(made.get('expires_at_s'))}")
    out.secret("key", made["secret"])


@key.command("list", epilog="\b\nExample:\n  partywall key list")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the keys of your tenant; never the secrets."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/keys", "keys")
    out.data({"keys": found})
    rows = [
        (each["id"], each["subject"], _time(each.get("expires_at_s")), each.get("scopes"),
         "revoked" if each.get("revoked") else "")
        for each in found
    ]  # fmt: skip
    out.table(("id", "subject", "expires", "scopes", ""), rows, empty="none yet: `partywall key create AGENT`")


@key.command(epilog="\b\nExample:\n  partywall key show key_…")
@click.argument("key_")
@json_option
@click.pass_context
def show(context: click.Context, *, key_: str, as_json: bool) -> None:
    """Show one key; never its secret."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(f"/v1/keys/{segment(key_)}")
    out.data(found)
    times = {name: _time(found[name]) for name in ("created_at_s", "expires_at_s")}
    out.fields(found | times | {"revoked": "yes" if found["revoked"] else "no"})


@key.command(epilog="\b\nExample:\n  partywall key revoke key_…")
@click.argument("credential")
@json_option
@click.pass_context
def revoke(context: click.Context, *, credential: str, as_json: bool) -> None:
    """Revoke a key, token, session or subject by id: on every worker and open stream within 5 s."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    revoked = api.post("/v1/revocations", {"credential": credential})
    out.data(revoked)
    out.done(f"{revoked['revoked']} is revoked")


@click.group()
def token() -> None:
    """Make short-lived access tokens."""


@token.command("create", epilog="\b\nExample:\n  partywall token create scout --scope tool.call")
@click.argument("subject")
@click.option("--scope", "scopes", multiple=True, metavar="ACTION", help="Only these actions; may be repeated.")
@click.option("--session", metavar="ID", help="Session that it belongs to.")
@click.option("--for", "on_behalf_of", metavar="USER", help="The agent acts for this user.")
@json_option
@click.pass_context
def create_token(
    context: click.Context,
    *,
    subject: str,
    scopes: tuple[str, ...],
    session: str | None,
    on_behalf_of: str | None,
    as_json: bool,
) -> None:
    """Make an access token (EdDSA JWT); agents and users make their own, an admin any of its tenant's."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    body = _asked(api, subject, scopes, on_behalf_of)
    if session is not None:
        body["session"] = session
    made = api.post("/v1/tokens", body)
    out.data(made)
    out.done(f"token {made['id']} of {subject}, for {made['expires_in']:.0f} s")
    out.secret("token", made["access_token"])


def _asked(api: Api, subject: str, scopes: tuple[str, ...], on_behalf_of: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"subject": subject_id(api, subject)}
    if scopes:
        body["scopes"] = list(scopes)
    if on_behalf_of is not None:
        body["on_behalf_of"] = subject_id(api, on_behalf_of)
    return body


def _time(at_s: float | None) -> str:
    return "no end" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
