"""What the idle platform costs: memory (PSS, with the embedding model and without the language model), and the time of
a first and a later start, which wait for neither.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bench.report import Target, report, wants_json
from partywall.supervisor.throwaway import Throwaway

SETTLE_S = 5.0
LOAD_LIMIT_S = 60.0


def main() -> int:
    with Throwaway("--no-model") as deployment:
        first_s = deployment.state().ready_s or 0.0
        deployment.stop()
        later_s = deployment.start().ready_s or 0.0
        deadline_s = time.monotonic() + LOAD_LIMIT_S
        while any(process.state != "ready" for process in deployment.state().processes):
            if time.monotonic() > deadline_s:
                raise SystemExit("not every process became ready")
            time.sleep(0.1)
        time.sleep(SETTLE_S)
        parts = {process.name: tree_pss_bytes(process.pid) for process in deployment.state().processes if process.pid}
        parts["supervisor"] = pss_bytes(deployment.pid)
        deployment.stop()
    total_mb = sum(parts.values()) / 1e6
    figures = {f"{name}_pss_mb": round(size / 1e6, 1) for name, size in sorted(parts.items())}
    figures |= {"first_start_s": round(first_s, 2), "later_start_s": round(later_s, 2)}
    targets = [Target("PSS of the idle platform without the language model", round(total_mb, 1), "<=", 400, "MB")]
    return report("footprint", targets, figures, wants_json())


def tree_pss_bytes(pid: int) -> int:
    """Of a process and all below it: a Postgres is many."""
    return pss_bytes(pid) + sum(tree_pss_bytes(child) for child in children_of(pid))


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that still are."""
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _children(task)]


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except FileNotFoundError:
        return []


def pss_bytes(pid: int) -> int:
    """Proportional: a page that n processes share counts 1/n in each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
