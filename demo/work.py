"""Real work: the suites' user tasks, their ground-truth tool calls sent by the official `mcp` client."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
import msgspec
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from demo import suites
from demo.desk import DeskProcess
from demo.report import Chapter
from demo.stage import Stage
from demo.tenants import Tenant

ERAS: Final = {"auto": "2026-07-28", "legacy": "2025-11-25"}


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One user task. tools: as they were called; done: by the suite's own check; era: of the protocol."""

    id: str
    prompt: str
    tools: list[str]
    done: bool
    era: str


class Work(msgspec.Struct):
    """What one tenant's agent got done. latencies_s: of each tool call."""

    tasks: list[Task] = []
    latencies_s: list[float] = []
    faults: list[str] = []

    @property
    def done(self) -> int:
        """How many tasks were done."""
        return sum(task.done for task in self.tasks)


async def work(stage: Stage, chapter: Chapter) -> None:
    """Have every tenant's agent do its suite's user tasks, all tenants at once."""
    tenants = stage.everyone()
    tasks = {tenant.slug: suites.task_ids(tenant.suite)[: stage.options.tasks] for tenant in tenants}
    with stage.report.progress("user tasks", sum(map(len, tasks.values()))) as progress:
        advance: Callable[[], None] = lambda: progress.advance(progress.task_ids[0])  # noqa: E731
        url, desks = stage.running().url, stage.desks
        jobs = (do_tasks(url, one, desks[one.suite], tasks[one.slug], advance) for one in tenants)
        done: list[Work] = await asyncio.gather(*jobs)
    for tenant, one in zip(tenants, done, strict=True):
        seen = await stage.desks[tenant.suite].seen()
        calls = len(one.latencies_s)
        chapter.faults += one.faults
        chapter.must(one.done == len(one.tasks), f"{tenant.slug}: {one.done} of {len(one.tasks)} tasks done")
        chapter.must(seen["calls"] == calls, f"{tenant.slug}: {seen['calls']} calls arrived of {calls}")
        chapter.must(seen["credentials"] == 0, f"{tenant.slug}: a credential reached the tool server")
        chapter.figures[tenant.slug] = {
            "tasks": [msgspec.to_builtins(task) for task in sorted(one.tasks, key=lambda task: _number(task.id))],
            "done": one.done,
            "calls": calls,
            "credentials_seen_by_the_server": seen["credentials"],
            "p50_ms": round(statistics.median(one.latencies_s) * 1e3, 1),
        }
    calls = sum(len(one.latencies_s) for one in done)
    right = ", ".join(f"{tenant.slug} {one.done}/{len(one.tasks)}" for tenant, one in zip(tenants, done, strict=True))
    chapter.says = f"{right} tasks done by the suites' own checks, {calls} tool calls, half in each era of MCP"


def _number(task: str) -> int:
    return int(task.rsplit("_", 1)[1])


@asynccontextmanager
async def agent_client(base_url: str, tenant: Tenant, mode: str) -> AsyncIterator[Client]:
    """Connect the official client as the tenant's agent. mode: `auto` (2026-07-28) or `legacy` (2025-11-25)."""
    headers = {"Authorization": f"Bearer {tenant.key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{base_url}/mcp/{tenant.server_slug}", http_client=http)
        async with Client(transport, mode=mode) as client:
            tenant.made["tool.list"] += 1  # the handshake asks whether the server may be seen
            yield client


async def do_tasks(
    base_url: str, tenant: Tenant, desk: DeskProcess, tasks: list[str], advance: Callable[[], None]
) -> Work:
    """Do tasks, half of them in each era of the protocol, and have the suite check each one's outcome."""
    work = Work(tasks=[], latencies_s=[], faults=[])
    for mode, share in (("auto", tasks[::2]), ("legacy", tasks[1::2])):
        async with agent_client(base_url, tenant, mode) as client:
            granted = {tool.name for tool in (await client.list_tools()).tools}
            tenant.made["tool.list"] += 1
            if granted != set(suites.tools_needed(tenant.suite)):
                work.faults.append(f"{tenant.slug}: tools/list does not show exactly what is granted")
            for task in share:
                tools, done = await _do(client, tenant, desk, task, work)
                prompt = suites.prompt(tenant.suite, task)
                work.tasks.append(Task(id=task, prompt=prompt, tools=tools, done=done, era=ERAS[mode]))
                advance()
    return work


async def _do(client: Client, tenant: Tenant, desk: DeskProcess, task: str, work: Work) -> tuple[list[str], bool]:
    await desk.reset(task)
    calls = suites.ground_truth(tenant.suite, task)
    for tool, arguments in calls:
        started = time.monotonic()
        result: Any = await client.call_tool(tool, arguments)
        work.latencies_s.append(time.monotonic() - started)
        tenant.made["tool.call"] += 1
        if result.is_error:
            work.faults.append(f"{tenant.slug} {task}: {tool} failed: {result.content[0].text[:200]}")
    done = await desk.check(task)
    if not done:
        work.faults.append(f"{tenant.slug} {task}: the suite's own check says it was not done")
    return [tool for tool, _ in calls], done
