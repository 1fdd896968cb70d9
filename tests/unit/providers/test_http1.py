"""What a hostile or failing upstream can do to the client of models: nothing but fail its own call."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from partywall.errors import LimitExceeded, ProviderFault, ProviderRefused, ProviderTimeout
from partywall.providers.models import http1
from partywall.providers.models.http1 import Upstreams, address_of

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class Server:
    """Answers the n-th request that a connection brings with the n-th of its scripts; None hangs, b"" hangs up."""

    def __init__(self, *script, gap_s=0.0):
        self.script, self.gap_s = list(script), gap_s
        self.requests, self.connections, self.ended = [], 0, 0

    async def answer(self, reader, writer):
        self.connections += 1
        try:
            for reply in self.script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                if reply is None:
                    await reader.read()
                for part in [reply] if isinstance(reply, bytes) else reply or []:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(self.gap_s)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.ended += 1
            writer.close()


@asynccontextmanager
async def upstream(*script, timeout_s=5.0, **what):
    server = Server(*script, **what)
    listening = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat"
    server.pool = Upstreams(timeout_s=timeout_s)
    server.post = lambda owner="ten_a", body=b"{}", **more: server.pool.post(owner, server.url, body, **more)
    try:
        yield server
    finally:
        await server.pool.close()
        listening.close()
        await asyncio.sleep(0.01)


async def body_of(server, owner="ten_a", limit_bytes=1_000_000):
    return await (await server.post(owner)).read(limit_bytes)


async def test_sends_exactly_these_bytes_and_only_our_own_headers():
    async with upstream(WHOLE) as server:
        response = await server.post(body=b'{"a":1}')
        assert (response.status, await response.read(10)) == (200, b"hello")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert body == b'{"a":1}'
        assert head.split(b"\r\n")[0] == b"POST /v1/chat HTTP/1.1"
        names = [line.split(b":")[0] for line in head.split(b"\r\n")[1:]]
        assert names == [b"host", b"accept", b"content-type", b"content-length"]


@pytest.mark.parametrize(
    "reply",
    [
        WHOLE,
        [bytes([byte]) for byte in WHOLE],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhe", b"l\r\n2\r\nlo\r\n0\r", b"\n\r\n"],
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + WHOLE,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
    ],
)
async def test_reads_a_reply_however_it_is_cut_and_framed(reply):
    async with upstream(reply) as server:
        assert await body_of(server) == b"hello"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 4\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhel\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x00" * 100,
    ],
)
async def test_what_breaks_is_a_fault_and_never_a_short_reply(reply):
    async with upstream(reply) as server:
        with pytest.raises(ProviderFault) as caught:
            await body_of(server)
        assert caught.value.code == "upstream-broken"
        assert server.connections == 1, "nothing is sent twice"


async def test_a_connection_is_kept_for_its_own_tenant_only():
    async with upstream(*[WHOLE] * 3) as server:
        for owner in ("ten_a", "ten_a", "ten_b", "ten_a"):
            assert await body_of(server, owner) == b"hello"
        assert server.connections == 2
        assert len(server.requests) == 4


async def test_calls_at_once_have_a_connection_each():
    async with upstream(WHOLE, gap_s=0.05) as server:
        assert await asyncio.gather(*(body_of(server) for _ in range(5))) == [b"hello"] * 5
        assert server.connections == 5


@pytest.mark.parametrize(
    "reply",
    [
        WHOLE + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong",
        WHOLE + b"rubbish",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
    ],
)
async def test_a_connection_that_says_more_than_it_was_asked_is_not_used_again(reply):
    async with upstream(reply, WHOLE) as server:
        with suppress(ProviderFault):  # when the surplus came with the reply, neither is trusted
            assert await body_of(server) == b"hello"
        server.script = [WHOLE]
        await asyncio.sleep(0.02)
        assert await body_of(server) == b"hello"
        assert server.connections == 2


async def test_words_that_come_later_on_an_idle_connection_end_it():
    async with upstream([WHOLE, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong"], WHOLE, gap_s=0.03) as server:
        assert await body_of(server) == b"hello"
        await asyncio.sleep(0.1)
        server.script = [WHOLE]
        assert await body_of(server) == b"hello"
        assert server.connections == 2


async def test_a_body_over_the_limit_ends_the_connection():
    async with upstream(b"HTTP/1.1 200 OK\r\ncontent-length: 900000\r\n\r\n" + b"x" * 900_000) as server:
        with pytest.raises(LimitExceeded):
            await body_of(server, limit_bytes=1_000)
        await asyncio.sleep(0.05)
        assert server.ended == 1


async def test_an_upstream_waits_for_a_slow_reader():
    size = 8_000_000
    sent = 0

    async def pour(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 80_000):
            writer.write(b"x" * 80_000)
            await writer.drain()
            sent += 80_000
        writer.close()

    listening = await asyncio.start_server(pour, "127.0.0.1", 0)
    pool = Upstreams(timeout_s=5)
    response = await pool.post("ten_a", f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/", b"{}")
    await asyncio.sleep(0.2)
    assert sent < size, "everything was read ahead"
    assert response._size < 2 * http1.BUFFER_BYTES
    assert len(await response.read(size)) == size
    await pool.close()
    listening.close()


@pytest.mark.parametrize("begun", [None, [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", b""]])
async def test_the_time_for_one_exchange_is_limited(begun):
    async with upstream(begun, gap_s=1.0, timeout_s=0.1) as server:
        with pytest.raises(ProviderTimeout):
            await body_of(server)


async def test_a_caller_that_goes_away_takes_the_connection_along():
    async with upstream(None) as server:
        task = asyncio.ensure_future(body_of(server))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
        assert server.ended == 1


async def test_closing_a_reply_midway_ends_its_connection_and_twice_is_once():
    async with upstream([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", b"lo"], gap_s=0.2) as server:
        response = await server.post()
        assert await response.chunk() == b"hel"
        response.close()
        response.close()
        with pytest.raises(ProviderFault):
            await response.chunk()
        assert not server.pool._idle


async def test_an_unused_connection_is_let_go(monkeypatch):
    monkeypatch.setattr(http1, "IDLE_LIMIT_S", 0.1)
    async with upstream(WHOLE, WHOLE) as server:
        assert await body_of(server) == b"hello"
        await asyncio.sleep(0.3)
        assert server.ended == 1
        assert (server.pool._idle, server.pool._kept) == ({}, 0)


async def test_a_server_that_closes_idle_connections_costs_no_call():
    async with upstream(WHOLE) as server:
        for _ in range(3):
            assert await body_of(server) == b"hello"
            await asyncio.sleep(0.02)
        assert server.connections == 3


async def test_out_of_reach_is_refused():
    pool = Upstreams(timeout_s=1)
    with pytest.raises(ProviderRefused) as caught:
        await pool.post("ten_a", "http://127.0.0.1:1/", b"{}")
    assert caught.value.code == "upstream-unreachable"


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "http:///x", "http://[::1/x", "http://x:99999/", "http://x/\r\nx: y", "http://x/ü", "x"]
)
def test_a_url_that_is_not_one_is_refused(url):
    with pytest.raises(ProviderRefused):
        address_of(url)


def test_an_address_shows_no_user_and_keeps_path_and_query():
    address = address_of("https://user:secret@models.example:8443/a b?c=d#e")
    assert (address.host, address.port, address.secure) == ("models.example", 8443, True)
    assert address.head.startswith(b"POST /a%20b?c=d HTTP/1.1\r\nhost: models.example:8443\r\n")
    assert b"secret" not in address.head
    assert address_of("http://[::1]/").head.startswith(b"POST / HTTP/1.1\r\nhost: [::1]\r\n")
