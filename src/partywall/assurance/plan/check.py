"""One check: read, evaluate, place, except. What the command prints and a test asks for alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from partywall.assurance.plan import documents, exceptions, rules
from partywall.assurance.plan.documents import Document, Reading
from partywall.assurance.plan.exceptions import Exemption
from partywall.wire.findings import SEVERITIES, FileFinding, Severity, Unreadable

_UNKNOWN: Final = (0, 0)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found. checked, skipped: files. unused: exceptions that no finding needs."""

    findings: tuple[FileFinding, ...]
    checked: tuple[str, ...]
    skipped: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    unused: tuple[Exemption, ...] = ()

    def failures(self, fail_on: Severity) -> list[FileFinding]:
        """Return what fails the check: not accepted, and at least as bad as this."""
        least = SEVERITIES.index(fail_on)
        return [one for one in self.findings if one.accepted is None and SEVERITIES.index(one.severity) >= least]

    def status(self, fail_on: Severity) -> int:
        """Return the exit status: 2 when anything could not be read, 1 when anything fails, else 0."""
        return 2 if self.unreadable else 1 if self.failures(fail_on) else 0


def check(
    paths: Sequence[str],
    *,
    stdin: BinaryIO,
    today: dt.date,
    exception_files: Sequence[Path] = (),
    tenant_labels: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Result:
    """Check files, folders and `-`. Raises: Malformed for exceptions that are not understood; Bug for the rules'."""
    reading = documents.read(paths, stdin, exclude)
    if not reading.documents and not reading.unreadable:
        message = "nothing here is a Terraform plan, Kubernetes manifest or SQL migration"
        reading.unreadable.append(Unreadable(path=", ".join(paths), message=message))
    found = evaluated(reading, tenant_labels)
    files = dict.fromkeys([*exception_files, *exceptions.find(paths)])
    exemptions = [*exceptions.inline(reading), *(one for file in files for one in exceptions.load(file))]
    findings, unused = exceptions.apply(found, exemptions, today)
    return Result(
        findings=tuple(findings),
        checked=tuple(reading.checked),
        skipped=tuple(reading.skipped),
        unreadable=tuple(reading.unreadable),
        unused=tuple(unused),
    )


def evaluated(reading: Reading, tenant_labels: Sequence[str] = ()) -> list[FileFinding]:
    """Return what the rules report, each with its severity and its place in its file."""
    if not reading.documents:
        return []
    severities = {rule.id: rule.severity for rule in rules.rules()}
    by_path: dict[str, list[Document]] = {}
    for document in reading.documents:
        by_path.setdefault(document.path, []).append(document)
    found = rules.evaluate([document.given for document in reading.documents], tenant_labels=tenant_labels)
    return [_finding(one, severities[one["id"]], by_path.get(one["path"], [])) for one in found]


def _finding(one: dict[str, Any], severity: Severity, of_path: Sequence[Document]) -> FileFinding:
    line, column = _place(one, of_path)
    message = one["msg"].removeprefix(f"{one['id']} ")
    return FileFinding(
        id=one["id"],
        severity=severity,
        path=one["path"],
        resource=one["resource"],
        message=message,
        line=line,
        column=column,
    )


def _place(one: dict[str, Any], of_path: Sequence[Document]) -> tuple[int, int]:
    line, column = one.get("line"), one.get("column")
    if isinstance(line, int) and isinstance(column, int):
        return line, column
    for document in of_path:
        if one["resource"] in document.places:
            return document.places[one["resource"]]
    return _UNKNOWN
