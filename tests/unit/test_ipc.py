"""Local sockets: pipelined, typed faults, and honest when the other end dies."""

import asyncio
import os

import pytest
import uvloop

from partywall.errors import NotFound, Unavailable
from partywall.ipc import Client, Server, one_by_one


@pytest.fixture
async def served(tmp_path):
    path = tmp_path / "x.sock"
    started = []

    async def start(answer, allowed_uids=None):
        server = Server(path, one_by_one(answer), allowed_uids=allowed_uids)
        await server.start()
        started.append(server)
        return path

    yield start
    for server in started:
        await server.close()


async def test_many_calls_share_one_connection_and_keep_their_answers(served):
    async def answer(_uid, body):
        await asyncio.sleep(0.01 if body.endswith(b"3") else 0)
        return b"re:" + body

    client = Client(await served(answer))
    replies = await asyncio.gather(*(client.call(str(n).encode()) for n in range(200)))
    assert replies == [f"re:{n}".encode() for n in range(200)]
    await client.close()


async def test_a_typed_fault_arrives_typed(served):
    async def answer(_uid, _body):
        raise NotFound("no such tenant", private="row 7")

    client = Client(await served(answer))
    with pytest.raises(NotFound, match="no such tenant") as caught:
        await client.call(b"x")
    assert caught.value.private == ""
    await client.close()


async def test_an_unexpected_error_tells_nothing(served):
    async def answer(_uid, _body):
        raise RuntimeError("secret detail")

    client = Client(await served(answer))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any typed error, and its text is what matters
        await client.call(b"x")
    assert "secret" not in str(caught.value)
    await client.close()


async def test_a_dead_server_is_unavailable_and_the_client_recovers(tmp_path):
    path = tmp_path / "x.sock"

    async def answer(_uid, body):
        if body == b"hang":
            await asyncio.sleep(60)
        return body

    server = Server(path, one_by_one(answer), allowed_uids=None)
    await server.start()
    client = Client(path, timeout_s=2)
    assert await client.call(b"1") == b"1"
    hanging = asyncio.ensure_future(client.call(b"hang"))
    await asyncio.sleep(0.05)
    await server.close()
    with pytest.raises(Unavailable):
        await hanging
    with pytest.raises(Unavailable):
        await client.call(b"2")
    again = Server(path, one_by_one(answer), allowed_uids=None)
    await again.start()
    assert await client.call(b"3") == b"3"
    await client.close()
    await again.close()


async def test_a_silent_server_times_out(served):
    async def answer(_uid, _body):
        await asyncio.sleep(60)
        return b""

    client = Client(await served(answer), timeout_s=0.1)
    with pytest.raises(Unavailable, match="in time"):
        await client.call(b"x")
    await client.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root is always admitted")
async def test_a_foreign_uid_is_cut(served):
    async def answer(_uid, body):
        return body

    client = Client(await served(answer, frozenset({os.geteuid() + 1})))
    with pytest.raises(Unavailable):
        await client.call(b"x")


async def test_garbage_closes_the_connection_only(served):
    async def answer(_uid, body):
        return body

    path = await served(answer)
    for garbage in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc", os.urandom(100)):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(garbage)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 2)
        writer.close()
    client = Client(path)
    assert await client.call(b"still here") == b"still here"
    await client.close()


def test_it_works_on_the_event_loop_that_the_processes_use(tmp_path):
    """uvloop's transports are not instances of asyncio's."""

    async def answer(uid, body):
        return f"{uid}:".encode() + body

    async def main():
        server = Server(tmp_path / "u.sock", one_by_one(answer), allowed_uids=frozenset({os.geteuid()}))
        await server.start()
        client = Client(tmp_path / "u.sock")
        try:
            return await client.call(b"x")
        finally:
            await client.close()
            await server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == f"{os.geteuid()}:x".encode()
