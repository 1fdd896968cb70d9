"""`partywall agent` and `partywall user`: who acts in a tenant, and what each may do. Both groups are the same code."""

from __future__ import annotations

from typing import Any

import click

from partywall.cli import grants
from partywall.cli.client import Api
from partywall.cli.output import Output, json_option
from partywall.cli.resolve import subject, subject_id


def _group(kind: str) -> click.Group:
    group = click.Group(kind, help=f"Make, list, suspend {kind}s, and grant them actions. Needs a tenant-admin's key.")
    group.add_command(_create(kind))
    group.add_command(_list(kind))
    group.add_command(_show(kind))
    group.add_command(_clearance(kind))
    group.add_command(_delete(kind))
    group.add_command(_set_state(kind, "suspend", f"Refuse everything of one {kind}, within 5 s."))
    group.add_command(_set_state(kind, "resume", f"Let a suspended {kind} work again."))
    group.add_command(_grant(kind))
    group.add_command(_ungrant(kind))
    return group


def _create(kind: str) -> click.Command:
    @click.command(
        "create",
        help=f"Make one {kind} and its first API key. Without --grant it may do nothing.",
        epilog=f"\b\nExamples:\n  partywall {kind} create scout --grant model.request=model/smollm2\n"
        f"  partywall {kind} create clerk --grant 'tool.call=tool/mail/*' --clearance 2 --no-key",
    )
    @click.argument("slug")
    @click.option("--clearance", type=click.IntRange(0, 3), default=1, show_default=True)
    @click.option("--grant", "granted", multiple=True, help=grants.HELP)
    @click.option("--key/--no-key", "with_key", default=True, help="Make its first API key.")
    @json_option
    @click.pass_context
    def create(
        context: click.Context, *, slug: str, clearance: int, granted: tuple[str, ...], with_key: bool, as_json: bool
    ) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        body = {"kind": kind, "slug": slug, "clearance": clearance, "grants": grants.parse(granted)}
        made = api.post("/v1/subjects", body)
        out.done(f"{kind} {slug} is {made['id']}")
        if not with_key:
            out.data(made)
            return
        key = api.post("/v1/keys", {"subject": made["id"]})
        out.data({"subject": made, "key": key})
        out.secret("key", key["secret"])
        if not granted:
            out.next(f"partywall {kind} grant {slug} model.request=model/smollm2")

    return create


