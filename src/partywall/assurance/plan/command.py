"""`partywall plan check|parse|rules`: policy as code, without a running platform."""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from partywall.assurance.plan import rules as rule_book
from partywall.assurance.plan.check import Result
from partywall.assurance.plan.check import check as check_paths
from partywall.assurance.plan.documents import read
from partywall.errors import PartywallError
from partywall.version import __version__
from partywall.wire.findings import SEVERITIES, FileFinding, Severity, junit, sarif

STYLES: Final = {"critical": "bold white on red", "high": "bold red", "medium": "yellow", "low": "cyan"}
CHECK_EXAMPLES: Final = """\b
Examples:
  terraform show -json tfplan > plan.json && partywall plan check plan.json
  partywall plan check deploy/ migrations/            whole folders: manifests, plans, *.sql
  helm template ./chart | partywall plan check -      from a pipe
  partywall plan check . --sarif findings.sarif --junit findings.xml --fail-on high

\b
Exit status: 0 nothing fails; 1 a finding of --fail-on or worse; 2 something could not be read, so has not passed.
Exceptions: partywall-exceptions.yaml beside what is checked (docs/policy-as-code.md), each with a reason and an end.
"""
_output = click.Path(dir_okay=False, path_type=Path)


@click.group()
def plan() -> None:
    """Check infrastructure and schema changes for what breaks tenant isolation."""


