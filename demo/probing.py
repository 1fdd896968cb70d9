"""The platform's own probes against the demonstration's deployment, and what they say of each knock-out."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from rich.markup import escape

from demo.knocked import names
from demo.report import Chapter, Skip
from demo.stage import Stage
from partywall.assurance.command import chosen, run
from partywall.assurance.probe import Finding
from partywall.assurance.target import Target


async def probes(stage: Stage, chapter: Chapter) -> None:
    """Run every probe; some run an event loop of their own, so they get a thread."""
    stage.running()
    if stage.options.no_probes:
        raise Skip(stage.options.no_probes)
    findings = await asyncio.to_thread(_run, stage)
    counts = {name: sum(one["result"] == name for one in findings) for name in ("held", "leak", "broken", "skipped")}
    for one in findings:
        chapter.must(one["result"] in {"held", "skipped"}, f"{one['id']} {one['result']}: {one['evidence']}")
        if one["result"] == "skipped":
            stage.console.print(f"  [yellow]skipped[/] {one['id']}: {escape(one['evidence'])}")
    chapter.figures = {"findings": findings}
    stage.findings = findings
    chapter.says = ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _run(stage: Stage) -> list[dict[str, Any]]:
    platform = stage.running()
    target = Target(platform.url, platform.operator_key(), home=platform.home)
    picked = chosen(())
    findings: list[dict[str, Any]] = []
    try:
        with stage.report.progress("probes", len(picked)) as progress:

            def tell(finding: Finding) -> None:
                findings.append(msgspec.to_builtins(finding) | {"at_s": time.time() - finding.duration_s})
                progress.advance(progress.task_ids[0])

            run(target, picked, tell=tell)
    finally:
        target.close()
    return findings


async def knockouts(stage: Stage, chapter: Chapter) -> None:
    """Wait for the knock-outs that run beside: each must leak to its probe, which must hold on the product."""
    if stage.knockers is None:
        raise Skip(stage.options.no_knockouts or "the platform did not start")
    with stage.console.status("each control removed once, alone …"):
        rows = await stage.knockers.rows()
    product = {one["id"]: one["result"] for one in stage.findings}
    for row in rows:
        row["product"] = product.get(row["probe"], "not probed")
        caught = row["knocked_out"] == "leak"
        chapter.must(caught, f"{row['knock_out']} was not caught by {row['probe']}: {row['knocked_out']}")
        chapter.must(row["product"] == "held", f"{row['probe']} does not hold on the product: {row['product']}")
    good = sum(row["knocked_out"] == "leak" and row["product"] == "held" for row in rows)
    left = [name for name in names() if name not in {row["knock_out"] for row in rows}]
    chapter.must(rows, "no knock-out was run")
    chapter.figures = {"rows": rows, "left": left}
    chapter.says = f"{good} of {len(rows)} removed controls were seen to leak by the probe that guards them"
    if left:
        chapter.says += f"; {len(left)} left out to keep within three minutes (make demo FULL=1): {', '.join(left)}"
