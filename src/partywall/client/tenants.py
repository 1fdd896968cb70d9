"""Tenants: the platform operator's work. Nothing here reads what a tenant holds."""

from __future__ import annotations

from collections.abc import AsyncIterator

from partywall.client.transport import Transport, given, segment
from partywall.wire import replies


class Tenants:
    """Made, suspended and resumed by a platform operator."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, slug: str, *, organisation: str | None = None) -> replies.Tenant:
        """Make a tenant. organisation: a slug, made when missing."""
        body = given(slug=slug, organisation=organisation)
        return await self._transport.ask("POST", "/v1/tenants", replies.Tenant, body=body)

    async def list(self) -> AsyncIterator[replies.Tenant]:
        """Yield every tenant, by slug."""
        async for page in self._transport.pages("/v1/tenants", replies.Tenants):
            for tenant in page.tenants:
                yield tenant

    async def suspend(self, tenant: str) -> replies.Tenant:
        """Refuse everything of a tenant, within 5 s everywhere."""
        return await self._transport.ask("POST", f"/v1/tenants/{segment(tenant)}/suspend", replies.Tenant)

    async def resume(self, tenant: str) -> replies.Tenant:
        """Let a suspended tenant work again."""
        return await self._transport.ask("POST", f"/v1/tenants/{segment(tenant)}/resume", replies.Tenant)

    async def create_admin(self, tenant: str, slug: str) -> replies.NewAdmin:
        """Make a tenant-admin and its first key, whose secret is shown this once."""
        path = f"/v1/tenants/{segment(tenant)}/admins"
        return await self._transport.ask("POST", path, replies.NewAdmin, body={"slug": slug})

    async def add_model(
        self,
        tenant: str,
        slug: str,
        *,
        upstream: str,
        upstream_model: str,
        hosted: bool = False,
        purpose: str = "chat",
        dimensions: int | None = None,
    ) -> replies.OperatedModel:
        """Give a tenant a model. upstream: base URL, or `local:minilm`. hosted: its bytes leave to a third party.

        purpose: `chat`, or `embeddings` with the number of `dimensions`.
        """
        path = f"/v1/tenants/{segment(tenant)}/models"
        body = given(
            slug=slug,
            upstream=upstream,
            upstream_model=upstream_model,
            hosted=hosted,
            purpose=purpose,
            dimensions=dimensions,
        )
        return await self._transport.ask("POST", path, replies.OperatedModel, body=body)
