"""The ledger's door: a search of a million leaves of one tenant (`bench.ledger_search`), as `bench.doors` takes it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import ledger_search
from bench.report import Target, report, wants_json


def measure() -> tuple[list[Target], dict[str, Any]]:
    """Return the targets and figures, of a throwaway ledger."""
    with tempfile.TemporaryDirectory(prefix="pw-bench-") as folder:
        return ledger_search.measure(Path(folder))


def main() -> int:
    return report("doors_ledger", *measure(), wants_json())


if __name__ == "__main__":
    sys.exit(main())