@plan.command(epilog=CHECK_EXAMPLES)
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR|- …")
@click.option(
    "--fail-on", type=click.Choice(SEVERITIES), default="medium", show_default=True, help="The least that fails."
)
@click.option("--exceptions", "files", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True)
@click.option("--tenant-label", "labels", multiple=True, help="One more label, tag or column that names a tenant.")
@click.option("--exclude", multiple=True, help="Files of folders to leave out, a glob; they are counted, not hidden.")
@click.option("--sarif", "sarif_file", type=_output, help="Write SARIF 2.1.0 for code scanning.")
@click.option("--junit", "junit_file", type=_output, help="Write JUnit XML for test reports.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
@click.pass_context
def check(
    context: click.Context,
    *,
    paths: tuple[str, ...],
    fail_on: str,
    files: tuple[Path, ...],
    labels: tuple[str, ...],
    exclude: tuple[str, ...],
    sarif_file: Path | None,
    junit_file: Path | None,
    as_json: bool,
) -> None:
    """Check Terraform plans (JSON), Kubernetes manifests and SQL migrations before they are applied."""
    with _told():
        result = check_paths(
            paths,
            stdin=sys.stdin.buffer,
            today=dt.datetime.now(dt.UTC).date(),
            exception_files=files,
            tenant_labels=labels,
            exclude=exclude,
        )
    least = cast("Severity", fail_on)
    _write(sarif_file, lambda: sarif("partywall", __version__, rule_book.rules(), result.findings, result.unreadable))
    _write(junit_file, lambda: junit("partywall plan check", result.checked, result.findings, result.unreadable))
    if as_json:
        click.echo(json.dumps(document(result, least)))
    else:
        show(result, least)
    context.exit(result.status(least))


@plan.command(
    epilog="\b\nExamples:\n  partywall plan parse 0007_notes.sql > 0007_notes.json\n"
    "  partywall plan parse 0007_notes.sql | conftest test --policy rules -"
)
@click.argument("path", metavar="FILE|-")
@click.option("--json", "as_json", is_flag=True, help="In one line, for programs.")
def parse(*, path: str, as_json: bool) -> None:
    """Print the input that the rules see of one file: SQL as Postgres' own parser reads it, as JSON."""
    reading = read([path], sys.stdin.buffer)
    if reading.unreadable or not reading.documents:
        problem = reading.unreadable[0] if reading.unreadable else None
        click.echo(f"Error: {path}: {problem.message if problem else 'there is nothing in it'}", err=True)
        sys.exit(2)
    contents = [one.contents for one in reading.documents]
    shown = contents[0] if len(contents) == 1 else [one.given for one in reading.documents]
    click.echo(json.dumps(shown, indent=None if as_json else 1))


@plan.command(
    epilog="\b\nExamples:\n  partywall plan rules\n  partywall plan rules --export rules\n"
    "  conftest test --policy rules plan.json"
)
@click.option(
    "--export", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write the .rego files here."
)
@click.option("--markdown", is_flag=True, help="Print the table of docs/policy-as-code.md.")
@click.option("--json", "as_json", is_flag=True, help="Print the rules as JSON.")
def rules(*, folder: Path | None, markdown: bool, as_json: bool) -> None:
    """List the rules, or export them for conftest and opa."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in rule_book.modules().items():
            (folder / name).write_text(text, "utf-8")
        click.echo(f"{len(rule_book.modules())} files in {folder}", err=True)
    elif as_json:
        click.echo(json.dumps(msgspec.to_builtins(rule_book.rules())))
    elif markdown:
        click.echo(rule_book.table(), nl=False)
    else:
        _print_rules()


def document(result: Result, fail_on: Severity) -> dict[str, Any]:
    """Return a result as `--json` prints it."""
    failing = len(result.failures(fail_on))
    whole: dict[str, Any] = msgspec.to_builtins(result)
    return {"failing": failing, "fail_on": fail_on, "status": result.status(fail_on), **whole}


def show(result: Result, fail_on: Severity) -> None:
    """Print a result for people: the worst first, each with its place and how to mend it."""
    console = Console(highlight=False, soft_wrap=True)
    fixes = {rule.id: rule.fix for rule in rule_book.rules()}
    for finding in sorted(result.findings, key=lambda one: -SEVERITIES.index(one.severity)):
        _print_finding(console, finding, fixes[finding.id])
    for broken in result.unreadable:
        console.print(f"[bold red]unread[/]  {escape(broken.path)}: {escape(broken.message)}")
    for unused in result.unused:
        console.print(f"[yellow]unused[/]  the exception for {unused.id} {escape(unused.resource)}; remove it")
    failing = len(result.failures(fail_on))
    accepted = sum(one.accepted is not None for one in result.findings)
    skipped = f", {len(result.skipped)} files left out or of no kind that is checked" if result.skipped else ""
    verdict = {0: "[green]passed[/]", 1: "[bold red]failed[/]", 2: "[bold red]not checked[/]"}[result.status(fail_on)]
    extent = f"{len(result.checked)} files, {len(rule_book.rules())} rules"
    console.print(f"{verdict}  {extent}: {failing} failing ({fail_on} or worse), {accepted} accepted{skipped}")


def _print_finding(console: Console, finding: FileFinding, fix: str) -> None:
    style = "dim" if finding.accepted is not None else STYLES[finding.severity]
    word = "accepted" if finding.accepted is not None else finding.severity
    console.print(f"[{style}]{word:8}[/]  [bold]{finding.id}[/]  {escape(finding.place)}")
    console.print(f"          {escape(finding.message)}")
    if finding.accepted is not None:
        console.print(f"          [dim]accepted: {escape(finding.accepted)}[/]")
        return
    if finding.note:
        console.print(f"          [yellow]{escape(finding.note)}[/]")
    console.print(f"          [green]fix:[/] {escape(fix)}")


def _print_rules() -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "severity", "fails", "threats"):
        table.add_column(heading, overflow="fold")
    for rule in rule_book.rules():
        table.add_row(rule.id, f"[{STYLES[rule.severity]}]{rule.severity}[/]", escape(rule.title), rule.threat)
    Console(highlight=False).print(table)


@contextmanager
def _told() -> Iterator[None]:
    """Say what went wrong in one line, with exit status 2: nothing has passed."""
    try:
        yield
    except PartywallError as error:
        click.echo(f"Error: {error.public}", err=True)
        sys.exit(2)


def _write(file: Path | None, text: Callable[[], str]) -> None:
    if file is None:
        return
    try:
        file.write_text(text(), "utf-8")
    except OSError as error:
        click.echo(f"Error: {file} cannot be written: {error.strerror}", err=True)
        sys.exit(2)
