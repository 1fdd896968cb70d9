"""One raw HTTP request to the deployment under attack: every byte and header is the attacker's."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec


class Answer(msgspec.Struct, frozen=True):
    """What came back. body: as received."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The parsed body, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def brief(self) -> str:
        """Status and the machine-readable code, for a report."""
        parsed = self.json()
        code = ""
        if isinstance(parsed, dict):
            inner = parsed.get("error")
            code = str(parsed.get("code") or (inner.get("code") if isinstance(inner, dict) else "") or "")
        return f"{self.status} {code}".strip()


class Wire:
    """Sends requests to one base URL; a new connection each, so that nothing carries over."""

    def __init__(self, base_url: str, *, timeout_s: float = 30.0) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._timeout_s = timeout_s

    def send(
        self,
        method: str,
        path: str,
        *,
        credential: str | None = None,
        body: Any = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request. body: JSON to encode; raw: exact bytes instead. Raises: OSError."""
        connection = self.open(method, path, credential=credential, body=body, raw=raw, headers=headers)
        try:
            response = connection.getresponse()
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            connection.close()

    def open(
        self,
        method: str,
        path: str,
        *,
        credential: str | None = None,
        body: Any = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPConnection:
        """Send one request and return the connection, for replies that are read piece by piece."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        sent = {"accept": "application/json, text/event-stream"}
        data = raw
        if body is not None and raw is None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["content-type"] = "application/json"
        if credential is not None:
            sent["authorization"] = f"Bearer {credential}"
        connection.request(method, path, data, sent | (headers or {}))
        return connection
