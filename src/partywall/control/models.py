"""Models that a tenant may be granted. Only the operator says, and sees, where they are."""

from __future__ import annotations

from typing import Final

import asyncpg

from partywall.control.grants import end_grants
from partywall.control.paging import paged, position_of
from partywall.control.tenants import require_tenant
from partywall.control.work import RESOURCES_LIMIT, Reply, Work, new_id, not_found, require_room
from partywall.errors import Conflict, Malformed
from partywall.wire.embeddings import DIMENSIONS
from partywall.wire.operations import (
    LOCAL_EMBEDDINGS,
    CatalogueList,
    ModelChange,
    ModelCreate,
    ModelDelete,
    ModelList,
    ModelShow,
)

RESOURCE_COUNT: Final = """
    select (select count(*) from control.model where tenant = $1)
         + (select count(*) from control.server where tenant = $1)"""
CONTEXT_LIMIT_TOKENS: Final = 16 * 1024 * 1024
NAME_LIMIT_CHARACTERS: Final = 200
_MODELS: Final = """
    select id, slug, upstream, upstream_model, hosted, context_tokens, classification, purpose, dimensions
    from control.model where tenant = $1"""
_CHANGE: Final = """
    update control.model set upstream = coalesce($3, upstream), upstream_model = coalesce($4, upstream_model),
        hosted = coalesce($5, hosted), context_tokens = coalesce($6, context_tokens),
        classification = coalesce($7, classification)
    where tenant = $1 and id = $2"""


async def create_model(work: Work, operation: ModelCreate) -> Reply:
    """Return the new model. Raises: NotFound, Conflict, Malformed, LimitExceeded."""
    await require_tenant(work, operation.tenant)
    _check(operation.context_tokens, operation.upstream_model)
    _check_purpose(operation)
    await require_room(work, RESOURCE_COUNT, operation.tenant, RESOURCES_LIMIT, "models and servers a tenant")
    model = new_id("mdl")
    await work.connection.execute(
        """insert into control.model (id, tenant, slug, upstream, upstream_model, hosted, context_tokens, created_at_s,
               purpose, dimensions)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
        model,
        operation.tenant,
        operation.slug,
        operation.upstream,
        operation.upstream_model,
        operation.hosted,
        operation.context_tokens,
        work.now_s,
        operation.purpose,
        operation.dimensions,
    )
    await work.touch(operation.tenant)
    return await _object(work, operation.tenant, model)


async def list_models(work: Work, operation: ModelList) -> Reply:
    """Return a page of a tenant's models, by slug, to their operator. Raises: NotFound."""
    await require_tenant(work, operation.tenant)
    rows, following = await _page(work, operation, operation.tenant)
    return {"models": [dict(row) for row in rows], "next_cursor": following}


async def list_catalogue(work: Work, operation: CatalogueList) -> Reply:
    """Return a page of the models that the caller's own tenant has, by slug; where they are is not told."""
    rows, following = await _page(work, operation, work.tenant)
    models = [{name: value for name, value in row.items() if name != "upstream"} for row in rows]
    return {"models": models, "next_cursor": following}


async def show_model(work: Work, operation: ModelShow | ModelChange | ModelDelete) -> Reply:
    """Return a model of a tenant. Raises: NotFound."""
    await require_tenant(work, operation.tenant)
    return await _object(work, operation.tenant, operation.model)


async def change_model(work: Work, operation: ModelChange) -> Reply:
    """Change what is given. Raises: NotFound, Malformed; Conflict for where vectors of a collection come from."""
    model = await show_model(work, operation)
    _check(operation.context_tokens, operation.upstream_model)
    if model["upstream"] == LOCAL_EMBEDDINGS and (operation.upstream or operation.hosted):
        raise Malformed(f"a model of {LOCAL_EMBEDDINGS} stays there: register another one")
    if operation.upstream is not None or operation.upstream_model is not None:
        await _require_unused(work, operation.model)
    await work.connection.execute(
        _CHANGE,
        operation.tenant,
        operation.model,
        operation.upstream,
        operation.upstream_model,
        operation.hosted,
        operation.context_tokens,
        operation.classification,
    )
    await work.touch(operation.tenant)
    return await _object(work, operation.tenant, operation.model)


async def delete_model(work: Work, operation: ModelDelete) -> Reply:
    """Delete a model with every grant on it. Raises: NotFound; Conflict while a collection's vectors are its."""
    await show_model(work, operation)
    await _require_unused(work, operation.model)
    await end_grants(work, operation.tenant, f"model/{operation.model}")
    await work.connection.execute(
        "delete from control.model where tenant = $1 and id = $2", operation.tenant, operation.model
    )
    await work.touch(operation.tenant)
    return {"deleted": operation.model}


def _check(context_tokens: int | None, upstream_model: str | None) -> None:
    if context_tokens is not None and not 0 < context_tokens <= CONTEXT_LIMIT_TOKENS:
        raise Malformed(f"context_tokens is between 1 and {CONTEXT_LIMIT_TOKENS}")
    if upstream_model is not None and not (
        0 < len(upstream_model) <= NAME_LIMIT_CHARACTERS and upstream_model.isprintable()
    ):
        raise Malformed(f"upstream_model has 1 to {NAME_LIMIT_CHARACTERS} printable characters")


async def _require_unused(work: Work, model: str) -> None:
    """Raises: Conflict while a collection has vectors of it: those of another model mean nothing beside them."""
    if await work.connection.fetchval("select true from control.collection where model = $1 limit 1", model):
        raise Conflict("a collection's vectors are this model's: delete the collection first", code="model-in-use")


def _check_purpose(operation: ModelCreate) -> None:
    """Raises: Malformed unless purpose, dimensions and upstream go together."""
    local = operation.upstream == LOCAL_EMBEDDINGS
    if (operation.purpose == "embeddings") != (operation.dimensions is not None):
        raise Malformed("dimensions are those of a model that makes embeddings, which must say them")
    if local and (operation.purpose != "embeddings" or operation.dimensions != DIMENSIONS or operation.hosted):
        raise Malformed(f"{LOCAL_EMBEDDINGS} makes embeddings of {DIMENSIONS} dimensions, and is not hosted")


async def _page(
    work: Work, operation: ModelList | CatalogueList, tenant: str
) -> tuple[list[asyncpg.Record], str | None]:
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        _MODELS + " and ($2::text is null or slug > $2) order by slug limit $3",
        tenant,
        after and after[0],
        operation.limit + 1,
    )
    return paged(work, operation, rows, lambda row: (row["slug"],))


async def _object(work: Work, tenant: str, model: str) -> Reply:
    row = await work.connection.fetchrow(_MODELS + " and id = $2", tenant, model)
    if row is None:
        raise not_found("model")
    return dict(row)
