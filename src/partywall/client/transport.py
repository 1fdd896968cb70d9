"""How the SDK sends: one bounded connection pool, one credential, typed replies, and retries only where they are safe.

A request is sent again when nothing was sent (no connection), or when the API said that nothing happened and when to
come back (429, 503). Each request that makes or changes something carries an `Idempotency-Key`: a repetition is
answered and not done.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError
from pyreqwest.response import Response

from partywall.client.errors import ApiError, LimitExceeded, ServerError, Unavailable, error_of
from partywall.version import __version__

TRIES: Final = 3
PAUSE_LIMIT_S: Final = 10.0
HAPPENED: Final = "outcome-unrecorded"
T = TypeVar("T")
Query = Mapping[str, str | int | float | bool | None]


class Transport:
    """base_url: of the deployment, without a path. timeout_s: of one request, streams apart."""

    def __init__(self, base_url: str, credential: str | None, *, timeout_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self.credential = credential
        # neither a redirect nor a proxy may see the credential
        self._client: Client = (
            ClientBuilder()
            .follow_redirects(False)
            .no_proxy()
            .referer(False)
            .default_cookie_store(False)
            .user_agent(f"partywall-python/{__version__}")
            .timeout(timedelta(seconds=timeout_s))
            .build()
        )

    async def ask(
        self,
        method: str,
        path: str,
        reply: type[T],
        *,
        body: Any = None,
        query: Query | None = None,
        keyed: bool = True,
    ) -> T:
        """Return the reply as its type. keyed: whether a POST is one that the API does once. Raises: ApiError."""
        headers = {"idempotency-key": secrets.token_hex(16)} if method == "POST" and keyed else {}
        raw = await self._send(method, path, body, query, headers)
        try:
            return msgspec.json.decode(raw, type=reply)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ServerError(f"{self.base_url} answered something else than a {reply.__name__}") from error

    async def pages(self, path: str, reply: type[T], *, query: Query | None = None) -> AsyncIterator[T]:
        """Yield each page of a list. Raises: ApiError."""
        cursor: str | None = None
        while True:
            page: Any = await self.ask("GET", path, reply, query={**(query or {}), "cursor": cursor})
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _send(self, method: str, path: str, body: Any, query: Query | None, headers: Mapping[str, str]) -> bytes:
        sent = {"accept": "application/json", **headers}
        if self.credential is not None:
            sent["authorization"] = f"Bearer {self.credential}"
        data = None
        if body is not None:
            sent["content-type"], data = "application/json", msgspec.json.encode(body)
        url = self.base_url + path + _query(query)
        for tried in range(1, TRIES + 1):
            try:
                return await self._once(method, url, sent, data)
            except ApiError as error:
                pause_s = _pause_s(error, tried)
                if pause_s is None or tried == TRIES:
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError

    async def _once(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> bytes:
        request = self._client.request(method, url).headers(headers)
        if data is not None:
            request = request.body_bytes(data)
        try:
            response: Response = await request.build().send()
            raw = bytes(await response.bytes())
        except ConnectError as error:
            text = f"{self.base_url} is out of reach: is `partywall up` running there?"
            raise Unavailable(text, code="unreachable", retry_after_s=0.2) from error
        except PyreqwestError as error:
            raise Unavailable("the connection broke; whether it was done is unknown", code="broken") from error
        if 200 <= response.status < 300:
            return raw
        raise error_of(response.status, raw, response.get_header("retry-after"))


def segment(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def given(**members: Any) -> dict[str, Any]:
    """Return the members that are not None: what is left out means the API's default."""
    return {name: value for name, value in members.items() if value is not None}


def _query(query: Query | None) -> str:
    said = given(**(query or {}))
    return f"?{urlencode(said)}" if said else ""


def _pause_s(error: ApiError, tried: int) -> float | None:
    """Return how long to wait before another try, or None when another try could do harm or is of no use."""
    if not isinstance(error, Unavailable | LimitExceeded) or error.code == HAPPENED or error.retry_after_s is None:
        return None
    pause_s = max(error.retry_after_s, 0.1 * 2**tried)
    return pause_s if pause_s <= PAUSE_LIMIT_S else None
