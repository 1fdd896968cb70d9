"""Every promise of the doors in one line: token exchange, collections, ledger search and the decision point.

Each part is a benchmark of its own (`python -m bench.doors_NAME`), measured here one after the other, on a throwaway
deployment each. `python -m bench.doors NAME …` measures only those.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Final

from bench.report import Target, report, wants_json

PARTS: Final = ("exchange", "collections", "ledger", "authzen")


def measure(parts: tuple[str, ...] = PARTS) -> tuple[list[Target], dict[str, Any]]:
    """Return the targets of all parts, in order, and their figures, each under its part's name."""
    targets: list[Target] = []
    figures: dict[str, Any] = {}
    for part in parts:
        found, measured = import_module(f"bench.doors_{part}").measure()
        targets += found
        figures |= {
            name if name.startswith(f"{part}_") else f"{part}_{name}": value for name, value in measured.items()
        }
    return targets, figures


def main() -> int:
    """Run and report."""
    named = tuple(part for part in PARTS if part in sys.argv[1:])
    return report("doors", *measure(named or PARTS), wants_json())


if __name__ == "__main__":
    sys.exit(main())
