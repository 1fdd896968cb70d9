"""Reads plans, manifests and migrations into what the rules see: documents {path, contents}, as conftest gives them.

Whatever cannot be read whole and with one meaning is `Malformed`, never an empty document: what is not read has not
passed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from partywall.assurance.plan.json_text import parse_json_text
from partywall.assurance.plan.sql import parse_migration
from partywall.assurance.plan.yaml_text import parse_yaml_text
from partywall.errors import CallerFault, LimitExceeded, Malformed
from partywall.wire.findings import Unreadable

LIMIT_BYTES: Final = 64 * 1024 * 1024
FILES_LIMIT: Final = 20_000
EXCEPTIONS_FILE: Final = "partywall-exceptions.yaml"
STDIN: Final = "-"
_SUFFIXES: Final = (".json", ".yaml", ".yml", ".sql")
_ADVICE: Final = {
    "state": "this is Terraform's state; run `terraform plan -out=tfplan && terraform show -json tfplan`",
    "binary": "this is no text; print a plan with `terraform show -json tfplan`",
    "errored": "the plan itself says that it failed; mend that first",
}


class Document(msgspec.Struct, frozen=True):
    """One document of one file. places: what the rules call a resource -> (line, column)."""

    path: str
    contents: Any
    places: Mapping[str, tuple[int, int]] = {}

    @property
    def given(self) -> dict[str, Any]:
        """The form in which rules see it."""
        return {"path": self.path, "contents": self.contents}


class Reading(msgspec.Struct):
    """What was found. skipped: files of folders that are neither plan, manifest nor migration. texts: of SQL files."""

    documents: list[Document] = msgspec.field(default_factory=list)
    unreadable: list[Unreadable] = msgspec.field(default_factory=list)
    skipped: list[str] = msgspec.field(default_factory=list)
    texts: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def checked(self) -> list[str]:
        """The files that documents came from."""
        return list(dict.fromkeys(document.path for document in self.documents))


def read(paths: Sequence[str], stdin: BinaryIO, exclude: Sequence[str] = ()) -> Reading:
    """Read files, whole folders and `-`; go on after what cannot be read, and say so.

    exclude: globs of files inside folders; a file that is named itself is always read.
    """
    reading = Reading()
    for path, named in _files(paths, reading, exclude):
        try:
            found = parse(path, _bytes(path, stdin), reading)
        except CallerFault as error:
            reading.unreadable.append(Unreadable(path=path, message=error.public))
            continue
        if found:
            reading.documents.extend(found)
        elif named:
            message = "it is no Terraform plan, Kubernetes manifest or SQL migration"
            reading.unreadable.append(Unreadable(path=path, message=message))
        else:
            reading.skipped.append(path)
    return reading


def _files(paths: Sequence[str], reading: Reading, exclude: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Yield (file, whether it was named itself), each once, in a fixed order; links to folders are not followed."""
    seen: set[str] = set()
    for given in paths:
        inside = [given] if given == STDIN or not Path(given).is_dir() else list(_below(given))
        if not inside:
            message = "there is no .json, .yaml, .yml or .sql file in this folder"
            reading.unreadable.append(Unreadable(path=given, message=message))
        for path in inside:
            if path not in seen and path != given and any(fnmatchcase(path, glob) for glob in exclude):
                reading.skipped.append(path)
            elif path not in seen:
                yield path, path == given
            seen.add(path)


def _below(folder: str) -> Iterator[str]:
    count = 0
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "node_modules")
        for name in sorted(names):
            if name.lower().endswith(_SUFFIXES) and name != EXCEPTIONS_FILE and not name.startswith("."):
                count += 1
                if count > FILES_LIMIT:
                    raise LimitExceeded(f"{folder} has more than {FILES_LIMIT} files", code="too-many-files")
                yield str(Path(here) / name)


