"""`partywall probe`: attack a live deployment and say what held."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable

import click
import msgspec
from rich.console import Console
from rich.table import Table

from partywall.assurance.probe import Finding, Leak, NotHere, Probe
from partywall.assurance.probes import PROBES
from partywall.assurance.target import SetupFailed, Target

DEFAULT_URL = "http://127.0.0.1:8470"
COLOURS = {"held": "green", "leak": "bold red", "skipped": "yellow", "broken": "red"}


def chosen(only: Iterable[str]) -> list[Probe]:
    """Return the probes of these ids (prefixes count), all without any. Raises: click.UsageError."""
    wanted = tuple(only)
    picked = [probe for probe in PROBES if not wanted or probe.id.startswith(wanted)]
    if not picked:
        raise click.UsageError(f"no probe has an id that starts with {', '.join(wanted)}; see --list")
    return picked


def run(target: Target, picked: list[Probe], *, tell: Callable[[Finding], None] = lambda _: None) -> list[Finding]:
    """Run each probe against the target and return its finding; a probe that breaks is a finding too."""
    findings = []
    for probe in picked:
        started = time.monotonic()
        try:
            result, evidence = "held", probe.attack(target)
        except Leak as leak:
            result, evidence = "leak", str(leak)
        except NotHere as reason:
            result, evidence = "skipped", str(reason)
        except (SetupFailed, OSError, KeyError, ValueError, TypeError) as error:
            result, evidence = "broken", f"{type(error).__name__}: {error}"
        finding = Finding(
            id=probe.id,
            title=probe.title,
            control=probe.control,
            result=result,
            evidence=evidence,
            duration_s=round(time.monotonic() - started, 2),
        )
        findings.append(finding)
        tell(finding)
    return findings


def table(findings: list[Finding]) -> Table:
    """Return the findings as a table for a terminal."""
    shown = Table(box=None, pad_edge=False)
    for column in ("id", "attack", "result", "evidence"):
        shown.add_column(column, overflow="fold")
    for finding in findings:
        colour = COLOURS[finding.result]
        shown.add_row(finding.id, finding.title, f"[{colour}]{finding.result}[/]", finding.evidence)
    return shown


@click.command(
    epilog="\b\nExamples:\n  partywall probe --list\n  partywall probe --only MCP --only ID-3\n  partywall probe --json"
)
@click.option("--url", envvar="PARTYWALL_URL", help="Where the platform answers; else the saved sign-in's.")
@click.option("--key", envvar="PARTYWALL_OPERATOR_KEY", help="A platform operator's API key.")
@click.option("--only", multiple=True, metavar="ID", help="Only probes whose id starts so; may be repeated.")
@click.option("--list", "list_", is_flag=True, help="List the probes and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(
    context: click.Context, url: str | None, key: str | None, only: tuple[str, ...], *, list_: bool, as_json: bool
) -> None:
    """Attack a live deployment as two throwaway tenants, and report what held.

    Exit status 0: everything held. 1: a leak. 2: the probes could not run.
    """
    console = Console(stderr=as_json)
    picked = chosen(only)
    if list_:
        for probe in picked:
            click.echo(f"{probe.id:10} {probe.title}  [{probe.control}]")
        return
    url, key = _signed_in(context, url, key)
    if not key:
        raise click.UsageError("give an operator's key: --key, PARTYWALL_OPERATOR_KEY, or `partywall login` first")
    try:
        target = Target(url, key)
    except (SetupFailed, OSError) as error:
        console.print(f"[red]the probes could not set up their tenants at {url}: {error}[/]")
        raise SystemExit(2) from error
    try:
        findings = run(target, picked, tell=lambda finding: _tell(console, finding))
    finally:
        target.close()
    if as_json:
        sys.stdout.write(json.dumps([msgspec.to_builtins(finding) for finding in findings]) + os.linesep)
    counts = {name: sum(finding.result == name for finding in findings) for name in COLOURS}
    console.print("  ".join(f"{name}: {count}" for name, count in counts.items() if count))
    raise SystemExit(1 if counts["leak"] else 2 if counts["broken"] else 0)


def _tell(console: Console, finding: Finding) -> None:
    colour = COLOURS[finding.result]
    console.print(f"[{colour}]{finding.result:8}[/] {finding.id:10} {finding.title}")
    console.print(f"                    [dim]{finding.evidence} ({finding.duration_s:.1f} s)[/]")


def _signed_in(context: click.Context, url: str | None, key: str | None) -> tuple[str, str | None]:
    """Return address and key: as given, else those of the saved sign-in that the command line chose."""
    chosen = context.obj if isinstance(context.obj, dict) else {}
    url, key = url or chosen.get("url"), key or chosen.get("key")
    saved = chosen["saved"](chosen.get("profile")) if "saved" in chosen and not key else None
    if saved is not None:
        return url or saved.url, saved.key
    return url or DEFAULT_URL, key
