"""Real work: the suites' user tasks, their ground-truth tool calls sent by the official `mcp` client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import msgspec
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from demo import suites
from demo.desk import DeskProcess
from demo.tenants import Tenant


class Work(msgspec.Struct):
    """What one tenant's agent got done. latencies_s: of each tool call."""

    tasks: int = 0
    done: int = 0
    calls: int = 0
    latencies_s: list[float] = []
    faults: list[str] = []


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
    work = Work(latencies_s=[], faults=[])
    for mode, share in (("auto", tasks[::2]), ("legacy", tasks[1::2])):
        async with agent_client(base_url, tenant, mode) as client:
            granted = {tool.name for tool in (await client.list_tools()).tools}
            tenant.made["tool.list"] += 1
            if granted != set(suites.tools_needed(tenant.suite)):
                work.faults.append(f"{tenant.slug}: tools/list does not show exactly what is granted")
            for task in share:
                await _do(client, tenant, desk, task, work)
                advance()
    return work


async def _do(client: Client, tenant: Tenant, desk: DeskProcess, task: str, work: Work) -> None:
    await desk.reset(task)
    for tool, arguments in suites.ground_truth(tenant.suite, task):
        started = time.monotonic()
        result: Any = await client.call_tool(tool, arguments)
        work.latencies_s.append(time.monotonic() - started)
        work.calls += 1
        tenant.made["tool.call"] += 1
        if result.is_error:
            work.faults.append(f"{tenant.slug} {task}: {tool} failed: {result.content[0].text[:200]}")
    work.tasks += 1
    if await desk.check(task):
        work.done += 1
    else:
        work.faults.append(f"{tenant.slug} {task}: the suite's own check says it was not done")
