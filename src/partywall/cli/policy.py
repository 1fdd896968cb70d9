"""`partywall policy test|check|eval`: purely local, on files; what a running platform does is in `policy_remote`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from partywall.cli.output import Output, json_option
from partywall.cli.policy_check import RULES as RULES_OF_POLICIES
from partywall.cli.policy_check import Checked, check_policies
from partywall.cli.policy_suite import TEST_SUFFIX, Suite, policies_in, run_suite
from partywall.decision.lint import inspect_module
from partywall.decision.policy import Answer, Policy, PolicyFailed, validate_module
from partywall.decision.scan import Finding
from partywall.version import __version__
from partywall.wire.findings import junit, sarif

RULES: Final = """\b
A policy is one file, `package tenant`. These rules are read, each a set; all of them narrow what the base policy and
the grants allow, and none can allow anything:
  deny_grant contains reason         may it happen at all: principal, action, resource
  obligations_grant contains what    {"redact": [detector]}, {"truncate": bytes} or {"tag": 0..3}
  deny contains reason               these arguments, now: also payload and context
  approve contains reason            the same: wants a person's approval first
  obligations contains what          the same
A reason is a word like "amount-too-large", or {"reason": word, "advice": sentence}. A rule that errors denies.

\b
Example (acme.rego):
  package tenant
  deny contains "amount-too-large" if input.payload.amount > 1000
  obligations contains {"redact": ["iban"]} if input.resource.kind == "tool"
