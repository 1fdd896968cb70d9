"""Probes say yes only to what is there and answers."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from partywall.supervisor import readiness


async def test_a_socket_file_without_a_listener_is_not_ready() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "s"
        assert not await readiness.accepts(path)()
        server = await asyncio.start_unix_server(lambda _reader, writer: writer.close(), path)
        assert await readiness.accepts(path)()
        server.close()
        await server.wait_closed()
        assert not await readiness.accepts(path)()


async def test_http_is_ready_with_status_200_only() -> None:
    status = "503 Service Unavailable"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    probe = readiness.http_answers("127.0.0.1", port, "/readyz")
    assert not await probe()
    status = "200 OK"
    assert await probe()
    server.close()
    await server.wait_closed()
    assert not await probe()


async def test_postgres_is_ready_when_it_says_so(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        probe = readiness.postgres_ready(Path(name), tmp_path)
        server = await asyncio.start_unix_server(lambda _r, writer: writer.close(), Path(name) / ".s.PGSQL.5432")
        assert not await probe()
        file = tmp_path / "postmaster.pid"
        file.write_text("1\n/d\n0\n5432\n/s\n\n1 1\nstarting\n")
        assert not await probe()
        file.write_text("1\n/d\n0\n5432\n/s\n\n1 1\nready   \n")
        assert await probe()
        server.close()
        await server.wait_closed()
