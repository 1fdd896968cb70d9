"""What the issuer does for leaves without being asked: index those that grew large, drop those that nobody names.

Building an index takes seconds to minutes, beside everything else and blocking no writer; until it is valid a search
compares every chunk, as before. Source: architecture.md "Data at rest", ADR-0013.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from partywall.control.collections import drop_orphans
from partywall.control.database import ACQUIRE_TIMEOUT_S, Database, translated
from partywall.errors import Unavailable
from partywall.store.hardening import VECTORS
from partywall.telemetry.log import Log

TURN_S: Final = 60.0
BUILD_LIMIT_S: Final = 3_600
BUILD_MEMORY: Final = "128MB"
_LARGE: Final = """
    select c.relname as leaf from pg_catalog.pg_class c
    where c.relnamespace = 'leaf'::regnamespace and c.relkind = 'r' and c.relname ~ '^vec_[a-z2-7]{26}$'
      and c.reltuples > $1 and not exists (
          select from pg_catalog.pg_index i join pg_catalog.pg_class x on x.oid = i.indexrelid
          where i.indrelid = c.oid and x.relname = c.relname || '_hnsw' and i.indisvalid)
    order by c.relname limit 1"""


async def tend_leaves(data_dsn: str, control: Database, data: Database, log: Log, *, exact_limit_chunks: int) -> None:
    """Do it each minute, for ever; a database that is away is tried again."""
    while True:
        try:
            await tend_once(data_dsn, control, data, log, exact_limit_chunks=exact_limit_chunks)
        except Unavailable as error:
            log.warning("issuer.database", code=error.code, reason=error.private)
        except Exception as error:  # the next turn begins anew
            log.error("issuer.tend-leaves", error)  # noqa: TRY400 - our own sink, not the standard logging
        await asyncio.sleep(TURN_S)


async def tend_once(data_dsn: str, control: Database, data: Database, log: Log, *, exact_limit_chunks: int) -> None:
    """Drop orphans, then index large leaves one after the other. Raises: Unavailable, Bug."""
    dropped, kept = await drop_orphans(control, data)
    if dropped:
        log.info("issuer.orphans-dropped", count=dropped)
    if kept:
        log.warning("issuer.orphans-kept", count=kept, reason="leaves with documents that no collection names")
    while (leaf := await _large_leaf(data, exact_limit_chunks)) is not None:
        await build_index(data_dsn, leaf)
        log.info("issuer.indexed")


async def _large_leaf(data: Database, exact_limit_chunks: int) -> str | None:
    async with data.transaction() as connection:
        found: str | None = await connection.fetchval(_LARGE, float(exact_limit_chunks))
    return found


async def build_index(data_dsn: str, leaf: str) -> None:
    """Build the HNSW index of a searchable leaf anew. leaf: `vec_…`, from the catalogue. Raises: Unavailable, Bug."""
    with translated():
        connection: Any = await asyncpg.connect(data_dsn, timeout=ACQUIRE_TIMEOUT_S)
        try:
            await connection.execute(f"set statement_timeout = {BUILD_LIMIT_S * 1000}")
            await connection.execute(f"set maintenance_work_mem = '{BUILD_MEMORY}'")
            await connection.execute(f"drop index concurrently if exists leaf.{leaf}_hnsw")  # half built, by a crash
            await connection.execute(
                f"create index concurrently {leaf}_hnsw on leaf.{leaf} using hnsw (embedding {VECTORS}.vector_ip_ops)"
            )
        finally:
            connection.terminate()
