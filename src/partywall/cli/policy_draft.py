"""`partywall policy draft` and `policy history`: texts that wait on the platform, and those that were active."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TextIO

import click

from partywall.cli.client import Api, segment
from partywall.cli.output import Output, json_option
from partywall.cli.policy_remote import policy
from partywall.cli.resolve import draft_id


@policy.group(epilog="\b\nExample:\n  partywall policy draft save next acme.rego")
def draft() -> None:
    """Keep policies on the platform, validated, before one is activated. Needs a tenant-admin's key."""


@draft.command(epilog="\b\nExample:\n  partywall policy draft save next acme.rego")
@click.argument("slug")
@click.argument("module", type=click.File("r", encoding="utf-8"))
@json_option
@click.pass_context
def save(context: click.Context, *, slug: str, module: TextIO, as_json: bool) -> None:
    """Keep a text as a draft, in place of the one of that name. Exit status 1 when it does not hold."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    text = module.read()
    known = {each["slug"]: each["id"] for each in api.get_all("/v1/policies", "drafts")}
    if slug in known:
        saved = api.put(f"/v1/policies/{known[slug]}", {"module": text})
    else:
        saved = api.post("/v1/policies", {"slug": slug, "module": text})
    out.data(saved)
    _report(out, saved)
    if saved["valid"]:
        out.next(f"partywall policy draft activate {slug}")
    context.exit(0 if saved["valid"] else 1)


@draft.command("list", epilog="\b\nExample:\n  partywall policy draft list")
@json_option
@click.pass_context
def list_(context: click.Context, *, as_json: bool) -> None:
    """List the drafts, and whether each could be activated."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get_all("/v1/policies", "drafts")
    out.data({"drafts": found})
    rows = [(each["slug"], each["id"], "valid" if each["valid"] else f"{len(each['findings'])} findings",
             _time(each["changed_at_s"])) for each in found]  # fmt: skip
    out.table(("slug", "id", "state", "changed"), rows, empty="none yet: `partywall policy draft save SLUG FILE`")


@draft.command(epilog="\b\nExample:\n  partywall policy draft show next > next.rego")
@click.argument("name")
@json_option
@click.pass_context
def show(context: click.Context, *, name: str, as_json: bool) -> None:
    """Print a draft's text; what its validation said goes to the terminal."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    found = api.get(f"/v1/policies/{draft_id(api, name)}")
    out.data(found)
    if as_json:
        return
    for finding in found["findings"]:
        click.echo(f"line {finding['line']}: {finding['id']} {finding['message']}", err=True)
    click.echo(found["module"])


@draft.command(epilog="\b\nExample:\n  partywall policy draft activate next")
@click.argument("name")
@json_option
@click.pass_context
def activate(context: click.Context, *, name: str, as_json: bool) -> None:
    """Make a draft your tenant's active policy."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    active = api.post(f"/v1/policies/{draft_id(api, name)}/activate")
    out.data(active)
    out.done(f"policy {active['revision']} is active on every worker within 5 s")


@draft.command(epilog="\b\nExample:\n  partywall policy draft delete next")
@click.argument("name")
@json_option
@click.pass_context
def delete(context: click.Context, *, name: str, as_json: bool) -> None:
    """Delete a draft; what was activated stays active."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    out.data(api.delete(f"/v1/policies/{draft_id(api, name)}"))
    out.done(f"draft {name} is no more")


@policy.command(epilog="\b\nExamples:\n  partywall policy history\n  partywall policy history REVISION > old.rego")
@click.argument("revision", required=False)
@json_option
@click.pass_context
def history(context: click.Context, *, revision: str | None, as_json: bool) -> None:
    """List the policies that were active, newest first, or print the text of one."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    if revision is not None:
        found = api.get(f"/v1/policy/revisions/{segment(revision)}")
        out.data(found)
        if not as_json:
            click.echo(found["module"])
        return
    revisions = api.get_all("/v1/policy/revisions", "revisions")
    out.data({"revisions": revisions})
    rows = [(each["revision"], _time(each["activated_at_s"])) for each in revisions]
    out.table(("revision", "active from"), rows, empty="none yet: the base policy and the grants decide")


def _report(out: Output, saved: dict[str, Any]) -> None:
    for finding in saved["findings"]:
        out.line(f"line {finding['line']}: {finding['id']} {finding['message']}", style="red")
    if saved["valid"]:
        out.done(f"draft {saved['slug']} is {saved['id']}, and it holds")


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
