"""Collections of documents, a pair of leaves each. Implements `decision.retrieval.Collections`.

`leaf.col_…` is canonical: the text of each chunk and, as part 0, what a document says of itself. `leaf.vec_…` is the
derivative that is searched: vectors, levels, and digests of metadata. No text is in the derivative, and nothing is
searched in the canonical leaf, so that the one can be sealed and the other dropped and made anew. Every statement
names the leaf itself; whose rows there are is the token's to say. Source: architecture.md "Data at rest", ADR-0013.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from partywall.decision.facts import CollectionFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.retrieval import Hit, Part, Question, Stored, Written
from partywall.errors import Bug, Conflict, LimitExceeded, NotFound
from partywall.store.hardening import VECTORS as SCHEMA
from partywall.store.leaf import LeafShape, create_leaf, drop_leaf
from partywall.store.pool import TenantConnection, TenantPool
from partywall.wire.collections import facet
from partywall.wire.ids import TenantId

EXACT_LIMIT_CHUNKS: Final = 10_000
"""Up to here every chunk is compared; above, an HNSW index proposes RESCORED candidates, which are compared."""
RESCORED: Final = 50
DROP_LOCK_MS: Final = 250
"""How long a drop waits for whoever reads or indexes the leaf: the deployment's one change at a time waits with it."""
GONE_STATES: Final = frozenset({"42P01"})
FACET_BYTES: Final = 16
NUMBER_BYTES: Final = 4
_SCORE_DIGITS: Final = 6

CANONICAL: Final = LeafShape(
    columns="""document text collate "C" not null, part integer not null check (part >= 0), start integer,
        classification smallint not null check (classification between 0 and 3),
        trust smallint not null check (trust between 0 and 1),
        chunks integer, digest bytea, updated_at timestamptz not null default clock_timestamp(),
        content bytea not null, primary key (document, part),
        check ((part = 0) = (digest is not null)), check ((part = 0) = (chunks is not null))"""
)
"""Part 0 of a document is its header: digest, number of chunks, and metadata (canonical JSON) as content."""


def derivative(dimensions: int) -> LeafShape:
    """Return the shape of the searchable leaf. facets: SHA-256 of metadata entries, cut to FACET_BYTES."""
    return LeafShape(
        columns=f"""document text collate "C" not null, part integer not null check (part > 0),
        classification smallint not null check (classification between 0 and 3),
        facets bytea[] not null default '{{}}',
        embedding {SCHEMA}.vector({dimensions}) not null, primary key (document, part)""",
    )


def derivative_of(collection: str) -> str:
    """Return the name of a collection's searchable leaf: `vec_` and the collection's own random part."""
    return "vec_" + collection.removeprefix("col_")


async def create(connection: Any, tenant: TenantId, collection: str, dimensions: int) -> None:
    """Make both leaves, in one transaction. connection: asyncpg, as the data owner. Raises: as `create_leaf`."""
    async with connection.transaction():
        await create_leaf(connection, tenant, collection, CANONICAL)
        await create_leaf(connection, tenant, derivative_of(collection), derivative(dimensions))


async def drop(connection: Any, collection: str) -> None:
    """Drop both leaves and all that they hold. connection: as for `create`.

    Raises: asyncpg.LockNotAvailableError while a leaf is in use for longer than DROP_LOCK_MS.
    """
    async with connection.transaction():
        await connection.execute(f"set local lock_timeout = {DROP_LOCK_MS}")
        for leaf in (derivative_of(collection), collection):
            await drop_leaf(connection, leaf)


def facet_digest(text: str) -> bytes:
    """Return what stands for a metadata entry in the derivative."""
    return hashlib.sha256(text.encode()).digest()[:FACET_BYTES]


# TEXT and VECTORS stand for the names of a collection's two leaves (`_Statements`).
_FOUND: Final = """
select v.document, v.part, v.distance, t.content, t.classification, t.trust, h.content as metadata
from found v join TEXT t on t.document = v.document and t.part = v.part
join TEXT h on h.document = v.document and h.part = 0
order by v.distance, v.document, v.part
"""
# A query of its own is asked once; a cast of the parameter would be made anew for each row.
_DISTANCE: Final = f"v.embedding operator({SCHEMA}.<#>) (select $1::float4[]::{SCHEMA}.vector)"
_SEEN: Final = "v.classification <= $2"
_FILTERED: Final = " and v.facets @> $4"


