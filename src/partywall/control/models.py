"""Models that a tenant may be granted. Only the operator says where they are."""

from __future__ import annotations

from typing import Final

from partywall.control.tenants import require_tenant
from partywall.control.work import RESOURCES_LIMIT, Reply, Work, new_id, require_room
from partywall.errors import Malformed
from partywall.wire.operations import ModelCreate

RESOURCE_COUNT: Final = """
    select (select count(*) from control.model where tenant = $1)
         + (select count(*) from control.server where tenant = $1)"""
CONTEXT_LIMIT_TOKENS: Final = 16 * 1024 * 1024
NAME_LIMIT_CHARACTERS: Final = 200


async def create_model(work: Work, operation: ModelCreate) -> Reply:
    """Return the new model. Raises: NotFound, Conflict, Malformed, LimitExceeded."""
    await require_tenant(work, operation.tenant)
    if not 0 < operation.context_tokens <= CONTEXT_LIMIT_TOKENS:
        raise Malformed(f"context_tokens is between 1 and {CONTEXT_LIMIT_TOKENS}")
    if not (0 < len(operation.upstream_model) <= NAME_LIMIT_CHARACTERS and operation.upstream_model.isprintable()):
        raise Malformed(f"upstream_model has 1 to {NAME_LIMIT_CHARACTERS} printable characters")
    await require_room(work, RESOURCE_COUNT, operation.tenant, RESOURCES_LIMIT, "models and servers a tenant")
    model = new_id("mdl")
    await work.connection.execute(
        """insert into control.model (id, tenant, slug, upstream, upstream_model, hosted, context_tokens, created_at_s)
           values ($1, $2, $3, $4, $5, $6, $7, $8)""",
        model,
        operation.tenant,
        operation.slug,
        operation.upstream,
        operation.upstream_model,
        operation.hosted,
        operation.context_tokens,
        work.now_s,
    )
    await work.touch(operation.tenant)
    return {
        "id": model,
        "slug": operation.slug,
        "upstream_model": operation.upstream_model,
        "hosted": operation.hosted,
    }
