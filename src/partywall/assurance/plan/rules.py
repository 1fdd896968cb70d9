"""The rules of `plan_rules/*.rego`: their annotations, and their evaluation over documents."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import yaml

from partywall.decision.rego import EnginePanicked, Evaluator, PolicyFailed, RegoEngine
from partywall.errors import Bug, LimitExceeded
from partywall.wire.findings import SEVERITIES, FileRule, Severity

QUERY: Final = "data.main.findings"
_BLOCK: Final = re.compile(r"^# METADATA\n((?:#.*\n)+)", re.MULTILINE)
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}", re.ASCII)


@functools.cache
def modules() -> Mapping[str, str]:
    """Return the rules' files, name -> text, as the wheel carries them."""
    folder = importlib.resources.files("partywall.assurance").joinpath("plan_rules")
    found = [file for file in folder.iterdir() if file.name.endswith(".rego")]
    return {file.name: file.read_text("utf-8") for file in sorted(found, key=lambda file: file.name)}


@functools.cache
def rules() -> tuple[FileRule, ...]:
    """Return every rule, in order of ids, from its annotations."""
    found = [rule for text in modules().values() for rule in annotated(text)]
    return tuple(sorted(found, key=lambda rule: rule.id))


def annotated(text: str) -> Iterator[FileRule]:
    """Yield the rules that a module's METADATA blocks describe. Raises: Bug when one lacks a field."""
    for match in _BLOCK.finditer(text):
        block = yaml.safe_load(re.sub("^# ?", "", match[1], flags=re.MULTILINE))
        custom = block.get("custom") or {}
        if "id" in custom:
            if custom.get("severity") not in SEVERITIES:
                raise Bug(f"rule {custom['id']} has no severity")
            yield FileRule(
                id=custom["id"],
                title=block["title"],
                severity=cast("Severity", custom["severity"]),
                why=block["description"].strip(),
                threat=custom["threat"],
                fix=custom["fix"].strip(),
            )


def without_rule(text: str, rule_id: str) -> str:
    """Return a module with one rule removed: what stands between its annotations and the next."""
    places = [match.start() for match in _BLOCK.finditer(text)]
    for start, end in zip(places, [*places[1:], len(text)], strict=True):
        if re.search(rf"^#   id: {re.escape(rule_id)}$", text[start:end], re.MULTILINE):
            return text[:start] + text[end:]
    raise ValueError(f"{rule_id} is not in this module")


def settings_module(tenant_labels: Sequence[str]) -> str:
    """Return the module that adds labels that name a tenant. Raises: LimitExceeded for what is no label."""
    for label in tenant_labels:
        if not _LABEL.fullmatch(label):
            raise LimitExceeded(f"{label[:64]!r} is no name of a label", code="malformed-label")
    return f"package partywall.settings\n\nimport rego.v1\n\ntenant_labels := {json.dumps(list(tenant_labels))}\n"


def evaluate(
    documents: Sequence[Mapping[str, Any]],
    *,
    tenant_labels: Sequence[str] = (),
    sources: Mapping[str, str] | None = None,
    engine: type[Any] = RegoEngine,
) -> list[dict[str, Any]]:
    """Return what the rules report of documents {path, contents}, denials and warnings, in a fixed order.

    Raises: Bug when a rule cannot be evaluated; then nothing has passed.
    """
    texts = {**(modules() if sources is None else sources), "settings.rego": settings_module(tenant_labels)}
    try:
        evaluator: Evaluator = engine(texts)
        found: list[dict[str, Any]] = json.loads(evaluator.evaluate(QUERY, json.dumps(list(documents))))
    except (PolicyFailed, EnginePanicked) as error:
        raise Bug(
            "the rules could not be evaluated on this input, so nothing has passed; please report it",
            private=str(error),
        ) from error
    return sorted(found, key=lambda one: (one["path"], one["id"], one["resource"], one["msg"]))


def table() -> str:
    """Return the rules as a table in Markdown."""
    lines = ["| id | severity | fails | why | fix | threats |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {rule.id} | {rule.severity} | {rule.title} | {rule.why} | {_cell(rule.fix)} | {rule.threat} |"
        for rule in rules()
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
