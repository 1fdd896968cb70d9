"""A registered tool server as this worker knows it: which era of MCP it speaks, its sessions, and what it lists.

2026-07-28 is tried first (`server/discover`), then the handshake of 2025-11-25. A session of that era belongs to one
principal and carries one call at a time, so that nothing a server keeps in it passes between agents, and the fixed
request id of a permitted body never meets itself. Source: docs/adr/0009-mcp.md, attacks.md AGENT-1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import msgspec

from partywall.decision.manifest import canonical_json
from partywall.errors import BadReply, ProviderFault, ProviderRefused
from partywall.providers.tools.exchange import Answer, Exchange, OnProgress
from partywall.version import __version__
from partywall.wire.mcp import (
    META_CAPABILITIES,
    META_CLIENT,
    META_VERSION,
    METHOD_NOT_FOUND,
    MODERN,
    SESSION_HEADER,
    UNSUPPORTED_VERSION,
    encode_header,
)

REQUEST_ID: Final = 1
HANDSHAKES: Final = frozenset({"2025-03-26", "2025-06-18", "2025-11-25"})
PAGES_LIMIT: Final = 20
TOOLS_LIMIT: Final = 1_000
LISTING_LIMIT_BYTES: Final = 4_194_304
"""Of all pages together: they are kept and digested at once, on every tenant's worker."""
SESSIONS_LIMIT: Final = 256
CLIENT: Final = {"name": "partywall", "version": __version__}
ENVELOPE: Final = {META_VERSION: MODERN, META_CAPABILITIES: {}, META_CLIENT: CLIENT}


class Session(msgspec.Struct, frozen=True):
    """A handshake that a server answered. id: None when the server keeps none."""

    id: str | None
    version: str

    def headers(self) -> dict[str, str]:
        """The headers that each later request carries."""
        return {"mcp-protocol-version": self.version} | ({} if self.id is None else {SESSION_HEADER: self.id})


def request_body(method: str, params: dict[str, Any], *, progress: bool = False) -> bytes:
    """Return the canonical JSON-RPC request; its `_meta` is the 2026-07-28 envelope, which older servers ignore.

    progress: ask to be told of it, under a token of our own.
    """
    meta = ENVELOPE | ({"progressToken": REQUEST_ID} if progress else {})
    return canonical_json({"jsonrpc": "2.0", "id": REQUEST_ID, "method": method, "params": params | {"_meta": meta}})


