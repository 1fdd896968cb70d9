"""`partywall audit`: read a tenant's own log, take it home, and verify it without trusting the platform."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from partywall.cli.audit_filters import filter_options, given
from partywall.cli.client import Api
from partywall.cli.output import Output, json_option
from partywall.errors import Malformed
from partywall.ledger.archive import PRIMITIVES, archive_lines, extract_lines
from partywall.ledger.extract import verify_export
from partywall.ledger.verify import Report

PAGE = 5_000
EXTRACT_PAGE = 250
SEARCH_PAGE = 500
COLUMNS = ("seq", "time", "phase", "action", "resource", "who", "verdict", "how it ended")
PATIENCE = 120
"""How often an export waits half a second for the index to reach the end of the log."""


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
    out.table(COLUMNS, rows, empty="The log is empty: nothing has been asked of the wall yet.")
    out.line(f"{page['size']} leaves in all", style="dim")


@audit.command(
    epilog="\b\nExamples:\n  partywall audit search --verdict deny --since 2h\n"
    "  partywall audit search --who agt_… --action tool.call --result failed\n"
    "  partywall audit search --action-prefix operator. --since 2026-01-31T08:00:00Z --limit 1000 --json"
)
@filter_options
@click.option("--oldest", "order", flag_value="oldest", help="Oldest first.")
@click.option("--newest", "order", flag_value="newest", default=True, help="Newest first, as without it.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@json_option
@click.pass_context
def search(context: click.Context, /, *, order: str, limit: int, as_json: bool, **filters: Any) -> None:
    """Find leaves in your own log: all that is given must hold."""
    api, out = Api.from_context(context), Output(as_json=as_json)
    leaves: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next_cursor": None}
    while True:
        asked = {"order": order, "limit": min(SEARCH_PAGE, limit - len(leaves)), "cursor": page["next_cursor"]}
        page = api.get("/v1/audit/search", **given(filters), **asked)
        leaves += page["leaves"]
        if len(leaves) >= limit or page["next_cursor"] is None or not (page["leaves"] or page["at_head"]):
            break
    out.data(page | {"leaves": leaves})
    out.table(COLUMNS, [_row(leaf) for leaf in leaves], empty="Nothing like it in this log.")
    more = ", and there are more: --limit" if page["next_cursor"] is not None else ""
    out.line(f"{len(leaves)} of {page['size']} leaves{more}", style="dim")
    if not page["at_head"]:
        out.line(f"Only the first {page['searched']} leaves are indexed yet: try again in a moment.", style="yellow")


@audit.command(
    epilog="\b\nExamples:\n  partywall audit export acme.jsonl\n  partywall audit verify acme.jsonl\n"
    "  partywall audit export denials.jsonl --verdict deny --since 7d"
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@filter_options
@click.option("--no-keys", is_flag=True, help="Of a filtered export: sealed for its reader, too.")
@json_option
@click.pass_context
def export(context: click.Context, /, *, file: Path, no_keys: bool, as_json: bool, **filters: Any) -> None:
    """Write the whole log, its content keys and its signed checkpoints into FILE (private, 0600).

    With filters: only what they find, each leaf with its proof that it stands in the signed log. That nothing is
    missing is proven by a whole export only.
    """
    api, out = Api.from_context(context), Output(as_json=as_json)
    asked = given(filters)
    if no_keys and not asked:
        raise click.UsageError("--no-keys is for a filtered export")
    progress = _Progress()
    if asked:
        fetch = _extract_pages(api, asked)
        leaves = _write(file, extract_lines(fetch, asked, keys=not no_keys, tell=progress), progress)
    else:
        pages = lambda start: api.get("/v1/audit/export", start=start, limit=PAGE)  # noqa: E731
        leaves = _write(file, archive_lines(pages, tell=progress), progress)
    out.data({"file": str(file), "leaves": leaves})
    out.done(f"{leaves} leaves in {file}")
    if not no_keys:
        out.line("It holds your log's content key: keep it as you would keep the log in clear.", style="dim")
    out.next(f"partywall audit verify {file}")


class _Progress:
    """Tells a terminal how many leaves there are so far."""

    def __init__(self) -> None:
        self.leaves = 0
        self._console = Console(stderr=True)

    def __call__(self, leaves: int) -> None:
        self.leaves = leaves
        if self._console.is_terminal:
            self._console.print(f"{leaves} leaves …", end="\r")


def _write(file: Path, lines: Iterable[bytes], progress: _Progress) -> int:
    """Write a private file, whole or not at all; return how many leaves it holds."""
    partial = file.with_name(file.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.writelines(lines)
    partial.replace(file)
    return progress.leaves


def _extract_pages(api: Api, asked: dict[str, Any]) -> Callable[[str | None], dict[str, Any]]:
    """Return what fetches the page after a cursor, and waits while the log's newest leaves are not indexed yet."""

    def fetch(cursor: str | None) -> dict[str, Any]:
        for _attempt in range(PATIENCE):
            page: dict[str, Any] = api.get(
                "/v1/audit/extract", order="oldest", limit=EXTRACT_PAGE, cursor=cursor, **asked
            )
            if page["leaves"] or cursor is None or page["next_cursor"] != cursor:
                return page
            time.sleep(0.5)
        raise click.ClickException("The log's newest leaves are not indexed yet: try again later.")

    return fetch


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
            report = verify_export(lines, PRIMITIVES, vkey=vkey, older=notes)
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
    what = "the log" if report.complete else "the extract"
    verdict = f"[green]{what} holds[/]" if report.holds else f"[bold red]{what} does not hold[/]"
    console.print(f"{verdict}: {report.log}")
    if report.complete:
        console.print(
            f"  {report.leaves} leaves, {report.opened} opened, {report.denials} denials, "
            f"{report.checkpoints} checkpoints, {report.covered} leaves covered, "
            f"{len(report.unresolved)} intents without an outcome yet"
        )
    else:
        console.print(
            f"  {report.proven} leaves proven of a log of {report.covered}, completeness not claimed; "
            f"{report.opened} opened, {report.denials} denials"
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