class _Statements:
    """The statements of one collection: constants with parameters, but for the names of its leaves."""

    DIGESTS = "select document, digest from TEXT where document = any($1) and part = 0 and classification <= $2"
    HIDDEN = "select document from TEXT where document = any($1) and part = 0 and classification > $2 limit 1"
    SIZES = """
        select count(*) filter (where part = 0) as documents, count(*) filter (where part > 0) as chunks,
            coalesce(sum(octet_length(content)), 0)::bigint as bytes
        from TEXT where document = any($1)"""
    CLEAR_VECTORS = "delete from VECTORS where document = any($1)"
    CLEAR_TEXT = "delete from TEXT where document = any($1)"
    HEADERS = """
        insert into TEXT (document, part, classification, trust, chunks, digest, content)
        select document, 0, classification, trust, chunks, digest, content
        from unnest($1::text[], $2::smallint[], $3::smallint[], $4::integer[], $5::bytea[], $6::bytea[])
            as given (document, classification, trust, chunks, digest, content)"""
    TEXTS = """
        insert into TEXT (document, part, start, classification, trust, content)
        select $1, given.part, given.start, $2, $3, given.content
        from unnest($4::integer[], $5::bytea[]) with ordinality as given (start, content, part)"""
    VECTORS = f"""
        insert into VECTORS (document, part, classification, facets, embedding)
        select $1, n, $2, $3, (($4::float4[])[(n - 1) * $5 + 1 : n * $5])::{SCHEMA}.vector
        from generate_series(1, $6::integer) as n"""  # noqa: S608  # a constant
    GET = """
        select part, start, content, classification, trust, chunks, digest,
            extract(epoch from updated_at)::float8 as updated_at_s
        from TEXT where document = $1 and classification <= $2 order by part"""
    LIST = """
        select document, content, classification, trust, chunks, digest,
            extract(epoch from updated_at)::float8 as updated_at_s
        from TEXT where document > $1 and part = 0 and classification <= $2 order by document limit $3"""
    # The sum keeps the planner from an index: every row is compared.
    EXACT = f"""
        with found as materialized (
            select v.document, v.part, ({_DISTANCE}) + 0.0::float8 as distance from VECTORS v
            where {_SEEN} order by 3, 1, 2 limit $3)
        {_FOUND}"""  # noqa: S608  # constants
    NEAR = f"""
        with near as materialized (
            select v.document, v.part, {_DISTANCE} as distance from VECTORS v
            where {_SEEN} order by 3 limit {RESCORED}),
        found as (select * from near order by distance, document, part limit $3)
        {_FOUND}"""  # noqa: S608  # constants

    def __init__(self, collection: str) -> None:
        self._leaves = {"TEXT": f"leaf.{collection}", "VECTORS": f"leaf.{derivative_of(collection)}"}

    def __call__(self, statement: str) -> str:
        """Return a statement with the names of this collection's leaves in it."""
        for word, leaf in self._leaves.items():
            statement = statement.replace(word, leaf)
        return statement


_USE: Final = """
insert into pw.collection_use (tenant, collection) values ((select id from pw.tenant), $1)
on conflict do nothing
"""
_LOCK: Final = "select bytes from pw.collection_use where collection = $1 for update"
# A chunk of one letter still has a whole vector.
_SUM: Final = f"""
select coalesce(sum(use.bytes + use.chunks * {NUMBER_BYTES} * held.dimensions), 0)::bigint
from pw.collection_use use join unnest($1::text[], $2::integer[]) as held (collection, dimensions) using (collection)
"""  # noqa: S608  # a constant
_GROW: Final = """
update pw.collection_use set documents = documents + $2, chunks = chunks + $3, bytes = bytes + $4 where collection = $1
"""
_SIZE: Final = "select chunks, to_regclass($2) is not null as indexed from pw.collection_use where collection = $1"
_APPROXIMATE: Final = """
select set_config('hnsw.iterative_scan', 'strict_order', true), set_config('hnsw.ef_search', '100', true)
"""


