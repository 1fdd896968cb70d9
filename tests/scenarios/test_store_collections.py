"""Collections over the real database: leaves of their own, exact and ordered search, caps, and what a crash leaves."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.postgres_fixture import Databases
from tests.store_attacks import Neighbours, new_id

from partywall.control.database import Database
from partywall.control.leaf_upkeep import build_index, tend_once
from partywall.decision.facts import CollectionFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.retrieval import Passage, Question, Stored, Written
from partywall.errors import Bug, Conflict, LimitExceeded, NotFound
from partywall.store import collections, leaf
from partywall.store.collections import StoredCollection, StoredCollections, derivative_of
from partywall.store.leaf import drop_leaf
from partywall.store.pool import TenantPool
from partywall.telemetry.log import Log
from partywall.wire.collections import facet, unit

DIMENSIONS = 8
LIMIT_BYTES = 1_000_000


class Shelf:
    """One tenant's collection, at a clearance."""

    def __init__(self, n: Neighbours, tenant: str) -> None:
        self.n, self.tenant = n, tenant
        self.facts = CollectionFacts(
            id=new_id("col"),  # type: ignore[arg-type]
            slug="docs",
            model=new_id("mdl"),  # type: ignore[arg-type]
            dimensions=DIMENSIONS,
        )

    def at(self, level: Classification = Classification.RESTRICTED, *, exact_limit: int = 10_000) -> StoredCollection:
        stored = StoredCollections(self.n.pool, exact_limit_chunks=exact_limit)
        return stored.of(self.tenant, self.facts, level)  # type: ignore[arg-type]

    def document(self, id_: str, vectors: list[list[float]], *, level: int = 1, **metadata: Any) -> Written:
        label = Label(tenant=self.tenant, classification=Classification(level), trust=Trust.UNTRUSTED)  # type: ignore[arg-type]
        stored = Stored(id=id_, digest=id_.encode(), label=label, chunks=len(vectors), metadata=metadata)
        passages = [Passage(text=f"{id_} {at}", vector=unit(vector), start=at) for at, vector in enumerate(vectors)]
        return Written(stored=stored, passages=passages)

    async def put(self, *documents: Written, level: Classification = Classification.RESTRICTED) -> None:
        await self.at(level).put(documents, others={}, limit_bytes=LIMIT_BYTES)


@pytest.fixture
async def n(databases: Databases) -> AsyncIterator[Neighbours]:
    opened = await Neighbours(databases).open()
    opened.pool = TenantPool(databases.app, lambda: opened.key, limit=4)
    yield opened
    await opened.close()


async def made(n: Neighbours, tenant: str) -> Shelf:
    shelf = Shelf(n, tenant)
    owner = await asyncpg.connect(n.databases.data_owner)
    await collections.create(owner, tenant, shelf.facts.id, DIMENSIONS)  # type: ignore[arg-type]
    await owner.close()
    return shelf


@pytest.fixture
async def shelf(n: Neighbours) -> Shelf:
    return await made(n, n.a)


def along(*numbers: float) -> list[float]:
    return [*numbers, *([0.0] * (DIMENSIONS - len(numbers)))]


def question(vector: list[float], limit: int = 10, **filters: Any) -> Question:
    return Question(vector=unit(vector), limit=limit, facets=[facet(name, value) for name, value in filters.items()])


async def found(collection: StoredCollection, asked: Question) -> list[tuple[str, int]]:
    return [(hit.document, hit.number) for hit in await collection.search(asked)]


