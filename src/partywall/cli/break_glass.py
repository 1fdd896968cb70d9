"""`partywall break-glass`: an operator asks to look into a tenant, its admin decides, the operator gets one token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from partywall.cli.client import Api, segment
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import tenant_id

MINUTE_S = 60.0


@click.group("break-glass")
def break_glass() -> None:
    """Look into a tenant's log with the tenant's leave, once and for a while."""


@break_glass.command(epilog='\b\nExample:\n  partywall break-glass ask acme --why "ticket 4711: calls that never came"')
@click.argument("tenant")
@click.option("--why", required=True, help="For the tenant, and for its log: at least ten characters.")
@click.option("--minutes", type=click.FloatRange(1, 60), default=15, show_default=True, help="How long, once approved.")
@json_option
@click.pass_context
def ask(context: click.Context, *, tenant: str, why: str, minutes: float, as_json: bool) -> None:
    """Ask a tenant (operators). It stands in the tenant's own log at once."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    body = {"tenant": tenant_id(api, tenant), "justification": why, "life_s": minutes * MINUTE_S}
    made = api.post("/v1/break-glass", body)
    out.data(made)
    out.done(f"asked as {made['id']}; an admin of {tenant} has until {_time(made['expires_at_s'])} to answer")
    out.next(f"partywall break-glass token {made['id']}")


@break_glass.command("list", epilog="\b\nExample:\n  partywall break-glass list")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List requests: of your own tenant, or (operators) all."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/break-glass", "requests")
    out.data({"requests": found})
    rows = [
        (each["id"], each["state"], each["requester"], _time(each["requested_at_s"]), _time(each.get("ends_at_s")),
         each["justification"])
        for each in found
    ]  # fmt: skip
    out.table(("id", "state", "who asks", "since", "ends", "why"), rows, empty="Nobody asked.")


@break_glass.command(epilog="\b\nExample:\n  partywall --profile acme-root break-glass approve brk_…")
@click.argument("request")
@json_option
@click.pass_context
def approve(context: click.Context, *, request: str, as_json: bool) -> None:
    """Let the operator who asked read your log until the approval ends (tenant-admins)."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    shown = api.post(f"/v1/break-glass/{segment(request)}/approve")
    out.data(shown)
    out.done(f"{shown['requester']} may read your log until {_time(shown['ends_at_s'])}, as {shown['subject']}")
    out.next(f"partywall audit search --who {shown['subject']}    what it reads; `refuse` takes it back at once")


@break_glass.command(epilog="\b\nExample:\n  partywall --profile acme-root break-glass refuse brk_…")
@click.argument("request")
@json_option
@click.pass_context
def refuse(context: click.Context, *, request: str, as_json: bool) -> None:
    """Say no, or take an approval back with all that it gave (tenant-admins)."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    shown = api.post(f"/v1/break-glass/{segment(request)}/refuse")
    out.data(shown)
    out.done(f"{request} is {shown['state']}")


@break_glass.command(epilog="\b\nExample:\n  partywall break-glass token brk_…")
@click.argument("request")
@json_option
@click.pass_context
def token(context: click.Context, *, request: str, as_json: bool) -> None:
    """Take the one token of an approved request (operators): of a guest in that tenant, who is seen reading."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    made: dict[str, Any] = api.post(f"/v1/break-glass/{segment(request)}/token")
    out.data(made)
    out.done(f"token {made['id']}, for {made['expires_in']} s")
    out.secret("token", made["access_token"])
    out.next("partywall --key TOKEN audit search --verdict deny")


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
