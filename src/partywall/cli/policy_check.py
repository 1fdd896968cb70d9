"""Checks policies in files and whole folders: every problem of every file at once, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from partywall.cli.policy_suite import TEST_SUFFIX, policies_in
from partywall.decision.lint import located
from partywall.decision.policy import validate_module
from partywall.decision.rego import EnginePanicked, PolicyFailed, RegoEngine
from partywall.decision.scan import Finding, scan
from partywall.wire.findings import FileFinding, FileRule, Unreadable

_TITLES: Final = {
    "PW101": ("Too large, or with characters that hide text", "Split it, and remove what a reader cannot see."),
    "PW102": ("Not Rego", "Mend the syntax where the message says."),
    "PW103": ("Nested or chained more deeply than the parser is trusted with", "Name the parts as rules."),
    "PW104": ("Another package", "Begin with `package tenant`."),
    "PW105": ("Reads more than its input", "Import nothing but rego.v1; use input and your own rules."),
    "PW106": ("A builtin that is not allowed", "Compute from the input with the builtins that are allowed."),
    "PW107": (
        "A regular expression that two engines read differently",
        "Write a literal, without flags or \\d \\w \\s.",
    ),
    "PW108": ("An entry point of another form", "Write `<name> contains <value> if { … }`."),
    "PW109": ("A rule that nothing uses", "Mend its name, or remove it."),
    "PW110": ("Recursion, or more work than the bound", "Iterate over fewer things at once in one rule."),
    "PW111": ("Syntax that is not understood", "Write it with plainer syntax."),
    "PW112": ("It fails on a harmless input", "Guard what may be missing or of another type."),
    "PW113": ("What two engines read differently", "Write it the way the message says."),
}
RULES: Final = tuple(
    FileRule(
        id=rule,
        title=title,
        severity="high",
        why="Such a policy cannot be activated: it would not be certain what it decides.",
        threat="ADR-0004",
        fix=fix,
    )
    for rule, (title, fix) in _TITLES.items()
)
"""The rules of `validate_module`, for reports."""


class Checked(msgspec.Struct, frozen=True):
    """What was found. texts: the policies that could be read."""

    texts: dict[str, str]
    findings: tuple[FileFinding, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def status(self) -> int:
        """The exit status: 2 when anything could not be read, 1 when anything is to be mended, else 0."""
        return 2 if self.unreadable else 1 if self.findings else 0


def check_policies(paths: Sequence[Path]) -> Checked:
    """Check every policy among files and folders, and that the tests beside it compile with it."""
    texts: dict[str, str] = {}
    findings: list[FileFinding] = []
    unreadable = [
        Unreadable(path=str(path), message="there is no .rego file in this folder")
        for path in paths
        if path.is_dir() and not any(policies_in([path]))
    ]
    for policy in policies_in(paths):
        for path in (policy, policy.with_name(policy.name.removesuffix(".rego") + TEST_SUFFIX)):
            try:
                text = path.read_bytes().decode("utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                unreadable.append(Unreadable(path=str(path), message=f"it cannot be read as UTF-8 text: {error}"))
                break
            found = validate_module(text) if path == policy else list(_tests(texts[str(policy)], text))
            texts[str(path)] = text
            findings.extend(_placed(str(path), text, one) for one in found)
    return Checked(texts, tuple(findings), tuple(unreadable))


def _tests(policy: str, tests: str) -> Iterator[Finding]:
    """Yield why tests do not compile with their policy."""
    refused = scan(tests)
    if refused is not None:
        yield refused
        return
    try:
        RegoEngine({"tests.rego": tests})
        RegoEngine({"policy.rego": policy, "tests.rego": tests})
    except (PolicyFailed, EnginePanicked) as error:
        yield located(str(error))


def _placed(path: str, text: str, finding: Finding) -> FileFinding:
    """Return the finding at the first visible character of its line."""
    lines = text.split("\n")
    line = lines[finding.line - 1] if 0 < finding.line <= len(lines) else ""
    return FileFinding(
        id=finding.id,
        severity="high",
        path=path,
        resource="",
        message=finding.message,
        line=finding.line,
        column=len(line) - len(line.lstrip()) + 1 if finding.line else 0,
    )
