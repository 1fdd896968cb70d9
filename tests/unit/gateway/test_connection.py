"""Callers that send too slowly, too much, or read nothing: each is let go, and nobody else is held up."""

import asyncio
import contextlib
import socket

import pytest
import uvicorn

from partywall.gateway.connection import Connection


class Hasty(Connection):
    head_limit_s = 0.3
    request_limit_s = 0.6
    write_limit_s = 0.3
    look_s = 0.05


class Deployment:
    def __init__(self):
        self.ended = asyncio.Event()

    async def app(self, scope, receive, send):
        try:
            if scope["path"] == "/stream":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                pump = asyncio.ensure_future(self.pour(send))
                while (await receive())["type"] != "http.disconnect":
                    pass
                pump.cancel()
                return
            while (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        finally:
            self.ended.set()

    async def pour(self, send):
        while True:
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})


@pytest.fixture
async def server():
    deployment = Deployment()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        deployment.app, http=Hasty, lifespan="off", log_config=None, access_log=False, ws="none", interface="asgi3"
    )
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None
    running.capture_signals = contextlib.nullcontext
    task = asyncio.ensure_future(running.serve(sockets=[listener]))
    deployment.port = listener.getsockname()[1]
    yield deployment
    running.should_exit = running.force_exit = True
    await task


async def said(server, data, *, then=b"", after_s=0.0):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        if then:
            await asyncio.sleep(after_s)
            writer.write(then)
        async with asyncio.timeout(5.0):
            return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: y",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab",
    ],
)
async def test_a_request_that_never_arrives_is_let_go(server, data):
    assert b" 200 " not in await said(server, data)


async def test_bytes_between_two_requests_keep_no_connection_open(server):
    reply = await said(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", then=b"\r\n", after_s=0.1)
    assert reply.endswith(b"ok")


async def test_a_head_without_end_is_refused_while_it_grows(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    sent = 0
    with contextlib.suppress(OSError):
        while sent < 20_000_000 and not reader.at_eof():
            writer.write(b"a" * 65_536)
            sent += 65_536
            await writer.drain()
    writer.close()
    assert sent < 20_000_000


@pytest.mark.parametrize("size", [70_000, 200_000])
async def test_a_whole_request_in_one_piece_is_taken_and_so_is_the_next(server, size):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    reply = await said(server, head + bytes(size) + last[:20], then=last[20:], after_s=0.1)
    assert reply.count(b" 200 ") == 2


async def test_a_body_in_one_piece_with_its_head_is_taken(server):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 500000\r\n\r\n"
    assert (await said(server, head + bytes(500_000))).endswith(b"ok")


async def test_a_caller_that_stops_reading_loses_its_stream(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5.0):
        await server.ended.wait()
    writer.close()
    del reader
