"""Each tenant's ledger, taken home through the public API, verified offline, and compared with what its agent did."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from demo.tenants import Tenant, must
from partywall.ledger.archive import PRIMITIVES, archive_lines
from partywall.ledger.verify import Report, verify_archive

EXPORT_PAGE: Final = 5_000
SHOW_PAGE: Final = 1_000
COUNTED: Final = ("tool.call", "tool.list", "model.request", "model.list", "memory")
"""The actions of agents: every one is counted as it is asked, and must stand in the ledger."""


class Proof(msgspec.Struct, frozen=True):
    """What one tenant's archive proves. recorded: distinct actions by type, as its agent's credentials asked them."""

    report: Report
    recorded: dict[str, int]
    leaves_by_phase: dict[str, int]
    size_bytes: int


def export(tenant: Tenant, folder: Path) -> Path:
    """Write the tenant's archive as its admin."""

    def fetch(start: int) -> dict[str, Any]:
        page: dict[str, Any] = tenant.api("GET", f"/v1/audit/export?start={start}&limit={EXPORT_PAGE}")
        return page

    path = folder / f"{tenant.slug}.jsonl"
    with path.open("wb") as archive:
        archive.writelines(archive_lines(fetch))
    return path


def prove(tenant: Tenant, archive: Path, vkey: str) -> Proof:
    """Verify an archive with nothing but itself and the published key, then count what the ledger shows."""
    with archive.open("rb") as lines:
        report = verify_archive(lines, PRIMITIVES, vkey=vkey)
    acts: dict[str, set[str]] = {}
    phases: Counter[str] = Counter()
    for leaf in _leaves(tenant):
        activity = leaf["activity"]
        phases[activity["phase"]] += 1
        if activity["actor"]["id"] == tenant.agent:
            acts.setdefault(activity["action"], set()).add(activity["act"])
    recorded = {action: len(found) for action, found in sorted(acts.items())}
    return Proof(report, recorded, dict(phases), archive.stat().st_size)


def tampered(archive: Path, vkey: str) -> bool:
    """Tell whether one changed bit in the middle of an archive is found."""
    lines = archive.read_bytes().splitlines(keepends=True)
    at = len(lines) // 2
    line = bytearray(lines[at])
    line[40] = ord("A") if line[40] != ord("A") else ord("B")
    lines[at] = bytes(line)
    return not verify_archive(lines, PRIMITIVES, vkey=vkey).holds


def _leaves(tenant: Tenant) -> list[dict[str, Any]]:
    leaves: list[dict[str, Any]] = []
    while True:
        path = f"/v1/audit/leaves?start={len(leaves)}&limit={SHOW_PAGE}"
        page = must(tenant.wire.send("GET", path, credential=tenant.admin))
        leaves += page["leaves"]
        if len(page["leaves"]) < SHOW_PAGE:
            return leaves
