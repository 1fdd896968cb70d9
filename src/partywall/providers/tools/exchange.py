"""One JSON-RPC exchange with a tool server over streamable HTTP: what is sent is given, what comes back is bounded.

No redirects, proxies, cookies, compression or referer; no header but those named here. The URL comes from the tenant's
facts, and its name may only lead where the deployment's owner lets it (`reach.py`): each host has a client of its own,
bound to the address that was checked. Source: MCP specification "Transports", attacks.md MCP-4 and MCP-7.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.response import Response

from partywall.errors import BadReply, Malformed, ProviderFault, ProviderTimeout
from partywall.reach import Reach
from partywall.version import __version__
from partywall.wire.mcp import SESSION_HEADER
from partywall.wire.strict_json import parse_json

CONNECT_S: Final = 5.0
CHECKED_S: Final = 30.0
"""How long a host's address is taken for what it was."""
HOSTS_LIMIT: Final = 1_024
SESSION_LIMIT: Final = 256
UNREACHABLE: Final = "tool-server-unreachable"
_NAME: Final = re.compile(r"[a-z0-9._:-]+", re.ASCII)


Progress = dict[str, Any]
"""{progress, total?, message?}: rebuilt from a notification."""
OnProgress = Callable[[Progress], None]
MESSAGE_CHARACTERS: Final = 512


class Answer(msgspec.Struct, frozen=True):
    """What came back. message: the JSON-RPC response to the request, or None when there was none. size: its bytes."""

    status: int
    session: str | None
    message: dict[str, Any] | None
    size: int = 0


class _Host(msgspec.Struct):
    """One host's client. address: that it is bound to; checked_s: when that was looked up, of the loop's clock."""

    client: Client
    address: str
    checked_s: float


class Exchange:
    """Sends messages to tool servers. limit_bytes: of one whole reply. reach: which addresses they may have."""

    def __init__(self, *, limit_bytes: int, reach: Reach) -> None:
        self._limit_bytes = limit_bytes
        self._reach = reach
        self._hosts: OrderedDict[tuple[str, str, int], _Host] = OrderedDict()

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        owner: str,
        request_id: int | None,
        timeout_s: float,
        on_progress: OnProgress | None = None,
    ) -> Answer:
        """Send one message; return the response that has its id (a notification has none).

        owner: whose server it is. No two share a connection or an address that was looked up: how fast an answer comes
        tells nobody whom his neighbours call.
        on_progress: told of each progress notification that names the request's id as its token, on the way.

        Raises: ProviderFault (`tool-server-unreachable`: nothing was sent), ProviderRefused (`tool-server-address`),
        ProviderTimeout, BadReply.
        """
        sent = {"content-type": "application/json", "accept": "application/json, text/event-stream", **headers}
        client = await self._open(url, owner)
        try:
            asked = client.post(url)
        except ValueError as error:  # a registered address that means no host or port
            raise _unusable() from error
        request = asked.headers(sent).body_bytes(body).timeout(timedelta(seconds=timeout_s)).build_streamed()
        try:
            async with request as response:
                if request_id is None:
                    return Answer(response.status, _session(response), None)
                message, size = await self._read(response, request_id, on_progress)
                return Answer(response.status, _session(response), message, size)
        except ConnectError as error:
            text = "the tool server is out of reach; ask a tenant admin to check that it runs at its registered address"
            raise ProviderFault(text, code=UNREACHABLE, retry_after_s=5.0) from error
        except RequestTimeoutError as error:  # also a `ConnectTimeoutError`: raised after sending, too
            raise ProviderTimeout("the tool server did not answer in time; whether it acted is unknown") from error
        except PyreqwestError as error:
            raise BadReply("the connection to the tool server broke; whether it acted is unknown") from error

    async def delete(self, url: str, headers: Mapping[str, str], *, owner: str) -> None:
        """End a session at its server, if it will; nothing depends on it."""
        try:
            client = await self._open(url, owner)
            async with client.delete(url).headers(headers).timeout(timedelta(seconds=CONNECT_S)).build_streamed():
                pass
        except (PyreqwestError, ProviderFault):
            return

    async def close(self) -> None:
        """Close every connection."""
        while self._hosts:
            _, host = self._hosts.popitem()
            await host.client.close()

    async def _open(self, url: str, owner: str) -> Client:
        """Return the client of the URL's host, bound to an address that was checked. Raises: ProviderFault."""
        try:
            parts = urlsplit(url)
            name, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise _unusable() from error
        if not name or not _NAME.fullmatch(name):  # one that two parsers could read differently
            raise _unusable()
        key, now_s = (owner, name, port), asyncio.get_running_loop().time()
        host = self._hosts.get(key)
        if host is not None and now_s - host.checked_s < CHECKED_S:
            self._hosts.move_to_end(key)
            return host.client
        address = await self._reach.resolve(name, port, owner=owner)
        if host is None or host.address != address:
            host = _Host(_client(name, address, port), address, now_s)
            self._hosts[key] = host
            if len(self._hosts) > HOSTS_LIMIT:
                self._hosts.popitem(last=False)  # what runs on it ends by itself
        host.checked_s = now_s
        return host.client

    async def _read(
        self, response: Response, request_id: int, on_progress: OnProgress | None
    ) -> tuple[dict[str, Any] | None, int]:
        """Return the response with that id, of a refusal (4xx, 5xx) also one without an id; and how long it is."""
        kind = (response.get_header("content-type") or "").partition(";")[0].strip().lower()
        if kind == "text/event-stream" and response.status < 300:
            return await self._read_events(response, request_id, on_progress)
        raw = await self._read_whole(response)
        if kind != "application/json":
            return None, 0
        message = _message(raw, strict=response.status < 300)
        if message is not None and response.status >= 400 and message.get("id") is None and "error" in message:
            return message, len(raw)
        return (message, len(raw)) if _answers(message, request_id) else (None, 0)

    async def _read_whole(self, response: Response) -> bytes:
        whole = bytearray()
        while (chunk := await response.body_reader.read_chunk()) is not None:
            whole += memoryview(chunk)
            self._check_size(len(whole))
        return bytes(whole)

    async def _read_events(
        self, response: Response, request_id: int, on_progress: OnProgress | None
    ) -> tuple[dict[str, Any] | None, int]:
        """Read events until the answer: what else the server says on the way (logs, requests) is dropped."""
        events = EventParser()
        size = 0
        while (chunk := await response.body_reader.read_chunk()) is not None:
            size += len(chunk)
            self._check_size(size)
            for data in events.feed(bytes(chunk)):
                message = _message(data, strict=True)
                if _answers(message, request_id):
                    return message, len(data)
                if on_progress is not None and (progress := progress_of(message, request_id)) is not None:
                    on_progress(progress)
        return None, 0

    def _check_size(self, size: int) -> None:
        if size > self._limit_bytes:
            raise BadReply("the tool server's reply is too long", code="reply-too-large")


