"""Each tenant's ledger, taken home through the public API, verified offline, and compared with what its agent did."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from demo.layers import layer_of
from demo.report import Chapter
from demo.stage import Stage
from demo.tenants import Tenant
from demo.trespass import locate
from partywall.ledger.archive import PRIMITIVES, archive_lines
from partywall.ledger.checkpoint import parse_note
from partywall.ledger.verify import Report, verify_archive

EXPORT_PAGE: Final = 5_000
SHOW_PAGE: Final = 1_000
COUNTED: Final = (
    "tool.call", "tool.list", "model.request", "model.list", "memory", "retrieval.search", "ingest", "embed",
    "decision.evaluate", "decision.search",
)  # fmt: skip
"""The actions of agents: every one is counted as it is asked, and must stand in the ledger."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint of an archive. root: as the note has it; signer: the key that it is signed with."""

    size: int
    root: str
    time_s: float
    signer: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant's archive proves.

    recorded: distinct actions by type, as its agent's credentials asked them; allowed: distinct actions by layer, of
    anyone in the tenant; places: (act, leaf) by trace; moments: (Unix seconds, whether denied) of each action.
    """

    report: Report
    head: Head
    recorded: dict[str, int]
    allowed: dict[str, int]
    phases: dict[str, int]
    places: dict[str, tuple[str, int]]
    moments: list[tuple[float, bool]]
    size_bytes: int


async def prove_all(stage: Stage, chapter: Chapter) -> None:
    """Verify every tenant's archive with nothing but itself and the published key; show that a changed bit is seen."""
    tenants = stage.everyone()
    vkey = (stage.running().home.public_keys / "ledger.pub").read_text().strip()
    said = []
    with tempfile.TemporaryDirectory() as folder:
        for tenant in tenants:
            archive = export(tenant, Path(folder))
            found = prove(tenant, archive, vkey)
            stage.attempts = locate(stage.attempts, found.places)
            _judge(chapter, tenant, found)
            chapter.must(tampered(archive, vkey), f"{tenant.slug}: one changed bit went unnoticed")
            counted = sum(found.recorded.get(action, 0) for action in COUNTED)
            said.append(f"{tenant.slug}: {found.report.leaves} leaves hold, {counted} agent actions, all of them")
            chapter.figures[tenant.slug] = _figures(tenant, found)
    chapter.says = "; ".join(said)


def _judge(chapter: Chapter, tenant: Tenant, found: Proof) -> None:
    report = found.report
    for finding in report.findings:
        chapter.must(False, f"{tenant.slug}: {finding.kind} at {finding.where}: {finding.detail}")
    chapter.must(report.opened == report.leaves, f"{tenant.slug}: not every leaf opens")
    for action in COUNTED:
        made, recorded = tenant.made[action], found.recorded.get(action, 0)
        chapter.must(made == recorded, f"{tenant.slug}: {made} times {action}, {recorded} in the ledger")


def _figures(tenant: Tenant, found: Proof) -> dict[str, Any]:
    return {
        "leaves": found.report.leaves,
        "covered": found.report.covered,
        "checkpoints": found.report.checkpoints,
        "denials": found.report.denials,
        "unresolved": len(found.report.unresolved),
        "made": {action: tenant.made[action] for action in COUNTED if tenant.made[action]},
        "recorded": {action: found.recorded[action] for action in COUNTED if action in found.recorded},
        "by_phase": found.phases,
        "allowed": found.allowed,
        "moments": [[round(at_s, 2), denied] for at_s, denied in found.moments],
        "head": msgspec.to_builtins(found.head),
        "archive_bytes": found.size_bytes,
    }


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
    asked: dict[str, set[str]] = {}
    allowed: Counter[str] = Counter()
    phases: Counter[str] = Counter()
    places: dict[str, tuple[str, int]] = {}
    moments: list[tuple[float, bool]] = []
    for leaf in _leaves(tenant):
        activity = leaf["activity"]
        phase = activity["phase"]
        phases[phase] += 1
        if activity["actor"]["id"] == tenant.agent and not activity.get("parent"):
            asked.setdefault(activity["action"], set()).add(activity["act"])
        if phase == "intent":
            allowed[layer_of(activity["action"])] += 1
        if phase != "outcome":
            # an attempt comes before its twin, which has the same trace
            places.setdefault(activity["trace_id"], (activity["act"], leaf["seq"]))
            moments.append((activity["time"] / 1e3, phase == "denial"))
    return Proof(
        report=report,
        head=_head(archive),
        recorded={action: len(found) for action, found in sorted(asked.items())},
        allowed=dict(allowed),
        phases=dict(phases),
        places=places,
        moments=moments,
        size_bytes=archive.stat().st_size,
    )


def _head(archive: Path) -> Head:
    with archive.open("rb") as lines:
        first = json.loads(next(lines))
    notes = [parse_note(note) for note in first["checkpoints"]]
    checkpoint, signer, _hash, _signature = max(notes, key=lambda note: note[0].size)
    root = checkpoint.body().splitlines()[2]
    return Head(size=checkpoint.size, root=root, time_s=checkpoint.time_us / 1e6, signer=signer)


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
    start: int | None = 0
    while start is not None:
        page = tenant.api("GET", f"/v1/audit/leaves?start={start}&limit={SHOW_PAGE}")
        leaves += page["leaves"]
        start = page["next_start"]
    return leaves