"""
_SAMPLE: Final[dict[str, Any]] = {
    "principal": {
        "kind": "agent",
        "id": "agt_" + "a" * 26,
        "slug": "scout",
        "tenant": "ten_" + "a" * 26,
        "scopes": None,
        "clearance": 1,
        "on_behalf_of": None,
    },
    "action": {"type": "tool.call"},
    "resource": {
        "region": "local",
        "tenant": "ten_" + "a" * 26,
        "kind": "tool",
        "id": "mcp_" + "a" * 26 + "/tool",
        "name": "server/tool",
        "classification": 1,
    },
    "revision": "1-000000000000",
    "context": {
        "class": "effect",
        "depth": 0,
        "label": None,
        "time": {"unix_s": 1_767_607_200, "hour": 10, "weekday": 0},
    },
    "payload": {},
}
_STYLES: Final = {"allow": "bold green", "deny": "bold red", "needs-approval": "bold yellow"}
_files = click.Path(exists=True, path_type=Path)
_output = click.Path(dir_okay=False, path_type=Path)
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(epilog=RULES)
def policy() -> None:
    """Write, check and test the policy of a tenant."""


@policy.command(
    epilog="\b\nExamples:\n  partywall policy check acme.rego\n  partywall policy check policies/\n"
    "  partywall policy check policies/ --sarif findings.sarif --junit findings.xml\n\b\n"
    "Exit status: 0 all can be activated; 1 something is to be mended; 2 something could not be read."
)
@click.argument("paths", type=_files, nargs=-1, required=True)
@click.option("--sarif", "sarif_file", type=_output, help="Write SARIF 2.1.0 for code scanning.")
@click.option("--junit", "junit_file", type=_output, help="Write JUnit XML for test reports.")
@json_option
@click.pass_context
def check(
    context: click.Context,
    *,
    paths: tuple[Path, ...],
    sarif_file: Path | None,
    junit_file: Path | None,
    as_json: bool,
) -> None:
    """Say what keeps policies from being activated: every finding with its place and how to mend it."""
    out, result = Output(as_json=as_json), check_policies(paths)
    if sarif_file is not None:
        _write(sarif_file, sarif("partywall", __version__, RULES_OF_POLICIES, result.findings, result.unreadable))
    if junit_file is not None:
        _write(junit_file, junit("partywall policy check", list(result.texts), result.findings, result.unreadable))
    out.data(_plain(result))
    if not as_json:
        _print_checked(out, result)
    context.exit(result.status)


@policy.command(
    epilog="\b\nExamples:\n  partywall policy test policies/\n  partywall policy test acme.rego\n\b\n"
    "A test is a rule `test_…`, in the policy or in `acme_test.rego` beside it:\n"
    '  test_limit if "amount-too-large" in deny with input as {"payload": {"amount": 5000}}'
)
@click.argument("paths", type=_files, nargs=-1, required=True)
@json_option
@click.pass_context
def test(context: click.Context, *, paths: tuple[Path, ...], as_json: bool) -> None:
    """Run the test_ rules of policies; print what they cover. Exit status 1 when one fails, or there is none."""
    out, console = Output(as_json=as_json), Console(highlight=False, soft_wrap=True)
    try:
        suites = [run_suite(path) for path in policies_in(paths)]
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read it: {error}") from error
    if not suites:
        raise click.ClickException("there is no .rego file here; `partywall policy --help` shows how to write one")
    out.data([{"coverage_percent": suite.coverage, **msgspec.to_builtins(suite)} for suite in suites])
    for suite in suites if not as_json else []:
        _print_suite(console, suite)
    context.exit(0 if all(suite.passed for suite in suites) else 1)


@policy.command(
    name="eval",
    epilog="\b\nExamples:\n  partywall policy eval acme.rego --input transfer.json\n"
    '  echo \'{"payload": {"amount": 5000}}\' | partywall policy eval acme.rego --input - --expect deny\n\b\n'
    "What the input leaves out is an agent's call of server/tool that it was granted, on a Monday at ten.",
)
@click.argument("file", type=_file)
@click.option("--input", "source", type=click.File("rb"), required=True, help="JSON, as policies see it; - for stdin.")
@click.option("--expect", type=click.Choice(["allow", "deny", "needs-approval"]), help="Exit status 1 when it differs.")
@json_option
@click.pass_context
def evaluate(context: click.Context, *, file: Path, source: Any, expect: str | None, as_json: bool) -> None:
    """Print the verdict of the base policy and a tenant's on one input."""
    text = _read(file)
    findings = validate_module(text)
    if findings:
        raise click.ClickException("\n".join(f"{file}:{one.line}: {one.id} {one.message}" for one in findings))
    try:
        given = msgspec.json.decode(source.read(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.ClickException(f"the input is no JSON object: {error}") from error
    verdict = _verdict(Policy(text), given)
    out = Output(as_json=as_json)
    out.data(verdict)
    out.line(verdict["verdict"], style=_STYLES[verdict["verdict"]])
    for name in ("reason", "advice", "obligations"):
        if verdict.get(name):
            out.line(f"{name}: {verdict[name]}")
    context.exit(1 if expect is not None and expect != verdict["verdict"] else 0)


def _verdict(compiled: Policy, given: dict[str, Any]) -> dict[str, Any]:
    """Return the verdict as the decider would join it: deny, then approval, then allow with all obligations."""
    document = _merged(_SAMPLE, given)
    principal, resource = document["principal"], document["resource"]
    if isinstance(principal, dict) and "grants" not in principal and isinstance(resource, dict):
        named = f"{resource.get('kind')}/{resource.get('id')}"
        action = document["action"].get("type") if isinstance(document["action"], dict) else None
        principal["grants"] = [{"action": action, "resource": named}]
    text = msgspec.json.encode(document).decode()
    try:
        granted = compiled.grant(text)
        asked = Answer() if granted.deny is not None else compiled.arguments(text)
    except PolicyFailed as error:
        return {"verdict": "deny", "reason": "policy-error", "advice": str(error)}
    for word, reason in (("deny", granted.deny or asked.deny), ("needs-approval", asked.approve)):
        if reason is not None:
            return {"verdict": word, "reason": reason.reason, "advice": reason.advice}
    return {"verdict": "allow", "obligations": msgspec.to_builtins([*granted.obligations, *asked.obligations])}


def _merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in given.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict) and key != "payload"
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _print_suite(console: Console, suite: Suite) -> None:
    for finding in suite.findings:
        console.print(_line(suite.policy, finding))
    for outcome in suite.outcomes:
        mark = "[green]pass[/]" if outcome.passed else "[bold red]fail[/]"
        console.print(f"{mark}  {escape(suite.policy)}  {outcome.name}  {escape(outcome.error)}".rstrip())
    if not suite.outcomes and not suite.findings:
        console.print(
            f"[yellow]none[/]  {escape(suite.policy)}  no test_ rule; `partywall policy test --help` shows one"
        )
    if suite.outcomes:
        missing = f"; not reached: lines {', '.join(map(str, suite.not_covered))}" if suite.not_covered else ""
        console.print(f"[dim]{escape(suite.policy)}: {suite.coverage:.0f} % of its lines covered{missing}[/]")


def _line(path: str, finding: Finding) -> str:
    place = f"{path}:{finding.line}" if finding.line else path
    return f"[bold]{escape(place)}[/]: [red]{finding.id}[/] {escape(finding.message)}"


def _print_checked(out: Output, result: Checked) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in result.findings:
        console.print(f"[bold]{escape(finding.place)}[/]: [red]{finding.id}[/] {escape(finding.message)}")
    for broken in result.unreadable:
        console.print(f"[bold]{escape(broken.path)}[/]: [red]unreadable[/] {escape(broken.message)}")
    dirty = {finding.path for finding in result.findings}
    for path, text in result.texts.items():
        if path not in dirty and not path.endswith(TEST_SUFFIX):
            out.done(f"{path}: {_summary(text)}")


def _plain(result: Checked) -> dict[str, list[dict[str, Any]]]:
    """Return every file with what is to be mended in it."""
    answer: dict[str, list[dict[str, Any]]] = {path: [] for path in result.texts}
    for one in result.findings:
        told = {"id": one.id, "line": one.line, "column": one.column, "message": one.message}
        answer[one.path].append(told)
    for broken in result.unreadable:
        answer[broken.path] = [{"id": "unreadable", "line": 0, "column": 0, "message": broken.message}]
    return answer


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error


def _summary(text: str) -> str:
    inspected = inspect_module(text)
    rules = ", ".join(sorted(inspected.rules)) or "no rule that is asked: the base policy alone decides"
    depth = inspected.cost.degree
    return f"{rules}; iterates over the input {depth} deep" if depth else rules


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path} is no UTF-8 text") from error