class StoredCollections:
    """Every collection, over the pool of the gateway's role."""

    def __init__(self, pool: TenantPool, *, exact_limit_chunks: int = EXACT_LIMIT_CHUNKS) -> None:
        self._pool = pool
        self._sizes = _Sizes(exact_limit_chunks)

    def of(self, tenant: TenantId, collection: CollectionFacts, clearance: Classification) -> StoredCollection:
        """Return the handle of one collection."""
        return StoredCollection(self._pool, tenant, collection, clearance, self._sizes)


class _Sizes:
    """Which collections were far from needing an index a moment ago: their searches need not ask how large they are.

    One that grows meanwhile is compared chunk by chunk for that moment, which is slower and just as right.
    """

    HOLDS_S: Final = 10.0
    LIMIT: Final = 4_096

    def __init__(self, exact_limit_chunks: int) -> None:
        self._exact_limit_chunks = exact_limit_chunks
        self._small: dict[str, float] = {}

    def is_small(self, collection: str) -> bool:
        """Whether it was small within HOLDS_S."""
        return time.monotonic() < self._small.get(collection, 0.0)

    def is_large(self, collection: str, chunks: int) -> bool:
        """Whether this many chunks are compared by way of an index; remembers those that are far from it."""
        if chunks * 2 <= self._exact_limit_chunks:
            if len(self._small) >= self.LIMIT:
                self._small.clear()
            self._small[collection] = time.monotonic() + self.HOLDS_S
        return chunks > self._exact_limit_chunks


