"""Runs the `test_` rules of policies, locally: a policy's own, and those of the `_test.rego` file beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from partywall.decision.lint import ENTRIES, inspect_module
from partywall.decision.policy import validate_module
from partywall.decision.rego import EnginePanicked, PolicyFailed, RegoEngine
from partywall.decision.scan import Finding, scan
from partywall.decision.syntax import definitions, parse

TEST_SUFFIX = "_test.rego"
PREFIX = "test_"


class Outcome(msgspec.Struct, frozen=True):
    """One test rule. error: why it failed, when it is no plain false."""

    name: str
    passed: bool
    error: str = ""


class Suite(msgspec.Struct, frozen=True):
    """One policy's tests. covered, not_covered: lines of the policy. findings: then nothing was run."""

    policy: str
    outcomes: tuple[Outcome, ...] = ()
    covered: tuple[int, ...] = ()
    not_covered: tuple[int, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there are tests, and all hold."""
        return not self.findings and bool(self.outcomes) and all(outcome.passed for outcome in self.outcomes)

    @property
    def coverage(self) -> float:
        """Covered lines of the policy, in percent."""
        lines = len(self.covered) + len(self.not_covered)
        return 100.0 * len(self.covered) / lines if lines else 100.0


def policies_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield every policy among files and folders, without the test files themselves, each once."""
    seen: set[Path] = set()
    for path in paths:
        for one in sorted(path.rglob("*.rego")) if path.is_dir() else [path]:
            policy = one.with_name(one.name.replace(TEST_SUFFIX, ".rego"))
            if policy not in seen and policy.exists():
                seen.add(policy)
                yield policy


def run_suite(policy: Path) -> Suite:
    """Check one policy and run its tests. Raises: OSError, UnicodeDecodeError when a file cannot be read."""
    text = policy.read_text("utf-8")
    beside = policy.with_name(policy.name.removesuffix(".rego") + TEST_SUFFIX)
    tests = beside.read_text("utf-8") if beside.exists() else None
    findings = validate_module(text)
    refused = scan(tests) if tests is not None else None
    if findings or refused is not None:
        return Suite(str(policy), findings=(*findings, *([refused] if refused else [])))
    modules = {"policy.rego": text} | ({} if tests is None else {"tests.rego": tests})
    try:
        names = [*inspect_module(text).names, *(_names(tests) if tests is not None else [])]
        engine = RegoEngine(modules, coverage=True)
        outcomes = tuple(_run(engine, name) for name in dict.fromkeys(names) if name.startswith(PREFIX))
        covered, not_covered = _coverage(engine)
    except (PolicyFailed, EnginePanicked) as error:
        return Suite(str(policy), findings=(Finding("PW102", 0, f"{beside.name}: {_last_line(error)}"),))
    return Suite(str(policy), outcomes, covered, not_covered)


def _names(tests: str) -> list[str]:
    return [one.name for one in definitions(parse(tests)) if one.name not in ENTRIES]


def _run(engine: RegoEngine, name: str) -> Outcome:
    try:
        return Outcome(name, engine.evaluate(f"data.tenant.{name}", "{}") == "true")
    except (PolicyFailed, EnginePanicked) as error:
        text = _last_line(error)
        return Outcome(name, False, "" if text.endswith("is undefined") else text)


def _coverage(engine: RegoEngine) -> tuple[tuple[int, ...], tuple[int, ...]]:
    report: dict[str, Any] = msgspec.json.decode(engine.coverage())
    for one in report["files"]:
        if one["path"] == "policy.rego":
            return tuple(one["covered"]), tuple(one["not_covered"])
    return (), ()


def _last_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[-1].removeprefix("error: ")
