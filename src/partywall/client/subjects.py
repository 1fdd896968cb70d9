"""Agents and users of a tenant, their keys and tokens: a tenant-admin's work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from partywall.client.transport import Transport, given, segment
from partywall.wire import replies


class Subjects:
    """Agents and users, and what each may do."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self, slug: str, *, kind: str = "agent", clearance: int = 1, grants: Iterable[replies.Grant] = ()
    ) -> replies.Subject:
        """Make an agent (or a `user`). clearance: 0 public to 3 restricted."""
        body = {"kind": kind, "slug": slug, "clearance": clearance, "grants": list(grants)}
        return await self._transport.ask("POST", "/v1/subjects", replies.Subject, body=body)

    async def list(self) -> AsyncIterator[replies.Subject]:
        """Yield every subject, by slug."""
        async for page in self._transport.pages("/v1/subjects", replies.Subjects):
            for subject in page.subjects:
                yield subject

    async def set_grants(self, subject: str, grants: Iterable[replies.Grant]) -> replies.Subject:
        """Replace all grants of a subject."""
        path = f"/v1/subjects/{segment(subject)}/grants"
        return await self._transport.ask("PUT", path, replies.Subject, body={"grants": list(grants)})

    async def grant(
        self, subject: str, action: str, resource: str, *, expires_at_s: float | None = None
    ) -> replies.Subject:
        """Grant one action on one resource, or set its end anew. resource: such as `model/smollm2`."""
        body = given(action=action, resource=resource, expires_at_s=expires_at_s)
        return await self._transport.ask("POST", f"/v1/subjects/{segment(subject)}/grants", replies.Subject, body=body)

    async def withdraw(self, subject: str, action: str, resource: str) -> replies.Subject:
        """Take one grant, within 5 s everywhere."""
        query = {"action": action, "resource": resource}
        return await self._transport.ask(
            "DELETE", f"/v1/subjects/{segment(subject)}/grants", replies.Subject, query=query
        )

    async def suspend(self, subject: str) -> replies.Subject:
        """Refuse everything of a subject, within 5 s everywhere."""
        return await self._transport.ask("POST", f"/v1/subjects/{segment(subject)}/suspend", replies.Subject)

    async def resume(self, subject: str) -> replies.Subject:
        """Let a suspended subject work again."""
        return await self._transport.ask("POST", f"/v1/subjects/{segment(subject)}/resume", replies.Subject)


class Keys:
    """API keys: long-lived, for clients that send one bearer all day."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        subject: str,
        *,
        scopes: list[str] | None = None,
        life_s: float | None = None,
        on_behalf_of: str | None = None,
    ) -> replies.NewKey:
        """Make a key of a subject; its secret is shown this once. scopes: action types; None for all granted ones."""
        body = given(subject=subject, scopes=scopes, life_s=life_s, on_behalf_of=on_behalf_of)
        return await self._transport.ask("POST", "/v1/keys", replies.NewKey, body=body)

    async def list(self) -> AsyncIterator[replies.Key]:
        """Yield every key without its secret, oldest first."""
        async for page in self._transport.pages("/v1/keys", replies.Keys):
            for key in page.keys:
                yield key


class Tokens:
    """Access tokens: at most 15 minutes."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self,
        subject: str,
        *,
        scopes: list[str] | None = None,
        session: str | None = None,
        on_behalf_of: str | None = None,
    ) -> replies.Token:
        """Make a token of a subject: an admin for any, an agent or user for itself. Never more than the caller has."""
        body = given(subject=subject, scopes=scopes, session=session, on_behalf_of=on_behalf_of)
        return await self._transport.ask("POST", "/v1/tokens", replies.Token, body=body)