class StoredCollection:
    """One collection. Each call is one transaction."""

    def __init__(
        self,
        pool: TenantPool,
        tenant: TenantId,
        collection: CollectionFacts,
        clearance: Classification,
        sizes: _Sizes,
    ) -> None:
        self._pool = pool
        self._tenant = tenant
        self._facts = collection
        self._clearance = int(clearance)
        self._sizes = sizes
        self._sql = _Statements(collection.id)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[TenantConnection]:
        """Lend a transaction; a leaf that is no more means a collection that was deleted."""
        try:
            async with self._pool.tenant(self._tenant) as connection:
                yield connection
        except Bug as error:
            if error.private in GONE_STATES:
                raise NotFound("there is no such collection") from error
            raise

    async def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the digests of those of these documents that there are."""
        async with self._transaction() as connection:
            rows = await connection.fetch(self._sql(_Statements.DIGESTS), list(ids), self._clearance)
        return {row["document"]: row["digest"] for row in rows}

    async def put(self, documents: Sequence[Written], *, others: Mapping[str, int], limit_bytes: int) -> None:
        """Write or replace the documents, all or none."""
        ids = [document.stored.id for document in documents]
        async with self._transaction() as connection:
            await self._lock(connection)
            if await connection.fetchval(self._sql(_Statements.HIDDEN), ids, self._clearance) is not None:
                raise Conflict("a document of these cannot be written")
            await self._clear(connection, ids)
            await self._insert(connection, documents)
            await self._count(connection, ids, 1)
            counted = {**others, self._facts.id: self._facts.dimensions}
            held = await connection.fetchval(_SUM, list(counted), list(counted.values()))
            if held > limit_bytes:
                raise LimitExceeded(
                    f"your tenant's collections hold at most {limit_bytes} bytes of text and vectors",
                    code="storage-full",
                )

    async def _lock(self, connection: TenantConnection) -> None:
        await connection.fetch(_USE, self._facts.id)
        await connection.fetch(_LOCK, self._facts.id)

    async def _clear(self, connection: TenantConnection, ids: list[str]) -> None:
        await self._count(connection, ids, -1)
        for statement in (_Statements.CLEAR_VECTORS, _Statements.CLEAR_TEXT):
            await connection.fetch(self._sql(statement), ids)

    async def _count(self, connection: TenantConnection, ids: list[str], sign: int) -> None:
        row = await connection.fetchrow(self._sql(_Statements.SIZES), ids)
        grown = (sign * row[name] for name in ("documents", "chunks", "bytes"))
        await connection.fetch(_GROW, self._facts.id, *grown)

    async def _insert(self, connection: TenantConnection, documents: Sequence[Written]) -> None:
        stored = [document.stored for document in documents]
        await connection.fetch(
            self._sql(_Statements.HEADERS),
            [one.id for one in stored],
            [int(one.label.classification) for one in stored],
            [int(one.label.trust) for one in stored],
            [one.chunks for one in stored],
            [one.digest for one in stored],
            [_encode(one.metadata) for one in stored],
        )
        for document in documents:
            await self._insert_passages(connection, document)

    async def _insert_passages(self, connection: TenantConnection, document: Written) -> None:
        one, passages = document.stored, document.passages
        classification = int(one.label.classification)
        await connection.fetch(
            self._sql(_Statements.TEXTS),
            one.id,
            classification,
            int(one.label.trust),
            [passage.start for passage in passages],
            [passage.text.encode() for passage in passages],
        )
        await connection.fetch(
            self._sql(_Statements.VECTORS),
            one.id,
            classification,
            [facet_digest(text) for text in facets_of(one.metadata)],
            [number for passage in passages for number in passage.vector],
            self._facts.dimensions,
            len(passages),
        )

    async def get(self, document: str) -> tuple[Stored, Sequence[Part]] | None:
        """Return a document with its chunks in order, or None."""
        async with self._transaction() as connection:
            rows = await connection.fetch(self._sql(_Statements.GET), document, self._clearance)
        if not rows:
            return None
        parts = [Part(number=row["part"], text=row["content"].decode(), start=row["start"]) for row in rows[1:]]
        return self._stored(document, rows[0]), parts

    async def delete(self, document: str) -> bool:
        """Remove a document and tell whether there was one."""
        async with self._transaction() as connection:
            await self._lock(connection)
            if not await connection.fetch(self._sql(_Statements.DIGESTS), [document], self._clearance):
                return False
            await self._clear(connection, [document])
            return True

    async def list(self, after: str, limit: int) -> Sequence[Stored]:
        """Return at most limit documents by id, after an id."""
        async with self._transaction() as connection:
            rows = await connection.fetch(self._sql(_Statements.LIST), after, self._clearance, limit)
        return [self._stored(row["document"], row) for row in rows]

    async def search(self, question: Question) -> Sequence[Hit]:
        """Return the best chunks, best first; ties by document id and number."""
        facets = [facet_digest(text) for text in question.facets]
        given = [list(question.vector), self._clearance, question.limit]
        async with self._transaction() as connection:
            statement = _Statements.NEAR if await self._wants_index(connection) else _Statements.EXACT
            if facets:
                statement, given = statement.replace(_SEEN, _SEEN + _FILTERED), [*given, facets]
            rows = await connection.fetch(self._sql(statement), *given)
        return [self._hit(row) for row in rows]

    async def _wants_index(self, connection: TenantConnection) -> bool:
        """Tell whether candidates come from an index, and set how it is searched."""
        if self._sizes.is_small(self._facts.id):
            return False
        size = await connection.fetchrow(_SIZE, self._facts.id, index_name(self._facts.id))
        if size is None or not self._sizes.is_large(self._facts.id, size["chunks"]) or not size["indexed"]:
            return False
        await connection.fetch(_APPROXIMATE)
        return True

    def _hit(self, row: Any) -> Hit:
        return Hit(
            document=row["document"],
            number=row["part"],
            score=round(-row["distance"], _SCORE_DIGITS) + 0.0,
            text=row["content"].decode(),
            metadata=_decode(row["metadata"]),
            label=self._label(row),
        )

    def _stored(self, document: str, row: Any) -> Stored:
        return Stored(
            id=document,
            digest=row["digest"],
            label=self._label(row),
            chunks=row["chunks"],
            metadata=_decode(row["content"]),
            updated_at_s=row["updated_at_s"],
        )

    def _label(self, row: Any) -> Label:
        return Label(
            tenant=self._tenant, classification=Classification(row["classification"]), trust=Trust(row["trust"])
        )


_encode = msgspec.json.Encoder(order="sorted").encode
_decode: Any = msgspec.json.Decoder(dict[str, Any]).decode


def facets_of(metadata: dict[str, Any]) -> list[str]:
    """Return the text of each entry, as `wire.collections.facet` makes it."""
    return [facet(name, value) for name, value in sorted(metadata.items())]


def index_name(collection: str) -> str:
    """Return the name of the HNSW index that a large collection has."""
    return f"leaf.{derivative_of(collection)}_hnsw"
