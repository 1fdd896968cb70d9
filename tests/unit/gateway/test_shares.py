"""Concurrent requests are shared: one tenant's slow ones leave room for every other."""

import asyncio
import json

from partywall.gateway.http import HttpServer
from partywall.telemetry.log import Log


class Slow:
    prefixes = ("/slow",)
    openai_errors = False

    def __init__(self):
        self.free = asyncio.Event()

    async def __call__(self, request):
        request.of(request.header("x-tenant"))
        await self.free.wait()
        await request.reply(200, b"ok")


async def ask(server, tenant):
    sent = []

    async def send(message):
        sent.append(message)

    async def health():
        return True, b"{}"

    scope = {"type": "http", "method": "GET", "path": "/slow", "query_string": b"", "headers": [(b"x-tenant", tenant)]}
    await server(scope, health, send)
    return sent[0]["status"], sent[1]["body"]


async def test_one_tenant_cannot_take_every_place():
    async def health():
        return True, b"{}"

    door = Slow()
    server = HttpServer([door], log=Log("test"), body_limit_bytes=100, concurrent_limit=8, health=health)
    first = [asyncio.ensure_future(ask(server, b"a")) for _ in range(6)]
    await asyncio.sleep(0)
    other = asyncio.ensure_future(ask(server, b"b"))
    await asyncio.sleep(0)
    door.free.set()
    told = await asyncio.gather(*first)
    assert [status for status, _ in told] == [200, 200, 429, 429, 429, 429]
    assert json.loads(told[-1][1])["code"] == "tenant-too-busy"
    assert await other == (200, b"ok")
    assert (await ask(server, b"a"))[0] == 200
