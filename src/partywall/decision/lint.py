"""What a tenant's policy module must be before it is ever evaluated."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from partywall.decision.rego import PolicyFailed, RegoEngine

MODULE_LIMIT_BYTES: Final = 65_536


class Finding(msgspec.Struct, frozen=True):
    """One thing to mend. id: stable. line: from 1; 0 for the whole module."""

    id: str
    line: int
    message: str


class Cost(msgspec.Struct, frozen=True):
    """A bound on the work of one evaluation."""

    def work(self, document: str) -> int:
        """Return the bound for an input document."""
        return len(document)


class Inspected(msgspec.Struct, frozen=True):
    """What is known of a module. rules: the entry points that it defines."""

    findings: tuple[Finding, ...]
    rules: frozenset[str] = frozenset()
    cost: Cost = Cost()


def inspect_module(text: str) -> Inspected:
    """Return what is known of a module without evaluating it."""
    if len(text.encode()) > MODULE_LIMIT_BYTES:
        return Inspected((Finding("PW101", 0, f"a module has at most {MODULE_LIMIT_BYTES} bytes"),))
    try:
        syntax: list[dict[str, Any]] = msgspec.json.decode(RegoEngine({"tenant.rego": text}).syntax())
    except PolicyFailed as error:
        return Inspected((Finding("PW102", 0, str(error)),))
    rules = syntax[0]["ast"]["rules"]
    names = {
        rule["Spec"]["head"]["Set"]["refr"]["Var"]["value"]
        for rule in rules
        if "Set" in rule.get("Spec", {}).get("head", {})
    }
    return Inspected((), frozenset(names))


def validate_module(text: str) -> list[Finding]:
    """Return everything that keeps a module from being activated; empty when nothing does."""
    return list(inspect_module(text).findings)
