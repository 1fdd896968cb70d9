"""The caller's own log: what was asked, allowed, denied and done."""

from __future__ import annotations

from collections.abc import AsyncIterator

from partywall.client.transport import Transport
from partywall.wire import replies


class Log:
    """Read by a tenant-admin, or of the platform by its operator. Each read is itself on record."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def leaves(self, *, start: int = 0) -> AsyncIterator[replies.Leaf]:
        """Yield the log's leaves in order, opened, from a sequence number on."""
        at: int | None = start
        while at is not None:
            page = await self._transport.ask("GET", "/v1/audit/leaves", replies.Leaves, query={"start": at})
            for leaf in page.leaves:
                yield leaf
            at = page.next_start

    async def search(self, *, order: str = "newest", **filters: str | float) -> AsyncIterator[replies.Leaf]:
        """Yield the leaves that every filter holds of, newest first.

        filters: action, action_prefix, phase, verdict, result, principal, user, resource, kind, trace_id, act, parent,
        reason, policy_revision, since, until (Unix seconds or RFC 3339), from_seq, to_seq.
        """
        query = {"order": order, **filters}
        async for page in self._transport.pages("/v1/audit/search", replies.FoundLeaves, query=query):
            for leaf in page.leaves:
                yield leaf

    async def checkpoint(self) -> replies.Checkpoint:
        """Return the signed head of the log."""
        return await self._transport.ask("GET", "/v1/audit/checkpoint", replies.Checkpoint)
