"""Findings in files, as programs exchange them: SARIF 2.1.0 for code scanning, JUnit XML for test reports. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, Literal
from xml.sax.saxutils import escape, quoteattr

import msgspec

Severity = Literal["critical", "high", "medium", "low"]
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
"""From the least to the worst."""

_LEVELS: Final = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_SCORES: Final = {"critical": "9.5", "high": "8.0", "medium": "5.0", "low": "2.0"}
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class FileRule(msgspec.Struct, frozen=True, kw_only=True):
    """What a finding is an instance of. why: which attack it allows. fix: what to do instead."""

    id: str
    title: str
    severity: Severity
    why: str
    threat: str
    fix: str


class FileFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to mend in one file. line, column: from 1; 0 is the whole file.

    accepted: why it stands all the same, when an exception says so. accepted_by: where the exception is.
    """

    id: str
    severity: Severity
    path: str
    resource: str
    message: str
    line: int = 0
    column: int = 0
    accepted: str | None = None
    accepted_by: Literal["inSource", "external"] | None = None
    note: str = ""

    @property
    def place(self) -> str:
        """`path:line:column`, as editors and terminals open it."""
        return f"{self.path}:{max(self.line, 1)}:{max(self.column, 1)}"


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A file that could not be checked, and so has not passed."""

    path: str
    message: str


def sarif(
    tool: str,
    version: str,
    rules: Sequence[FileRule],
    findings: Sequence[FileFinding],
    unreadable: Sequence[Unreadable] = (),
) -> str:
    """Return one SARIF log as JSON text. Source: OASIS SARIF 2.1.0, sections 3.14 to 3.58."""
    places = {rule.id: index for index, rule in enumerate(rules)}
    driver = {
        "name": tool,
        "version": version,
        "semanticVersion": version,
        "rules": [_descriptor(rule) for rule in rules],
    }
    notes = [
        {"level": "error", "message": {"text": one.message}, "locations": [_location(one.path, 0, 0)]}
        for one in unreadable
    ]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": not unreadable, "toolExecutionNotifications": notes}],
        "results": [_result(finding, places) for finding in findings],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, ensure_ascii=True) + "\n"


def _descriptor(rule: FileRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": re.sub("[^A-Za-z0-9]", "", rule.title.title()),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.fix, "markdown": f"**Fix.** {rule.fix}\n\n**Why.** {rule.why} ({rule.threat})"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"security-severity": _SCORES[rule.severity], "tags": ["security", "tenant-isolation"]},
    }


def _result(finding: FileFinding, places: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [_location(finding.path, finding.line, finding.column, finding.resource)],
        "partialFingerprints": {"partywall/v1": f"{finding.id}:{finding.path}:{finding.resource}:{finding.message}"},
    }
    if finding.id in places:
        result["ruleIndex"] = places[finding.id]
    if finding.accepted is not None:
        kind = finding.accepted_by or "external"
        result["suppressions"] = [{"kind": kind, "status": "accepted", "justification": finding.accepted}]
    return result


def _location(path: str, line: int, column: int, resource: str = "") -> dict[str, Any]:
    region = {"startLine": max(line, 1), "startColumn": max(column, 1)}
    physical = {"artifactLocation": {"uri": _uri(path)}, "region": region}
    location: dict[str, Any] = {"physicalLocation": physical}
    if resource:
        location["logicalLocations"] = [{"fullyQualifiedName": resource, "kind": "resource"}]
    return location


def _uri(path: str) -> str:
    """Return a path as a relative reference. Source: RFC 3986, section 2."""
    encoded = path.replace("\\", "/").encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}" for byte in encoded)


def junit(
    suite: str, paths: Sequence[str], findings: Sequence[FileFinding], unreadable: Sequence[Unreadable] = ()
) -> str:
    """Return a JUnit report: a test case for each finding, and one for each file without any.

    What is accepted is skipped, what could not be read is an error.
    """
    cases = [_case(finding) for finding in findings]
    dirty = {finding.path for finding in findings} | {one.path for one in unreadable}
    cases += [
        f"<testcase classname={_attribute(path)} name={_attribute(path)}/>" for path in paths if path not in dirty
    ]
    cases += [
        f'<testcase classname={_attribute(one.path)} name="readable">'
        f"<error message={_attribute(one.message)}/></testcase>"
        for one in unreadable
    ]
    failed = sum(finding.accepted is None for finding in findings)
    counts = f'tests="{len(cases)}" failures="{failed}" errors="{len(unreadable)}" skipped="{len(findings) - failed}"'
    body = "\n".join(cases)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<testsuites>\n<testsuite name={_attribute(suite)} {counts}>\n{body}\n</testsuite>\n</testsuites>\n"


def _case(finding: FileFinding) -> str:
    name = _attribute(f"{finding.id} {finding.resource}".strip())
    head = f"<testcase classname={_attribute(finding.path)} name={name} file={_attribute(finding.path)}"
    head += f' line="{max(finding.line, 1)}">'
    if finding.accepted is not None:
        return f"{head}<skipped message={_attribute(finding.accepted)}/></testcase>"
    text = escape(_NOT_XML.sub("\ufffd", f"{finding.place}\n{finding.message}\n{finding.note}".rstrip()))
    return f'{head}<failure type="{finding.severity}" message={_attribute(finding.message)}>{text}</failure></testcase>'


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
