"""Fetches what identity providers publish: bounded in size and time, and only from addresses that were looked at.

The URL was written by a tenant's administrator and the issuer is the process that must not be led around: no redirect,
no proxy, no cookie, no decompression; https only; a name is resolved once, every address it has is checked, and the
connection goes to a checked address. Plain http is for loopback, when the deployment's owner allows it.
Source: RFC 8725 3.10, OWASP SSRF; ADR-0011.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpcore
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from partywall.errors import Malformed, Unavailable
from partywall.reach import Address, is_loopback, is_never, is_public
from partywall.settings import FederationSettings
from partywall.wire.strict_json import parse_json

REPLY_LIMIT_BYTES: Final = 262_144
TIMEOUT_S: Final = 4.0
CONNECT_TIMEOUT_S: Final = 3.0
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
NAMES_LIMIT: Final = 48
"""Names that one fetcher may be looking up at once, a thread each."""
_NETWORK_FAULTS: Final = (
    OSError,
    TimeoutError,
    ValueError,  # of a host that cannot be written as a name, such as one with an empty label
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


class UrlPolicy:
    """Which addresses the issuer may be sent to."""

    def __init__(self, settings: FederationSettings) -> None:
        self._settings = settings

    def check_url(self, url: str) -> None:
        """Raises: Malformed, saying what is wrong with it."""
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname, parts.port
        except ValueError as error:
            raise Malformed("not an address", code="bad-url") from error
        if not host or not url.isascii() or parts.username is not None or parts.fragment:
            raise Malformed("an address is https://HOST[:PORT][/PATH]", code="bad-url")
        if parts.scheme == "http" and host in LOOPBACK_HOSTS and self._settings.loopback_http:
            return
        if parts.scheme != "https":
            raise Malformed("an identity provider is reached by https", code="bad-url")

    def may_connect(self, host: str, address: Address) -> bool:
        """Whether a connection that asks for host may go to address."""
        if is_never(address):
            return False
        if is_loopback(address):
            return self._settings.loopback_http or host in self._settings.private_hosts
        return is_public(address) or host in self._settings.private_hosts


class Resolver:
    """Looks names up in threads of its own: a name server that never answers must not hold those that others need."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NAMES_LIMIT, thread_name_prefix="names")
        self._asked: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}

    async def find(self, host: str, port: int) -> list[Any]:
        """Return what `getaddrinfo` does; who asks for a name that is being looked up waits for that. Raises: OSError.

        A look-up cannot be broken off: it keeps its thread when whoever asked has gone.
        """
        found = self._asked.get((host, port))
        if found is None:
            if len(self._asked) >= NAMES_LIMIT:
                raise OSError("too many names are being looked up")
            look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            found = self._asked[host, port] = asyncio.get_running_loop().run_in_executor(self._threads, look_up)
            found.add_done_callback(functools.partial(self._done, (host, port)))
        return await asyncio.shield(found)

    def _done(self, name: tuple[str, int], found: asyncio.Future[list[Any]]) -> None:
        del self._asked[name]
        if not found.cancelled():
            found.exception()  # taken note of, also when nobody waits any more


class CheckedBackend(AsyncNetworkBackend):
    """Opens connections to addresses that the policy allows: what was checked is what is connected to."""

    def __init__(self, policy: UrlPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """Resolve, check every address, connect to the first. Raises: OSError, httpcore's errors."""
        found = await self._resolver.find(host, port)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if not addresses or not all(self._policy.may_connect(host, address) for address in addresses):
            raise OSError("an address that must not be reached")
        return await self._inner.connect_tcp(str(addresses[0]), port, timeout, local_address, socket_options)


class Fetcher:
    """Bound to the event loop in which it is used first. settings: what the deployment's owner allows."""

    def __init__(self, settings: FederationSettings) -> None:
        self.policy = UrlPolicy(settings)
        self._resolver = Resolver()
        self._tls: ssl.SSLContext | None = None

    async def get_json(self, url: str) -> Any:
        """Return the JSON at url. Raises: Unavailable, whatever it is that went wrong; Malformed for the URL."""
        return await self._json("GET", url, b"", {})

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, Any]:
        """Return (status, JSON) of a form posted to url (a token endpoint). Raises: Unavailable, Malformed."""
        sent = {"content-type": "application/x-www-form-urlencoded", **headers}
        status, body = await self._exchange("POST", url, urlencode(form).encode(), sent)
        return status, _parsed(body)

    async def _json(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
        status, reply = await self._exchange(method, url, body, headers)
        if status != 200:
            raise _unreachable(f"status {status}")
        return _parsed(reply)

    async def _exchange(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.policy.check_url(url)
        sent = {"accept": "application/json", "accept-encoding": "identity", "connection": "close", **headers}
        if body:
            sent["content-length"] = str(len(body))
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._pool() as pool,
                pool.stream(method, url, headers=_pairs(url, sent), content=body or None) as reply,
            ):
                return reply.status, await _read(reply)
        except _NETWORK_FAULTS as error:
            raise _unreachable(type(error).__name__) from error

    def _pool(self) -> httpcore.AsyncConnectionPool:
        """One connection, closed after its one request: nothing is carried over between providers."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            retries=0,
            network_backend=CheckedBackend(self.policy, self._resolver),
        )


async def _read(reply: httpcore.Response) -> bytes:
    whole = bytearray()
    async for part in reply.aiter_stream():
        whole += part
        if len(whole) > REPLY_LIMIT_BYTES:
            raise _unreachable("too large")
    return bytes(whole)


def _pairs(url: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    host = urlsplit(url).netloc
    return [(b"host", host.encode()), *((name.encode(), value.encode()) for name, value in headers.items())]


def _parsed(raw: bytes) -> Any:
    try:
        return parse_json(raw, depth_limit=16, node_limit=20_000)
    except Malformed as error:
        raise _unreachable("not JSON") from error


def _unreachable(cause: str) -> Unavailable:
    return Unavailable(
        "the identity provider is out of reach", code="provider-unreachable", private=cause, retry_after_s=5.0
    )
