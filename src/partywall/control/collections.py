"""Collections of a tenant: the row that decisions know, here, and a pair of leaves in the data database.

No transaction spans both. Leaves are made before the row is committed and dropped before its end is: what a crash
leaves behind is an empty pair that nobody can name, which `drop_orphans` finds, or a row to be deleted once more.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from partywall.control.database import Database
from partywall.control.grants import end_grants
from partywall.control.paging import paged, position_of
from partywall.control.rule import ADMIN, Rule, reads
from partywall.control.work import Reply, Work, new_id, not_found, require_room
from partywall.decision.action import ActionType
from partywall.errors import Malformed, Unavailable
from partywall.store import collections as store
from partywall.store.hardening import VECTORS
from partywall.store.leaf import LEAVES_LIMIT
from partywall.wire import operations as ops
from partywall.wire.operations import CollectionCreate, CollectionDelete, CollectionList, CollectionShow

COLLECTIONS_LIMIT: Final = LEAVES_LIMIT // 2 // 4
"""A tenant's: each has two leaves, and nobody may have more than a quarter of a database's."""
_COUNT: Final = "select count(*) from control.collection where tenant = $1"
_COLLECTIONS: Final = """
    select id, slug, model, dimensions, classification, created_at_s from control.collection where tenant = $1"""
_MODEL: Final = """
    select id, dimensions from control.model where tenant = $1 and $2 in (id, slug) and purpose = 'embeddings'"""
_LEAVES: Final = """
    select relname as leaf, pg_catalog.pg_relation_size(oid) = 0 as empty from pg_catalog.pg_class
    where relnamespace = 'leaf'::regnamespace and relkind = 'r' and relname ~ '^col_[a-z2-7]{26}$'"""


async def create_collection(work: Work, operation: CollectionCreate) -> Reply:
    """Return the new collection, empty. Raises: NotFound for the model, Conflict, LimitExceeded, Unavailable."""
    model = await work.connection.fetchrow(_MODEL, work.tenant, operation.model)
    if model is None:
        raise Malformed(
            f"there is no model {operation.model} here that makes embeddings: ask the platform operator for one",
            code="no-embedding-model",
        )
    await require_room(work, _COUNT, work.tenant, COLLECTIONS_LIMIT, "collections a tenant")
    collection = new_id("col")
    await work.connection.execute(
        """insert into control.collection (id, tenant, slug, model, dimensions, classification, created_at_s)
           values ($1, $2, $3, $4, $5, $6, $7)""",
        collection,
        work.tenant,
        operation.slug,
        model["id"],
        model["dimensions"],
        operation.classification,
        work.now_s,
    )
    await work.touch(work.tenant)
    async with work.data.transaction() as connection:
        await require_vectors(connection)
        await store.create(connection, work.tenant, collection, model["dimensions"])
    return await collection_object(work, collection)


async def list_collections(work: Work, operation: CollectionList) -> Reply:
    """Return a page of the tenant's collections, by slug."""
    after = position_of(work, operation)
    rows = await work.connection.fetch(
        _COLLECTIONS + " and ($2::text is null or slug > $2) order by slug limit $3",
        work.tenant,
        after and after[0],
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["slug"],))
    return {"collections": [dict(row) for row in page], "next_cursor": following}


async def show_collection(work: Work, operation: CollectionShow | CollectionDelete) -> Reply:
    """Return a collection. Raises: NotFound."""
    return await collection_object(work, operation.collection)


async def delete_collection(work: Work, operation: CollectionDelete) -> Reply:
    """Drop a collection with its documents and the grants on it. Raises: NotFound, Unavailable."""
    collection = operation.collection
    await collection_object(work, collection)
    await end_grants(work, work.tenant, f"collection/{collection}")
    await work.connection.execute(
        "delete from control.collection where tenant = $1 and id = $2", work.tenant, collection
    )
    await work.touch(work.tenant)
    async with work.data.transaction() as connection:
        try:
            await store.drop(connection, collection)
        except asyncpg.LockNotAvailableError as error:
            raise Unavailable(
                "the collection is being written or indexed: delete it again in a moment",
                code="collection-busy",
                retry_after_s=2.0,
            ) from error
    return {"deleted": collection}


async def collection_object(work: Work, collection: str) -> Reply:
    """Return a collection as replies show it. Raises: NotFound."""
    row = await work.connection.fetchrow(_COLLECTIONS + " and id = $2", work.tenant, collection)
    if row is None:
        raise not_found("collection")
    return dict(row)


async def require_vectors(connection: asyncpg.Connection) -> None:
    """Raises: Unavailable with what to do where the data database lacks pgvector."""
    if await connection.fetchval("select to_regtype($1) is null", f"{VECTORS}.vector"):
        raise Unavailable(
            f"the data database has no pgvector in the schema {VECTORS}: restart the platform, or for an external"
            f" database: create schema {VECTORS}; create extension vector schema {VECTORS}",
            code="no-pgvector",
        )


async def drop_orphans(control: Database, data: Database) -> tuple[int, int]:
    """Drop empty leaves that no collection names; return how many, and how many more are not empty, which stay.

    What a crash left is empty. One that is not is named by a newer control database than this one: a restore gone
    wrong, which must cost nobody a document. Takes the revision: nothing is made meanwhile.
    """
    async with control.change() as (connection, _revision):
        known = {row["id"] for row in await connection.fetch("select id from control.collection")}
        async with data.transaction() as leaves:
            made: list[Any] = await leaves.fetch(_LEAVES)
            orphans = [row for row in made if row["leaf"] not in known]
            empty = [row["leaf"] for row in orphans if row["empty"]]
            for leaf in empty:
                await store.drop(leaves, leaf)
    return len(empty), len(orphans) - len(empty)


COLLECTIONS: Final[dict[type[ops.Operation], Rule]] = {
    ops.CollectionCreate: Rule(
        action=ActionType.OPERATOR_COLLECTION, kind="collection", run=create_collection, principals=ADMIN
    ),
    ops.CollectionList: reads("collection", list_collections, ADMIN),
    ops.CollectionShow: reads("collection", show_collection, ADMIN, "collection"),
    ops.CollectionDelete: Rule(
        action=ActionType.OPERATOR_COLLECTION,
        kind="collection",
        run=delete_collection,
        principals=ADMIN,
        target="collection",
        current=show_collection,
    ),
}
"""The issuer's rules of collections (`control/operations.py` checks them)."""