async def test_a_search_is_exact_and_equal_scores_are_in_the_order_of_ids(shelf: Shelf) -> None:
    await shelf.put(
        shelf.document("b", [along(1), along(0, 1)]),
        shelf.document("a", [along(2, 0), along(1, 1)]),
        shelf.document("B", [along(1)]),
    )
    hits = await shelf.at().search(question(along(1)))
    assert [(hit.document, hit.number) for hit in hits] == [("B", 1), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [hit.score for hit in hits] == pytest.approx([1, 1, 1, math.sqrt(0.5), 0])
    assert (hits[1].text, hits[1].label.tenant) == ("a 0", shelf.tenant)
    assert await found(shelf.at(), question(along(1), 2)) == [("B", 1), ("a", 1)]


async def test_random_vectors_come_in_the_order_that_arithmetic_says(shelf: Shelf) -> None:
    random_ = random.Random(7)
    vectors = {f"d{at:03}": [random_.gauss(0, 1) for _ in range(DIMENSIONS)] for at in range(200)}
    await shelf.put(*(shelf.document(id_, [vector]) for id_, vector in vectors.items()))
    for _ in range(5):
        asked = [random_.gauss(0, 1) for _ in range(DIMENSIONS)]
        by_hand = sorted(vectors, key=lambda id_: (-sum(map(float.__mul__, unit(vectors[id_]), unit(asked))), id_))
        assert [id_ for id_, _ in await found(shelf.at(), question(asked, 20))] == by_hand[:20]


async def test_a_filter_wants_every_value_and_tells_one_from_the_text_of_one(shelf: Shelf) -> None:
    await shelf.put(
        shelf.document("n", [along(1)], year=1, team="red"),
        shelf.document("s", [along(1)], year="1", team="red"),
        shelf.document("none", [along(1)], year=None),
        shelf.document("yes", [along(1)], year=True),
    )
    assert await found(shelf.at(), question(along(1), year=1)) == [("n", 1)]
    assert await found(shelf.at(), question(along(1), year="1", team="red")) == [("s", 1)]
    assert await found(shelf.at(), question(along(1), year=None)) == [("none", 1)]
    assert await found(shelf.at(), question(along(1), year=True)) == [("yes", 1)]
    assert await found(shelf.at(), question(along(1), team="blue")) == []
    [hit] = await shelf.at().search(question(along(1), year=1))
    assert hit.metadata == {"year": 1, "team": "red"}


async def test_what_is_above_the_readers_clearance_does_not_exist_for_it(shelf: Shelf) -> None:
    low = shelf.at(Classification.INTERNAL)
    await shelf.put(shelf.document("open", [along(0, 1)]), shelf.document("shut", [along(1)], level=3))
    assert await found(low, question(along(1))) == [("open", 1)]
    assert await low.get("shut") is None
    assert [stored.id for stored in await low.list("", 10)] == ["open"]
    assert await low.digests(["open", "shut"]) == {"open": b"open"}
    assert await low.delete("shut") is False
    with pytest.raises(Conflict):
        await shelf.put(shelf.document("shut", [along(0, 1)]), level=Classification.INTERNAL)
    assert await found(shelf.at(), question(along(1), 1)) == [("shut", 1)]


async def test_a_document_is_replaced_read_back_in_order_listed_in_pages_and_removed(shelf: Shelf) -> None:
    await shelf.put(*(shelf.document(id_, [along(1)] * 12) for id_ in "cab"))
    await shelf.put(shelf.document("a", [along(0, 1)], seen=True))
    got = await shelf.at().get("a")
    assert got is not None
    assert (got[0].metadata, got[0].chunks, [part.text for part in got[1]]) == ({"seen": True}, 1, ["a 0"])
    long = await shelf.at().get("b")
    assert long is not None
    assert [part.number for part in long[1]] == list(range(1, 13))
    assert [stored.id for stored in await shelf.at().list("", 2)] == ["a", "b"]
    assert [stored.id for stored in await shelf.at().list("b", 2)] == ["c"]
    assert await shelf.at().delete("b") is True
    assert await shelf.at().delete("b") is False
    assert {id_ for id_, _ in await found(shelf.at(), question(along(1), 50))} == {"a", "c"}


async def used(shelf: Shelf) -> tuple[int, ...]:
    """Documents, chunks and bytes of one collection, as they are counted."""
    query = "select documents, chunks, bytes from pw.collection_use where collection = $1"
    async with shelf.n.pool.tenant(shelf.tenant) as connection:  # type: ignore[arg-type]
        return tuple(await connection.fetchrow(query, shelf.facts.id))


async def test_what_is_held_is_counted_and_capped_over_all_collections(n: Neighbours, shelf: Shelf) -> None:
    await shelf.put(shelf.document("a", [along(1)] * 3), shelf.document("b", [along(1)]))
    assert (await used(shelf))[:2] == (2, 4)
    await shelf.put(shelf.document("a", [along(1)]))
    await shelf.at().delete("b")
    assert await used(shelf) == (1, 1, len("a 0") + len("{}"))
    other = await made(n, n.a)
    held = 2 * (len("a 0") + len("{}") + 4 * DIMENSIONS)
    with pytest.raises(LimitExceeded) as refused:
        await other.at().put(
            [other.document("c", [along(1)])], others={shelf.facts.id: DIMENSIONS}, limit_bytes=held - 1
        )
    assert refused.value.code == "storage-full"
    assert await other.at().list("", 10) == []
    await other.at().put([other.document("c", [along(1)])], others={shelf.facts.id: DIMENSIONS}, limit_bytes=held)


async def test_writers_of_one_document_at_once_leave_one_whole_document(shelf: Shelf) -> None:
    await asyncio.gather(*(shelf.put(shelf.document("a", [along(1)] * size)) for size in (1, 5, 9, 3)))
    got = await shelf.at().get("a")
    assert got is not None
    assert got[0].chunks == len(got[1]) == (await used(shelf))[1]


async def test_a_writer_that_dies_half_way_leaves_nothing(shelf: Shelf) -> None:
    await shelf.put(shelf.document("a", [along(1)]))
    put = shelf.at()
    entered = asyncio.Event()
    clear = put._clear

    async def stuck(*given: Any) -> None:
        await clear(*given)
        entered.set()
        await asyncio.sleep(60)

    put._clear = stuck  # type: ignore[method-assign]
    task = asyncio.create_task(put.put([shelf.document("a", [along(0, 1)] * 4)], others={}, limit_bytes=LIMIT_BYTES))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    got = await shelf.at().get("a")
    assert got is not None
    assert got[0].chunks == 1
    assert (await used(shelf))[:2] == (1, 1)


async def test_another_tenants_token_sees_no_row_of_either_leaf_and_writes_none(n: Neighbours) -> None:
    theirs = await made(n, n.b)
    await theirs.put(theirs.document("a", [along(1)]))
    mine = Shelf(n, n.a)
    mine.facts = theirs.facts
    assert await mine.at().search(question(along(1))) == []
    assert await mine.at().list("", 10) == []
    assert await mine.at().get("a") is None
    assert await mine.at().delete("a") is False
    with pytest.raises((Bug, Conflict)):
        await mine.put(mine.document("b", [along(1)]))
    assert await found(theirs.at(), question(along(1))) == [("a", 1)]
    assert [stored.id for stored in await theirs.at().list("", 10)] == ["a"]


async def test_a_collection_that_was_dropped_meanwhile_is_not_found(n: Neighbours, shelf: Shelf) -> None:
    await shelf.put(shelf.document("a", [along(1)]))
    owner = await asyncpg.connect(n.databases.data_owner)
    await collections.drop(owner, shelf.facts.id)
    await collections.drop(owner, shelf.facts.id)
    await owner.close()
    for call in (shelf.at().search(question(along(1))), shelf.at().get("a"), shelf.at().list("", 1)):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(NotFound):
        await shelf.put(shelf.document("a", [along(1)]))


async def test_a_database_that_has_all_its_leaves_refuses_one_more_with_a_limit(
    n: Neighbours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaf, "LEAVES_LIMIT", 0)
    owner = await asyncpg.connect(n.databases.data_owner)
    with pytest.raises(LimitExceeded) as refused:
        await collections.create(owner, n.a, new_id("col"), DIMENSIONS)
    assert refused.value.code == "leaves-full"
    await owner.close()


async def test_a_large_collection_is_indexed_and_its_best_candidates_are_compared_exactly(
    n: Neighbours, shelf: Shelf
) -> None:
    random_ = random.Random(3)
    vectors = {f"d{at:04}": [random_.gauss(0, 1) for _ in range(DIMENSIONS)] for at in range(1_500)}
    documents = [shelf.document(id_, [vector], odd=at % 2) for at, (id_, vector) in enumerate(vectors.items())]
    for start in range(0, len(documents), 500):
        await shelf.put(*documents[start : start + 500])
    asked = [question([random_.gauss(0, 1) for _ in range(DIMENSIONS)], 10, odd=1) for _ in range(20)]
    exact = [await found(shelf.at(), one) for one in asked]
    large = shelf.at(exact_limit=1_000)
    assert [await found(large, one) for one in asked] == exact  # without an index: every chunk, as before
    await build_index(n.databases.data_owner, derivative_of(shelf.facts.id))
    await build_index(n.databases.data_owner, derivative_of(shelf.facts.id))  # anew, as after a crash
    near = [await found(large, one) for one in asked]
    right = sum(len(set(one) & set(two)) for one, two in zip(near, exact, strict=True))
    assert right >= 0.95 * sum(map(len, exact))
    scores = [hit.score for hit in await large.search(asked[0])]
    assert scores == sorted(scores, reverse=True)
    assert [await found(large, one) for one in asked] == near


async def test_upkeep_indexes_what_grew_large_and_drops_what_nobody_names(n: Neighbours, shelf: Shelf) -> None:
    import io

    control = Database(n.databases.control_owner, application="test")
    data = Database(n.databases.data_owner, application="test")
    await control.open()
    await data.open()
    await shelf.put(*(shelf.document(f"d{at}", [along(1, at)]) for at in range(60)))
    owner = await asyncpg.connect(n.databases.data_owner)
    name = f"leaf.{derivative_of(shelf.facts.id)}"
    await owner.execute(f"analyze {name}")
    await _named(n, shelf)
    orphan, full = await made(n, n.b), await made(n, n.b)
    await full.put(full.document("a", [along(1)]))
    others = await owner.fetch(
        "select relname from pg_class where relnamespace = 'leaf'::regnamespace and relname ~ '^col_'"
    )
    await tend_once(n.databases.data_owner, control, data, Log("test", io.StringIO()), exact_limit_chunks=50)
    assert await owner.fetchval("select to_regclass($1) is not null", f"{name}_hnsw")
    assert len(others) > 1
    left = await owner.fetch("select relname from pg_class where relnamespace = 'leaf'::regnamespace and relkind = 'r'")
    names = {row["relname"] for row in left}
    assert {shelf.facts.id, derivative_of(shelf.facts.id)} <= names
    assert orphan.facts.id not in names
    assert derivative_of(orphan.facts.id) not in names
    assert await found(full.at(), question(along(1))) == [("a", 1)]  # a restore gone wrong costs nobody a document
    await drop_leaf(owner, derivative_of(shelf.facts.id))
    await owner.close()
    await control.close()
    await data.close()


async def _named(n: Neighbours, shelf: Shelf) -> None:
    """Write the row by which the control database knows a collection."""
    owner = await asyncpg.connect(n.databases.control_owner)
    organisation, slug = new_id("org"), f"s{time.time_ns()}"
    await owner.execute("insert into control.organisation values ($1, $2, 0)", organisation, slug)
    await owner.execute(
        "insert into control.tenant (id, organisation, slug, region, created_at_s, revision)"
        " values ($1, $2, $3, 'x', 0, 0)",
        shelf.tenant, organisation, slug,
    )  # fmt: skip
    await owner.execute(
        "insert into control.model (id, tenant, slug, upstream, upstream_model, created_at_s, purpose, dimensions)"
        " values ($1, $2, 'm', 'local:minilm', 'm', 0, 'embeddings', 8)",
        shelf.facts.model, shelf.tenant,
    )  # fmt: skip
    await owner.execute(
        "insert into control.collection (id, tenant, slug, model, dimensions, created_at_s)"
        " values ($1, $2, 'docs', $3, 8, 0)",
        shelf.facts.id, shelf.tenant, shelf.facts.model,
    )  # fmt: skip
    await owner.close()


async def test_writers_of_one_tenant_that_wait_for_each_other_leave_its_neighbour_connections(
    n: Neighbours, shelf: Shelf
) -> None:
    """Whoever writes locks a row of its collection: those who wait for it would hold every connection."""
    neighbour = await made(n, n.b)
    await neighbour.put(neighbour.document("b", [along(1)]))
    owner = await asyncpg.connect(n.databases.data_owner)
    try:
        async with owner.transaction():
            await owner.execute("lock table pw.collection_use in exclusive mode")
            writers = [asyncio.create_task(shelf.put(shelf.document(f"d{at}", [along(1)]))) for at in range(32)]
            await asyncio.sleep(0.3)
            async with asyncio.timeout(3):
                [hit] = await neighbour.at().search(question(along(1)))
            assert hit.document == "b"
            assert not any(one.done() for one in writers)
        await asyncio.gather(*writers)
    finally:
        await owner.close()
    assert (await used(shelf))[:2] == (32, 32)
