"""What the demonstration found, said on the terminal as it happens and written down at the end."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from partywall.version import __version__

COLOURS: Final = {"right": "green", "wrong": "bold red", "skipped": "yellow"}


class Skip(Exception):
    """A chapter that this machine or this deployment cannot play; the text is the reason."""


class Wrong(Exception):
    """Something did not turn out as it must; the text says what."""


class Chapter(msgspec.Struct, kw_only=True):
    """One chapter's outcome. result: right | wrong | skipped; at_s: Unix seconds; figures: counted or measured."""

    key: str
    name: str
    result: str = "right"
    says: str = ""
    at_s: float = 0.0
    duration_s: float = 0.0
    figures: dict[str, Any] = {}
    faults: list[str] = []

    def must(self, condition: object, fault: str) -> None:
        """Note a fault unless condition holds."""
        if not condition:
            self.faults.append(fault)


class Report:
    """Collects chapters. A fault of any makes the whole demonstration wrong."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.chapters: list[Chapter] = []
        self.attempts: list[dict[str, Any]] = []
        self.began_s = time.time()
        self._started = time.monotonic()

    @contextmanager
    def chapter(self, key: str, name: str) -> Iterator[Chapter]:
        """Play one chapter: what it raises is its outcome, and the next one is played all the same."""
        chapter = Chapter(key=key, name=name, at_s=time.time(), figures={}, faults=[])
        self.chapters.append(chapter)
        self.console.rule(f"[bold]{len(self.chapters)}. {escape(name)}", align="left")
        started = time.monotonic()
        try:
            yield chapter
        except Skip as reason:
            chapter.result, chapter.says = "skipped", str(reason)
        except Exception as error:
            chapter.faults.append(str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}")
        if chapter.faults:
            chapter.result = "wrong"
        chapter.duration_s = round(time.monotonic() - started, 2)
        colour = COLOURS[chapter.result]
        self.console.print(f"[{colour}]{chapter.result}[/]  {escape(chapter.says)}  [dim]{chapter.duration_s:.1f} s[/]")
        for fault in chapter.faults:
            self.console.print(f"  [red]{escape(fault)}[/]")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Progress]:
        """Show how far something is; advance its only task."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=self.console, transient=True) as progress:
            progress.add_task(what, total=total)
            yield progress

    @property
    def right(self) -> bool:
        """Whether nothing went wrong and something was shown."""
        return all(one.result != "wrong" for one in self.chapters) and any(
            one.result == "right" for one in self.chapters
        )

    def summary(self) -> dict[str, Any]:
        """The whole report as JSON types."""
        return {
            "right": self.right,
            "began_s": self.began_s,
            "version": __version__,
            "machine": _machine(),
            "duration_s": round(time.monotonic() - self._started, 1),
            "chapters": [msgspec.to_builtins(chapter) for chapter in self.chapters],
            "attempts": self.attempts,
        }

    def write(self, path: Path) -> None:
        """Write the summary."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.summary(), indent=2) + "\n")

    def show(self) -> None:
        """Print the table of results."""
        table = Table(title="What was shown", title_justify="left", box=None, pad_edge=False)
        for column in ("", "chapter", "result", "in short", "s"):
            table.add_column(column, overflow="fold", justify="right" if column == "s" else "left")
        for number, chapter in enumerate(self.chapters, 1):
            shown = f"[{COLOURS[chapter.result]}]{chapter.result}[/]"
            table.add_row(str(number), chapter.name, shown, escape(chapter.says), f"{chapter.duration_s:.1f}")
        self.console.print()
        self.console.print(table)


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
