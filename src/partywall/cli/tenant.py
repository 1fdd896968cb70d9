"""`partywall tenant`: what the platform operator does."""

from __future__ import annotations

from typing import Any

import click

from partywall.cli.client import Api
from partywall.cli.credentials import CredentialsStore, Profile
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import tenant_id

_COLUMNS = ("slug", "id", "organisation", "state", "region")


@click.group()
def tenant() -> None:
    """Make, list, suspend tenants. Needs a platform operator's key."""


@tenant.command(epilog="\b\nExamples:\n  partywall tenant create acme\n  partywall tenant create acme --admin root")
@click.argument("slug")
@click.option("--organisation", default="default", show_default=True, help="Slug; made when missing.")
@click.option("--admin", metavar="SLUG", help="Make a tenant-admin too, and save its key as profile TENANT-ADMIN.")
@json_option
@click.pass_context
def create(context: click.Context, *, slug: str, organisation: str, admin: str | None, as_json: bool) -> None:
    """Make a tenant."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    made = api.post("/v1/tenants", {"slug": slug, "organisation": organisation})
    out.done(f"tenant {slug} is {made['id']}")
    if admin is None:
        out.data(made)
        out.next(f"partywall tenant admin {slug} root")
        return
    created = _make_admin(api, out, made["id"], slug, admin)
    out.data({"tenant": made} | created)


@tenant.command("admin", epilog="\b\nExample:\n  partywall tenant admin acme root")
@click.argument("tenant_")
@click.argument("slug")
@json_option
@click.pass_context
def make_admin(context: click.Context, *, tenant_: str, slug: str, as_json: bool) -> None:
    """Make a tenant-admin and save its first key as a profile."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    out.data(_make_admin(api, out, tenant_id(api, tenant_), tenant_, slug))


def _make_admin(api: Api, out: Output, tenant_id_: str, tenant_slug: str, slug: str) -> dict[str, Any]:
    made: dict[str, Any] = api.post(f"/v1/tenants/{tenant_id_}/admins", {"slug": slug})
    name = f"{tenant_slug}-{slug}"
    CredentialsStore().save(name, Profile(url=api.url, key=made["key"]["secret"]), use=False)
    out.done(f"admin {slug} of {tenant_slug}, saved as profile {name}")
    out.secret("key", made["key"]["secret"])
    out.next(f"partywall --profile {name} agent create scout --grant model.request=model/smollm2")
    return made | {"profile": name}


@tenant.command("list", epilog="\b\nExample:\n  partywall tenant list --json")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the tenants."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/tenants", "tenants")
    out.data({"tenants": found})
    rows = [[each.get(column) for column in _COLUMNS] for each in found]
    out.table(_COLUMNS, rows, empty="none yet: `partywall tenant create SLUG --admin root`")


@tenant.command(epilog="\b\nExample:\n  partywall tenant show acme")
@click.argument("tenant_")
@json_option
@click.pass_context
def show(context: click.Context, *, tenant_: str, as_json: bool) -> None:
    """Show one tenant; its content is its own."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(f"/v1/tenants/{tenant_id(api, tenant_)}")
    out.data(found)
    out.fields(found)


@tenant.command(epilog="\b\nExample:\n  partywall tenant suspend acme")
@click.argument("tenant_")
@json_option
@click.pass_context
def suspend(context: click.Context, *, tenant_: str, as_json: bool) -> None:
    """Refuse everything of a tenant, within 5 s and on open streams too."""
    _set_state(context, tenant_, "suspend", as_json=as_json)


@tenant.command(epilog="\b\nExample:\n  partywall tenant resume acme")
@click.argument("tenant_")
@json_option
@click.pass_context
def resume(context: click.Context, *, tenant_: str, as_json: bool) -> None:
    """Let a suspended tenant work again."""
    _set_state(context, tenant_, "resume", as_json=as_json)


def _set_state(context: click.Context, tenant_: str, verb: str, *, as_json: bool) -> None:
    api, out = Api.from_context(context), Output(as_json=as_json)
    changed = api.post(f"/v1/tenants/{tenant_id(api, tenant_)}/{verb}")
    out.data(changed)
    out.done(f"tenant {changed['slug']} is {changed['state']}")
