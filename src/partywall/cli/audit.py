"""`partywall audit`: read a tenant's own log, take it home, and verify it without trusting the platform."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from partywall.cli.client import Api
from partywall.cli.output import Output, json_option
from partywall.errors import Malformed
from partywall.ledger.archive import PRIMITIVES, archive_lines
from partywall.ledger.verify import Report, verify_archive

PAGE = 5_000


@click.group()
def audit() -> None:
    """Show, export and verify the audit log of your own tenant (an operator: of the platform)."""


@audit.command(epilog="\b\nExamples:\n  partywall audit show\n  partywall audit show --start 100 --limit 50 --json")
@click.option("--start", type=click.IntRange(min=0), help="First leaf; else the newest are shown.")
@click.option("--limit", type=click.IntRange(1, 1000), default=30, show_default=True)
@json_option
@click.pass_context
def show(context: click.Context, *, start: int | None, limit: int, as_json: bool) -> None:
    """Show leaves: when, what, on what, who, and how it ended."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    if start is None:
        size = api.get("/v1/audit/leaves", start=0, limit=1)["size"]
        start = max(0, size - limit)
    page = api.get("/v1/audit/leaves", start=start, limit=limit)
    out.data(page)
    rows = [_row(leaf) for leaf in page["leaves"]]
    columns = ("seq", "time", "phase", "action", "resource", "who", "verdict", "how it ended")
    out.table(columns, rows, empty="The log is empty: nothing has been asked of the wall yet.")
    out.line(f"{page['size']} leaves in all", style="dim")


@audit.command(epilog="\b\nExamples:\n  partywall audit export acme.jsonl\n  partywall audit verify acme.jsonl")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def export(context: click.Context, *, file: Path, as_json: bool) -> None:
    """Write the whole log, its content keys and its signed checkpoints into FILE (private, 0600)."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    console = Console(stderr=True)
    partial = file.with_name(file.name + ".partial")
    leaves = 0

    def tell(so_far: int) -> None:
        nonlocal leaves
        leaves = so_far
        if console.is_terminal:
            console.print(f"{so_far} leaves …", end="\r")

    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.writelines(archive_lines(lambda start: api.get("/v1/audit/export", start=start, limit=PAGE), tell=tell))
    partial.replace(file)
    out.data({"file": str(file), "leaves": leaves})
    out.done(f"{leaves} leaves in {file}")
    out.line("It holds your log's content key: keep it as you would keep the log in clear.", style="dim")
    out.next(f"partywall audit verify {file}")


@audit.command(
    epilog="\b\nExamples:\n  partywall audit verify acme.jsonl\n"
    "  partywall audit verify acme.jsonl --key ledger.pub --checkpoint last-month.note"
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    "key_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The ledger's public key as the operator published it; without it the archive's own is believed.",
)
@click.option(
    "--checkpoint",
    "older",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that you kept: the log must still agree with it. May be repeated.",
)
@json_option
def verify(*, file: Path, key_file: Path | None, older: tuple[Path, ...], as_json: bool) -> None:
    """Verify an exported log offline. Exit status 0: it holds. 1: it was tampered with. 2: it is no archive."""
    vkey = None if key_file is None else _text(key_file).strip()
    notes = [_text(path) for path in older]
    try:
        with file.open("rb") as lines:
            report = verify_archive(lines, PRIMITIVES, vkey=vkey, older=notes)
    except Malformed as error:
        raise click.UsageError(f"{file}: {error.public}") from error
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(report) | {"holds": report.holds}) + os.linesep)
    else:
        _tell(report, key_given=vkey is not None)
    raise SystemExit(0 if report.holds else 1)


def _tell(report: Report, *, key_given: bool) -> None:
    console = Console(highlight=False)
    for finding in report.findings:
        console.print(f"[bold red]{finding.kind:10}[/] {finding.where}: {finding.detail}")
    verdict = "[green]the log holds[/]" if report.holds else "[bold red]the log does not hold[/]"
    console.print(f"{verdict}: {report.log}")
    console.print(
        f"  {report.leaves} leaves, {report.opened} opened, {report.denials} denials, "
        f"{report.checkpoints} checkpoints, {report.covered} leaves covered, "
        f"{len(report.unresolved)} intents without an outcome yet"
    )
    if not key_given:
        console.print("  [dim]the archive's own key was believed; compare it with the published one: --key[/]")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path}: not a text file") from error


def _row(leaf: dict[str, Any]) -> tuple[str, ...]:
    when = datetime.fromtimestamp(leaf["time_us"] / 1e6, UTC).strftime("%m-%d %H:%M:%S")
    activity = leaf["activity"]
    if activity is None:
        return (str(leaf["seq"]), when, "", "", "", "", "", "content erased")
    resource = str(activity["resource"]).rsplit(":", 1)[-1]
    ended = " ".join(str(activity.get(name) or "") for name in ("result", "reason")).strip()
    who = str(activity["actor"]["id"])
    return (
        str(leaf["seq"]),
        when,
        activity["phase"],
        activity["action"],
        resource,
        who,
        activity["verdict"],
        ended,
    )
