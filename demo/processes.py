"""What separates the platform's own processes, read from the kernel and not from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from demo.report import Chapter
from demo.stage import Stage
from partywall.supervisor.lock import ProcessState


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One process as /proc shows it. own_view: in a mount namespace of its own; capabilities: how many it may use."""

    name: str
    pid: int
    user: str
    uid: int
    capabilities: int
    no_new_privileges: bool
    own_view: bool
    dumps_core: bool


def measure(process: ProcessState) -> Measured:
    """Return what the kernel says. Raises: OSError when the process is gone."""
    assert process.pid is not None
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
    core = next(line for line in (folder / "limits").read_text().splitlines() if line.startswith("Max core file size"))
    return Measured(
        name=process.name,
        pid=process.pid,
        user=process.user,
        uid=int(status["Uid"].split()[1]),
        capabilities=int(status["CapEff"], 16).bit_count(),
        no_new_privileges=status["NoNewPrivs"] == "1",
        own_view=(folder / "ns" / "mnt").readlink() != Path("/proc/self/ns/mnt").readlink(),
        dumps_core=core.split()[4] != "0",
    )


async def processes(stage: Stage, chapter: Chapter) -> None:
    """Measure every process of the deployment, and name the level that they reach together."""
    state = stage.running().state()
    found = [measure(process) for process in state.processes if process.pid is not None]
    level = "uid-per-process" if len({one.uid for one in found}) == len(found) else "shared-uid"
    for one in found:
        chapter.must(one.uid != 0, f"{one.name} runs as root")
        chapter.must(one.capabilities == 0, f"{one.name} may use {one.capabilities} capabilities")
        chapter.must(one.no_new_privileges, f"{one.name} may gain privileges")
        chapter.must(not one.dumps_core, f"{one.name} may dump its memory")
    chapter.must(level == state.isolation, f"it says {state.isolation}; the kernel says {level}")
    rows: list[dict[str, Any]] = [msgspec.to_builtins(one) for one in found]
    chapter.figures = {"level": level, "reason": state.isolation_reason, "rows": rows}
    views = sum(one.own_view for one in found)
    chapter.says = f"{level}: {len(found)} processes, {len({one.uid for one in found})} uids, no capability in any"
    chapter.says += f", {views} in a view of the file system of their own" if views else ""
    chapter.says += f" ({state.isolation_reason})" if state.isolation_reason else ""
