"""The summary as the page needs it: who, which layers, and what happened between whom."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from demo.layers import TITLES

TENANTS_LIMIT: Final = 4
"""There are as many colours."""


class Facts:
    """Reads a summary, whole or of a run that broke off: what is missing is empty."""

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary
        self.right = bool(summary["right"])
        self.began_s = float(summary["began_s"])
        self.duration_s = float(summary["duration_s"])
        self.chapters: list[dict[str, Any]] = summary["chapters"]
        self.attempts: list[dict[str, Any]] = summary["attempts"]
        self.tenants = list(self.figures("tenants"))[:TENANTS_LIMIT]
        self.ledgers = {name: self.figures("ledger")[name] for name in self.tenants if name in self.figures("ledger")}
        self.probes: list[dict[str, Any]] = self.figures("probes").get("findings", [])
        self.knockouts: list[dict[str, Any]] = self.figures("knockouts").get("rows", [])
        self.between: Counter[tuple[str, str, str]] = Counter(
            (one["who"], one["whose"], one["layer"]) for one in self.attempts if one["who"] != one["whose"]
        )
        self.through: Counter[tuple[str, str, str]] = Counter(
            (one["who"], one["whose"], one["layer"])
            for one in self.attempts
            if one["who"] != one["whose"] and not one["held"]
        )

    def figures(self, key: str) -> dict[str, Any]:
        """Return a chapter's figures, or none."""
        return next((one["figures"] for one in self.chapters if one["key"] == key), {})

    def result(self, key: str) -> tuple[str, str]:
        """Return (result, what it says) of a chapter; `absent` when it was not played."""
        found = next((one for one in self.chapters if one["key"] == key), None)
        return ("absent", "not played") if found is None else (found["result"], found["says"])

    @property
    def layers(self) -> list[str]:
        """The layers on which anything was allowed or tried, in the order of the picture."""
        used = {layer for _a, _b, layer in self.between}
        used |= {layer for ledger in self.ledgers.values() for layer in ledger["allowed"]}
        return [layer for layer in TITLES if layer in used]

    def allowed(self, tenant: str, layer: str) -> int:
        """How many actions of the tenant's own people the ledger has on a layer."""
        return int(self.ledgers.get(tenant, {}).get("allowed", {}).get(layer, 0))

    def index(self, tenant: str) -> int:
        """Which colour a tenant has."""
        return self.tenants.index(tenant) if tenant in self.tenants else 0

    @property
    def tasks(self) -> tuple[int, int]:
        """(done, all) of the suites' tasks."""
        work = self.figures("work")
        return sum(one["done"] for one in work.values()), sum(len(one["tasks"]) for one in work.values())

    @property
    def leaves(self) -> int:
        """How many leaves were verified."""
        return sum(one["leaves"] for one in self.ledgers.values())