def _client(name: str, address: str, port: int) -> Client:
    """Return a client that connects to this address whenever it is asked for that name."""
    builder = ClientBuilder()
    if name != address:
        builder = builder.resolve(name, address, port)
    return (
        builder.follow_redirects(False)
        .no_proxy()
        .referer(False)
        .default_cookie_store(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .user_agent(f"partywall/{__version__}")
        .connect_timeout(timedelta(seconds=CONNECT_S))
        .build()
    )


def _unusable() -> ProviderFault:
    return ProviderFault("the tool server's address cannot be used", code=UNREACHABLE)


class EventParser:
    """Server-sent events, pushed in pieces; gives back the data of each whole event. Source: WHATWG HTML 9.2."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data: list[bytes] = []
        self._after_return = False

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the data of every event that piece completes. A line ends in CR, LF or CRLF."""
        if self._after_return:
            piece = piece.removeprefix(b"\n")
        self._after_return = piece.endswith(b"\r")
        *lines, rest = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._line += line
            yield from self._end_of_line()
        self._line += rest

    def _end_of_line(self) -> Iterator[bytes]:
        line = bytes(self._line)
        self._line.clear()
        if not line:
            if self._data:
                yield b"\n".join(self._data)
                self._data = []
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))


def _message(raw: bytes, *, strict: bool) -> dict[str, Any] | None:
    try:
        value = parse_json(raw)
    except Malformed as error:
        if strict:
            raise BadReply("the tool server's reply is not acceptable JSON", private=error.code) from error
        return None
    return value if isinstance(value, dict) else None


def _answers(message: dict[str, Any] | None, request_id: int) -> bool:
    return (
        message is not None
        and message.get("jsonrpc") == "2.0"
        and type(message.get("id")) is int
        and message["id"] == request_id
        and ("result" in message) != ("error" in message)
    )


def progress_of(message: dict[str, Any] | None, request_id: int) -> Progress | None:
    """Return the progress of this request that a notification tells of, rebuilt; None for everything else."""
    params = message.get("params") if message is not None else None
    if message is None or message.get("method") != "notifications/progress" or not isinstance(params, dict):
        return None
    token, made, total, said = (params.get(name) for name in ("progressToken", "progress", "total", "message"))
    if type(token) is not int or token != request_id or type(made) not in {int, float}:
        return None
    progress: Progress = {"progress": made}
    if type(total) in {int, float}:
        progress["total"] = total
    if isinstance(said, str):
        progress["message"] = said[:MESSAGE_CHARACTERS]
    return progress


def _session(response: Response) -> str | None:
    session = response.get_header(SESSION_HEADER)
    if session is None or not (0 < len(session) <= SESSION_LIMIT and session.isascii() and session.isprintable()):
        return None
    return session