def _list(kind: str) -> click.Command:
    @click.command("list", help=f"List the {kind}s of your tenant.", epilog=f"\b\nExample:\n  partywall {kind} list")
    @json_option
    @click.pass_context
    def list_(context: click.Context, *, as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        found = [each for each in api.get_all("/v1/subjects", "subjects") if each["kind"] == kind]
        out.data({"subjects": found})
        rows = [(s["slug"], s["id"], s["state"], s["clearance"], grants.show(s["grants"])) for s in found]
        columns = ("slug", "id", "state", "clearance", "grants")
        out.table(columns, rows, empty=f"none yet: `partywall {kind} create SLUG`")

    return list_


def _show(kind: str) -> click.Command:
    @click.command("show", help=f"Show one {kind}.", epilog=f"\b\nExample:\n  partywall {kind} show scout")
    @click.argument("name")
    @json_option
    @click.pass_context
    def show(context: click.Context, *, name: str, as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        found = api.get(f"/v1/subjects/{subject_id(api, name)}")
        out.data(found)
        out.fields(found | {"grants": grants.show(found["grants"])})

    return show


def _clearance(kind: str) -> click.Command:
    @click.command(
        "clearance",
        help=f"Change how sensitive the data is that one {kind} may see: 0 (public) to 3 (restricted).",
        epilog=f"\b\nExample:\n  partywall {kind} clearance scout 2",
    )
    @click.argument("name")
    @click.argument("clearance", type=click.IntRange(0, 3))
    @json_option
    @click.pass_context
    def set_clearance(context: click.Context, *, name: str, clearance: int, as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        changed = api.patch(f"/v1/subjects/{subject_id(api, name)}", {"clearance": clearance})
        out.data(changed)
        out.done(f"{kind} {changed['slug']} has clearance {changed['clearance']}")

    return set_clearance


def _delete(kind: str) -> click.Command:
    @click.command(
        "delete",
        help=f"End one {kind} with its keys and tokens, for good.",
        epilog=f"\b\nExample:\n  partywall {kind} delete scout",
    )
    @click.argument("name")
    @click.option("--yes", is_flag=True, help="Delete without asking.")
    @json_option
    @click.pass_context
    def delete(context: click.Context, *, name: str, yes: bool, as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        id_ = subject_id(api, name)
        if not yes:
            click.confirm(f"End {kind} {name} with all its keys and tokens?", abort=True, err=as_json)
        out.data(api.delete(f"/v1/subjects/{id_}"))
        out.done(f"{kind} {name} is no more")

    return delete


def _set_state(kind: str, verb: str, summary: str) -> click.Command:
    @click.command(verb, help=summary, epilog=f"\b\nExample:\n  partywall {kind} {verb} scout")
    @click.argument("name")
    @json_option
    @click.pass_context
    def set_state(context: click.Context, *, name: str, as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        changed = api.post(f"/v1/subjects/{subject_id(api, name)}/{verb}")
        out.data(changed)
        out.done(f"{kind} {changed['slug']} is {changed['state']}")

    return set_state


def _grant(kind: str) -> click.Command:
    @click.command(
        "grant",
        help=f"Grant actions to one {kind}, on top of what it has.",
        epilog=f"\b\nExamples:\n  partywall {kind} grant scout model.request=model/smollm2\n"
        f"  partywall {kind} grant scout 'tool.call=tool/mail/*' --replace",
    )
    @click.argument("name")
    @click.argument("granted", nargs=-1, required=True, metavar="ACTION=RESOURCE...")
    @click.option("--replace", is_flag=True, help="Instead of what it has.")
    @json_option
    @click.pass_context
    def grant(context: click.Context, *, name: str, granted: tuple[str, ...], replace: bool, as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        found = subject(api, name)
        added = grants.parse(granted)
        kept = [] if replace else [each for each in found["grants"] if not _among(each, added)]
        _put(api, out, found["id"], [*kept, *added])

    return grant


def _ungrant(kind: str) -> click.Command:
    @click.command(
        "ungrant",
        help=f"Take granted actions from one {kind}.",
        epilog=f"\b\nExample:\n  partywall {kind} ungrant scout model.request=model/smollm2",
    )
    @click.argument("name")
    @click.argument("taken", nargs=-1, required=True, metavar="ACTION=RESOURCE...")
    @json_option
    @click.pass_context
    def ungrant(context: click.Context, *, name: str, taken: tuple[str, ...], as_json: bool) -> None:
        api, out = Api.from_context(context), Output(as_json=as_json)
        found = subject(api, name)
        gone = grants.parse(taken)
        missing = [word for word, each in zip(taken, gone, strict=True) if not _among(each, found["grants"])]
        if missing:
            has = ", ".join(grants.show(found["grants"])) or "nothing"
            raise click.ClickException(f"{name} has no grant {', '.join(missing)} (it has: {has})")
        _put(api, out, found["id"], [each for each in found["grants"] if not _among(each, gone)])

    return ungrant


def _among(grant: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    return any((grant["action"], grant["resource"]) == (other["action"], other["resource"]) for other in others)


def _put(api: Api, out: Output, id_: str, wanted: list[dict[str, Any]]) -> None:
    changed = api.put(f"/v1/subjects/{id_}/grants", {"grants": wanted})
    out.data(changed)
    out.done(f"{changed['slug']} may now: {', '.join(grants.show(changed['grants'])) or 'nothing'}")


agent = _group("agent")
user = _group("user")
