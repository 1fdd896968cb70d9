"""One report for every benchmark: a line of JSON for machines, a table for people."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.table import Table


class Target(msgspec.Struct, frozen=True):
    """One number of SPECIFICATION.md as it was measured. op: how `value` must stand to `target`."""

    name: str
    value: float
    op: Literal["<=", ">="]
    target: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the promise held in this run."""
        return self.value <= self.target if self.op == "<=" else self.value >= self.target


def machine() -> dict[str, Any]:
    """Return what a reader needs to compare figures: processor, cores, memory in bytes, system, Python."""
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def report(name: str, targets: list[Target], figures: dict[str, Any], as_json: bool) -> int:  # noqa: FBT001  # the flag is the last word of every call
    """Print the results of one benchmark and return the exit status: 0 when every target was met.

    figures: whatever else was measured, JSON types only; the unit is each name's suffix.
    """
    if as_json:
        line = {"bench": name, "machine": machine(), "targets": targets, "figures": figures}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
    else:
        _print(name, targets, figures)
    return 0 if all(target.met for target in targets) else 1


def wants_json(arguments: list[str] | None = None) -> bool:
    """Tell whether `--json` stands on the command line."""
    return "--json" in (sys.argv[1:] if arguments is None else arguments)


def _print(name: str, targets: list[Target], figures: dict[str, Any]) -> None:
    console = Console()
    table = Table(title=f"bench.{name}", title_justify="left")
    for heading, justify in (("", "left"), ("measured", "right"), ("promised", "right"), ("unit", "left")):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for target in targets:
        style = "green" if target.met else "bold red"
        promised = f"{target.op} {_number(target.target)}"
        table.add_row(target.name, f"[{style}]{_number(target.value)}[/]", promised, target.unit)
    for label, value in figures.items():
        table.add_row(label, _number(value), "", "", style="dim")
    console.print(table)
    here = machine()
    console.print(f"{here['cpu']}, {here['cores']} cores, load {here['load']}, Python {here['python']}", style="dim")


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _field(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