class Upstream:
    """One server at one address. tenant: whose it is. Bound to one event loop."""

    def __init__(self, url: str, exchange: Exchange, tenant: str) -> None:
        self._url = url
        self._tenant = tenant
        self._exchange = exchange
        self._modern: bool | None = None
        self._learning = asyncio.Lock()
        self._idle: deque[tuple[str, Session]] = deque()

    async def call(
        self,
        body: bytes,
        method: str,
        name: str,
        *,
        owner: str,
        timeout_s: float,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Send a permitted body as it is; return the JSON-RPC response. owner: whose session it may use.

        Raises: ProviderFault, ProviderTimeout, ProviderRefused, BadReply.
        """
        return _response(
            await self._answer(body, method, name, owner=owner, timeout_s=timeout_s, on_progress=on_progress)
        )

    async def _answer(
        self,
        body: bytes,
        method: str,
        name: str,
        *,
        owner: str,
        timeout_s: float,
        on_progress: OnProgress | None = None,
    ) -> Answer:
        if await self._is_modern(timeout_s):
            headers = {"mcp-protocol-version": MODERN, "mcp-method": method}
            if name:
                headers["mcp-name"] = encode_header(name)
            answer = await self._post(body, headers, timeout_s, on_progress)
        else:
            answer = await self._call_in_session(body, owner, timeout_s, on_progress)
        if answer.message is None or _error_code(answer.message) in {METHOD_NOT_FOUND, UNSUPPORTED_VERSION}:
            self._modern = None  # the server may have been replaced by one of the other era: ask again next time
        return answer

    async def _call_in_session(
        self, body: bytes, owner: str, timeout_s: float, on_progress: OnProgress | None
    ) -> Answer:
        session = self._take(owner) or await self._handshake(timeout_s)
        answer = await self._post(body, session.headers(), timeout_s, on_progress)
        if answer.status == 404 and session.id is not None:
            # The server ended that session, so it did nothing: the same bytes may go into a new one.
            session = await self._handshake(timeout_s)
            answer = await self._post(body, session.headers(), timeout_s, on_progress)
        self._idle.append((owner, session))
        while len(self._idle) > SESSIONS_LIMIT:
            self._idle.popleft()
        return answer

    async def tools(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """Return the tools that the server lists now, all pages. Raises: as `call`."""
        return await self._listed("tools", timeout_s)

    async def prompts(self, *, timeout_s: float) -> list[dict[str, Any]]:
        """Return the prompts that the server lists now, all pages. Raises: as `call`."""
        return await self._listed("prompts", timeout_s)

    async def _listed(self, member: str, timeout_s: float) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = []
        cursor: str | None = None
        size = 0
        for _ in range(PAGES_LIMIT):
            method = f"{member}/list"
            body = request_body(method, {} if cursor is None else {"cursor": cursor})
            answer = await self._answer(body, method, "", owner="", timeout_s=timeout_s)
            size += answer.size
            result = _response(answer).get("result")
            entries = result.get(member) if isinstance(result, dict) else None
            if not isinstance(result, dict) or not isinstance(entries, list):
                raise BadReply(f"the tool server did not list its {member}")
            listed += [entry for entry in entries if isinstance(entry, dict)]
            cursor = result.get("nextCursor")
            if cursor is None:
                return listed
            if not isinstance(cursor, str) or len(listed) > TOOLS_LIMIT or size > LISTING_LIMIT_BYTES:
                break
        raise BadReply(f"the tool server's list of {member} does not end")

    async def close(self) -> None:
        """End the sessions that are kept."""
        ended = [session for _, session in self._idle if session.id is not None]
        self._idle.clear()
        await asyncio.gather(
            *(self._exchange.delete(self._url, session.headers(), owner=self._tenant) for session in ended)
        )

    async def _post(
        self, body: bytes, headers: dict[str, str], timeout_s: float, on_progress: OnProgress | None = None
    ) -> Answer:
        return await self._exchange.post(
            self._url,
            body,
            headers,
            owner=self._tenant,
            request_id=REQUEST_ID,
            timeout_s=timeout_s,
            on_progress=on_progress,
        )

    async def _is_modern(self, timeout_s: float) -> bool:
        if self._modern is None:
            async with self._learning:
                if self._modern is None:
                    self._modern = await self._discover(timeout_s)
        return self._modern

    async def _discover(self, timeout_s: float) -> bool:
        """Ask for 2026-07-28; every other answer than a yes is a server of the older era."""
        headers = {"mcp-protocol-version": MODERN, "mcp-method": "server/discover"}
        try:
            answer = await self._post(request_body("server/discover", {}), headers, timeout_s)
        except BadReply:
            return False
        result = answer.message.get("result") if answer.message is not None else None
        versions = result.get("supportedVersions") if isinstance(result, dict) else None
        return isinstance(versions, list) and MODERN in versions

    def _take(self, owner: str) -> Session | None:
        for index, (whose, session) in enumerate(self._idle):
            if whose == owner:
                del self._idle[index]
                return session
        return None

    async def _handshake(self, timeout_s: float) -> Session:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
        body = canonical_json({"jsonrpc": "2.0", "id": REQUEST_ID, "method": "initialize", "params": params})
        answer = await self._post(body, {}, timeout_s)
        result = _response(answer).get("result")
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        if version not in HANDSHAKES:
            raise ProviderRefused("the tool server speaks no protocol version that is served here", code="mcp-version")
        session = Session(answer.session, version)
        done = canonical_json({"jsonrpc": "2.0", "method": "notifications/initialized"})
        await self._exchange.post(
            self._url, done, session.headers(), owner=self._tenant, request_id=None, timeout_s=timeout_s
        )
        return session


def _error_code(message: dict[str, Any]) -> Any:
    error = message.get("error")
    return error.get("code") if isinstance(error, dict) else None


def _response(answer: Answer) -> dict[str, Any]:
    """Return the JSON-RPC response. Raises: ProviderRefused, ProviderFault, BadReply when there is none."""
    if answer.message is not None:
        return answer.message
    if answer.status in {401, 403}:
        raise ProviderRefused("the tool server wants a credential that the wall does not hold", code="tool-server-auth")
    if answer.status >= 500:
        raise ProviderFault("the tool server failed; try again later", private=f"status {answer.status}")
    if answer.status >= 300:
        raise ProviderRefused("the tool server refused the request", private=f"status {answer.status}")
    raise BadReply("the tool server did not answer the request")
