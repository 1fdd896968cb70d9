"""What agents remember, in the pooled table `pw.memory`. Implements `decision.ports.Memories`.

No statement names a tenant: the tenant token of the transaction decides whose rows there are, and the database checks
it. The subject comes first in every statement. Source: ADR-0005, architecture.md "Principals" (agent first).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.ports import Remembered
from partywall.errors import Conflict, LimitExceeded
from partywall.store.pool import TenantPool
from partywall.wire.ids import TenantId

ENTRIES_LIMIT: Final = 1_000
"""Of one subject. Writers at the same moment may pass it by as many as the pool has connections."""

GET: Final = """
select key, value, classification, trust, extract(epoch from updated_at)::float8 as updated_at_s from pw.memory
where subject = $1 and key = $2 and classification <= $3
"""
LIST: Final = """
select key, ''::bytea as value, classification, trust, extract(epoch from updated_at)::float8 as updated_at_s
from pw.memory where subject = $1 and classification <= $2 and key collate "C" > $3 order by key collate "C" limit $4
"""
_PUT: Final = f"""
insert into pw.memory as kept (tenant, subject, key, value, classification, trust)
select (select id from pw.tenant), $1, $2, $3, $4, $5
where (select count(*) from (select from pw.memory where subject = $1 and key <> $2 limit {ENTRIES_LIMIT}) as others)
    < {ENTRIES_LIMIT}
on conflict (tenant, subject, key) do update
    set value = excluded.value, classification = excluded.classification, trust = excluded.trust,
        updated_at = clock_timestamp()
    where kept.classification <= $6
returning true
"""  # noqa: S608  # a constant number
_EXISTS: Final = "select true from pw.memory where subject = $1 and key = $2"
_DELETE: Final = "delete from pw.memory where subject = $1 and key = $2 and classification <= $3 returning true"


class StoredMemories:
    """Every subject's memory, over the pool of the gateway's role."""

    def __init__(self, pool: TenantPool) -> None:
        self._pool = pool

    def of(self, tenant: TenantId, subject: str, clearance: Classification) -> StoredMemory:
        """Return the handle of one subject's memory."""
        return StoredMemory(self._pool, tenant, subject, clearance)


class StoredMemory:
    """One subject's memory. Each call is one transaction."""

    def __init__(self, pool: TenantPool, tenant: TenantId, subject: str, clearance: Classification) -> None:
        self._pool = pool
        self._tenant = tenant
        self._subject = subject
        self._clearance = int(clearance)

    async def get(self, key: str) -> Remembered | None:
        """Return the entry, or None."""
        async with self._pool.tenant(self._tenant) as connection:
            row = await connection.fetchrow(GET, self._subject, key, self._clearance)
        return None if row is None else self._entry(row)

    async def put(self, key: str, value: bytes, label: Label) -> None:
        """Write or replace the entry with its label."""
        classification, trust = int(label.classification), int(label.trust)
        async with self._pool.tenant(self._tenant) as connection:
            done = await connection.fetchval(
                _PUT, self._subject, key, value, classification, trust, self._clearance
            )  # fmt: skip
            if done:
                return
            if await connection.fetchval(_EXISTS, self._subject, key):
                raise Conflict("this key cannot be written")
        raise LimitExceeded(f"a memory holds at most {ENTRIES_LIMIT} entries", code="memory-full")

    async def delete(self, key: str) -> bool:
        """Remove the entry and tell whether there was one."""
        async with self._pool.tenant(self._tenant) as connection:
            return bool(await connection.fetchval(_DELETE, self._subject, key, self._clearance))

    async def list(self, after: str = "", limit: int = 2_000) -> Sequence[Remembered]:
        """Return up to limit entries by key, those after a key, without values."""
        async with self._pool.tenant(self._tenant) as connection:
            rows = await connection.fetch(LIST, self._subject, self._clearance, after, limit)
        return [self._entry(row) for row in rows]

    def _entry(self, row: Any) -> Remembered:
        label = Label(
            tenant=self._tenant, classification=Classification(row["classification"]), trust=Trust(row["trust"])
        )
        return Remembered(key=row["key"], value=row["value"], label=label, updated_at_s=row["updated_at_s"])
