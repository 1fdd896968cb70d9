"""Findings that stand for a while: each with a rule, a resource, a reason, and a day on which it ends.

In a file `partywall-exceptions.yaml` beside what is checked, or inline: an annotation of a manifest, a comment in SQL.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal

import msgspec

from partywall.assurance.plan.documents import EXCEPTIONS_FILE, Document, Reading, address, manifests
from partywall.assurance.plan.yaml_text import parse_yaml_text
from partywall.errors import Malformed
from partywall.wire.findings import FileFinding

ANNOTATION: Final = "partywall.dev/allow."
_ID: Final = re.compile(r"PWP-[0-9]{3}", re.ASCII)
_INLINE: Final = re.compile(r"until (?P<until>[0-9]{4}-[0-9]{2}-[0-9]{2}) because (?P<reason>\S.{7,})", re.ASCII)
_COMMENT: Final = re.compile(r"^\s*--\s*partywall:\s*allow\s+(?P<id>\S+)\s+(?P<rest>.*)$", re.MULTILINE)


class Exemption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One exception. resource: as the finding names it; * matches any text. path: of the file, * likewise."""

    id: str
    resource: str
    reason: str
    expires: dt.date
    path: str = "*"
    source: Literal["inSource", "external"] = "external"
    line: int = 0

    def covers(self, finding: FileFinding) -> bool:
        """Whether it is about this finding, expired or not."""
        here = self.line in {0, finding.line}
        return (
            self.id == finding.id
            and here
            and fnmatchcase(finding.resource, self.resource)
            and fnmatchcase(finding.path, self.path)
        )


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exceptions: list[Exemption]


def find(paths: Sequence[str]) -> list[Path]:
    """Return the exception files beside the files, and at the top of the folders, that are checked."""
    places = [Path(path) if Path(path).is_dir() else Path(path).parent for path in paths if path != "-"]
    return [file for place in dict.fromkeys(places) if (file := place / EXCEPTIONS_FILE).is_file()]


def load(file: Path) -> list[Exemption]:
    """Return the exceptions of one file. Raises: Malformed: an exception that is misread must not accept anything."""
    try:
        found = [value for value, _ in parse_yaml_text(file.read_text("utf-8"))]
        listed = msgspec.convert(found[0] if len(found) == 1 else {}, _File, strict=True).exceptions
    except (msgspec.ValidationError, OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{file}: {error}", code="malformed-exceptions") from error
    except Malformed as error:
        raise Malformed(f"{file}: {error.public}", code="malformed-exceptions") from error
    for one in listed:
        _check(one, str(file))
    return listed


def _check(one: Exemption, where: str) -> None:
    if not _ID.fullmatch(one.id) or len(one.reason.strip()) < 8 or not one.resource.strip("*"):
        message = f"{where}: an exception names one rule (PWP-…), a resource that is not only *, and a reason in words"
        raise Malformed(message, code="malformed-exceptions")
    if one.source != "external" or one.line:
        raise Malformed(f"{where}: source and line are not for this file", code="malformed-exceptions")


def inline(reading: Reading) -> Iterator[Exemption]:
    """Yield what manifests and migrations accept of themselves. Raises: Malformed when it is not understood."""
    for document in reading.documents:
        yield from _annotations(document)
    for path, text in reading.texts.items():
        starts = sorted({line for document in reading.documents if document.path == path for line in _starts(document)})
        for match in _COMMENT.finditer(text):
            line = text.count("\n", 0, match.start("id")) + 1
            # the statement that the comment stands in, or the next
            about = next((start for start in starts if start >= line), starts[-1] if starts else 0)
            yield _inline(match["id"], match["rest"], f"{path}:{line}", path=path, line=about)


def _starts(document: Document) -> Iterator[int]:
    for statement in document.contents.get("sql", {}).get("statements", []):
        yield int(statement["line"])


def _annotations(document: Document) -> Iterator[Exemption]:
    for manifest in manifests(document.contents) if "kind" in document.contents else ():
        metadata = manifest.get("metadata")
        annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
        for name, text in annotations.items() if isinstance(annotations, dict) else ():
            if name.startswith(ANNOTATION):
                rule, about = name.removeprefix(ANNOTATION), _literal(address(manifest))
                yield _inline(rule, str(text), document.path, path=document.path, resource=about)


def _literal(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)


def _inline(rule: str, text: str, where: str, *, path: str, resource: str = "*", line: int = 0) -> Exemption:
    match = _INLINE.fullmatch(text.strip())
    try:
        if match is None or not _ID.fullmatch(rule):
            raise ValueError("no match")
        until = dt.date.fromisoformat(match["until"])
    except ValueError as error:
        message = f"{where}: an exception reads `PWP-… until YYYY-MM-DD because <reason>`"
        raise Malformed(message, code="malformed-exceptions") from error
    return Exemption(
        id=rule,
        resource=resource,
        reason=match["reason"],
        expires=until,
        path=_literal(path),
        source="inSource",
        line=line,
    )


def apply(
    findings: Sequence[FileFinding], exemptions: Sequence[Exemption], today: dt.date
) -> tuple[list[FileFinding], list[Exemption]]:
    """Return the findings with what is accepted of them, and the exceptions that nothing needs any more."""
    used: set[int] = set()
    judged = []
    for finding in findings:
        about = [(index, one) for index, one in enumerate(exemptions) if one.covers(finding)]
        used |= {index for index, _ in about}
        valid = next((one for _, one in about if one.expires >= today), None)
        if valid is not None:
            accepted = f"{valid.reason} (until {valid.expires})"
            finding = msgspec.structs.replace(finding, accepted=accepted, accepted_by=valid.source)  # noqa: PLW2901  # the same finding, judged
        elif about:
            finding = msgspec.structs.replace(finding, note=f"its exception ended on {about[-1][1].expires}")  # noqa: PLW2901  # likewise
        judged.append(finding)
    return judged, [one for index, one in enumerate(exemptions) if index not in used]