def _bytes(path: str, stdin: BinaryIO) -> bytes:
    try:
        if path == STDIN:
            raw = stdin.read(LIMIT_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise Malformed(f"it cannot be read: {error.strerror or error}", code="unreadable") from error
    if len(raw) > LIMIT_BYTES:
        raise Malformed(f"it has more than {LIMIT_BYTES} bytes", code="input-too-large")
    return raw


def parse(path: str, raw: bytes, reading: Reading | None = None) -> list[Document]:
    """Return a file's documents, none when it is of no kind that is known. Raises: Malformed."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(_ADVICE["binary"], code="malformed-text") from error
    if "\0" in text:
        raise Malformed(_ADVICE["binary"], code="malformed-text")
    if path.lower().endswith(".sql"):
        if reading is not None:
            reading.texts[path] = text
        return [_migration(path, text)]
    if text.lstrip()[:1] in {"{", "["} and not path.lower().endswith((".yaml", ".yml")):
        value = parse_json_text(text)
        return [one for part in _parts(value) for one in _document(path, part, text, 1)]
    return [
        one
        for value, line in parse_yaml_text(text)
        for part in _parts(value)
        for one in _document(path, part, "", line)
    ]


def _migration(path: str, text: str) -> Document:
    contents = parse_migration(text)
    places = {one["name"]: (one["line"], one["column"]) for one in reversed(contents["sql"]["statements"])}
    return Document(path, contents, places)


def _parts(value: Any) -> list[Any]:
    """Return a list's members: `conftest --combine` writes documents so, as {path, contents} or bare."""
    members = value if isinstance(value, list) else [value]
    return [one["contents"] if isinstance(one, dict) and set(one) == {"path", "contents"} else one for one in members]


def _document(path: str, value: Any, text: str, line: int) -> list[Document]:
    """Return the document when it is a plan, a manifest or a parsed migration. Raises: Malformed for half of one."""
    if not isinstance(value, dict):
        return []
    if "resource_changes" in value:
        return [Document(path, _plan(value), _addresses(value, text))]
    if "terraform_version" in value:
        raise (
            Malformed(_ADVICE["state"], code="no-plan")
            if "values" in value
            else Malformed(
                "this plan has no resource_changes; print it with `terraform show -json tfplan`", code="no-plan"
            )
        )
    if isinstance(value.get("sql"), dict) and isinstance(value["sql"].get("statements"), list):
        return [Document(path, value)]
    if "apiVersion" in value and "kind" in value:
        return [Document(path, value, {address(one): (line, 1) for one in manifests(value)})]
    return []


def _plan(value: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(value["resource_changes"], list):
        raise Malformed("its resource_changes are no list", code="no-plan")
    if value.get("errored") is True:
        raise Malformed(_ADVICE["errored"], code="failed-plan")
    return value


def _addresses(plan: dict[str, Any], text: str) -> dict[str, tuple[int, int]]:
    """Return where each resource stands, in one pass: changes stand in the text in the order of the list."""
    places: dict[str, tuple[int, int]] = {}
    position = text.find('"resource_changes"')
    line, seen = 1, 0
    for change in plan["resource_changes"]:
        address = change.get("address") if isinstance(change, dict) else None
        found = text.find(json.dumps(address, ensure_ascii=False), max(position, 0)) if isinstance(address, str) else -1
        if found < 0:
            continue
        line += text.count("\n", seen, found)
        seen = position = found
        places[str(address)] = (line, found - text.rfind("\n", 0, found))
    return places


def manifests(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a List, else the one manifest itself."""
    items = value.get("items") if str(value["kind"]).endswith("List") else None
    return [one for one in items if isinstance(one, dict)] if isinstance(items, list) else [value]


def address(manifest: Mapping[str, Any]) -> str:
    """Return what the rules call a manifest: Kind/namespace/name, as far as it says them."""
    metadata = manifest.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    kind, namespace = manifest.get("kind"), told.get("namespace")
    name = told.get("name") or told.get("generateName")
    parts = [part if isinstance(part, str) else "" for part in (kind, namespace, name)]
    return "/".join(parts if parts[1] else [parts[0], parts[2]])
