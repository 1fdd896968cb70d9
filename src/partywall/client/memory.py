"""An agent's own memory."""

from __future__ import annotations

from typing import Any

from partywall.client.errors import NotFound
from partywall.client.transport import Transport, given, segment
from partywall.wire import replies


class Memory:
    """The memory of the caller, or of `owner` where that is granted."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def put(
        self, key: str, value: Any, *, classification: int | None = None, owner: str | None = None
    ) -> replies.MemoryWritten:
        """Write or replace an entry. value: any JSON, at most 64 KiB."""
        body = {"value": value} | given(classification=classification)
        return await self._transport.ask("PUT", _path(key), replies.MemoryWritten, body=body, query=given(owner=owner))

    async def get(self, key: str, *, owner: str | None = None) -> replies.MemoryValue | None:
        """Return an entry, or None."""
        try:
            return await self._transport.ask("GET", _path(key), replies.MemoryValue, query=given(owner=owner))
        except NotFound:
            return None

    async def delete(self, key: str, *, owner: str | None = None) -> bool:
        """Delete an entry and tell whether there was one."""
        gone = await self._transport.ask("DELETE", _path(key), replies.MemoryDeleted, query=given(owner=owner))
        return gone.deleted

    async def list(self, *, owner: str | None = None) -> list[replies.MemoryEntry]:
        """Return what there is, without values, by key."""
        pages = self._transport.pages("/v1/memory", replies.MemoryEntries, query=given(owner=owner))
        return [entry async for page in pages for entry in page.entries]


def _path(key: str) -> str:
    return f"/v1/memory/{segment(key)}"
