"""Attacks on the data database by someone who can write any SQL as the gateway's role and has a token for A.

Each returns what it got hold of; B's canary in it is a leak. `caught` runs one of them against a database.
"""

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from tests.postgres_fixture import Databases

from partywall.decision.facts import CollectionFacts
from partywall.decision.labels import Classification, Label
from partywall.decision.retrieval import Passage, Stored, Written
from partywall.store import collections
from partywall.store.collections import StoredCollections
from partywall.store.leaf import LeafShape, create_leaf
from partywall.store.memory import StoredMemories
from partywall.store.pool import TenantPool
from partywall.store.tenant_token import TokenKey, mint, register_key
from partywall.wire.ids import TenantId, format_id

NOTES = LeafShape(columns="id bigint generated always as identity primary key, note text not null")


def new_id(prefix: str) -> str:
    return format_id(prefix, os.urandom(16))


class Neighbours:
    """Two tenants with a memory and a leaf each, and a hostile session that holds A's token."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self.a, self.b = TenantId(new_id("ten")), TenantId(new_id("ten"))
        self.subject = new_id("agt")
        self.canary = f"CANARY-{secrets.token_hex(12)}"
        self.key = TokenKey(secrets.token_hex(8), secrets.token_bytes(32), time.time() + 600)
        self.pool = TenantPool(databases.app, lambda: self.key)
        self.leaf = self.collection = ""
        self.hostile: Any = None
        self.shard = ""

    async def open(self) -> "Neighbours":
        owner = await asyncpg.connect(self.databases.data_owner)
        await register_key(owner, self.key.id, self.key.key, self.key.expires_at_s)
        memories = StoredMemories(self.pool)
        for tenant, text in ((self.a, "mine"), (self.b, self.canary)):
            memory = memories.of(tenant, self.subject, Classification.RESTRICTED)
            await memory.put("secret", f'"{text}"'.encode(), Label(tenant=tenant))
            leaf = await create_leaf(owner, tenant, new_id("col"), NOTES)
            async with self.pool.tenant(tenant) as connection:
                await connection.fetch(f"insert into {leaf} (note) values ($1)", text)
            self.collection = await self._document(owner, tenant, text)
        self.leaf = leaf  # B's
        await owner.close()
        await self.pool.close()
        self.hostile = await asyncpg.connect(self.databases.app)
        self.shard = await self.hostile.fetchval("select pw.shard_id()")
        return self

    async def _document(self, owner: Any, tenant: TenantId, text: str) -> str:
        """A collection with one document of this text; its id."""
        facts = CollectionFacts(id=new_id("col"), slug="docs", model=new_id("mdl"), dimensions=2)  # type: ignore[arg-type]
        await collections.create(owner, tenant, facts.id, 2)
        stored = Stored(id=text, digest=b"x", label=Label(tenant=tenant), chunks=1, metadata={"note": text})
        document = Written(stored=stored, passages=[Passage(text=text, vector=[1.0, 0.0])])
        handle = StoredCollections(self.pool).of(tenant, facts, Classification.RESTRICTED)
        await handle.put([document], others={}, limit_bytes=10_000)
        return facts.id

    async def close(self) -> None:
        self.hostile.terminate()
        await self.pool.close()

    @property
    def pid(self) -> int:
        return int(self.hostile.get_server_pid())

    def token(self, tenant: str, **changed: Any) -> str:
        """A token as the gateway mints it for the hostile connection, with parts changed."""
        given = {"key": self.key.key, "shard": self.shard, "pid": self.pid, "expires": int(time.time()) + 20, **changed}
        body = f"{given['expires']:010d}{tenant}{self.key.id}"
        pid = b"" if given["pid"] is None else given["pid"].to_bytes(4, "big")
        message = given["shard"].encode() + pid + body.encode()
        return hmac.digest(given["key"], message, "sha256").hex() + body

    async def sees(self, token: str) -> str:
        """All that the hostile session reads once it has set this token."""
        await self.hostile.fetchval("select set_config('pw.token', $1, false)", token)
        return await tried(self.hostile, *self.reads)

    @property
    def reads(self) -> tuple[str, ...]:
        return (
            "select convert_from(value, 'UTF8') from pw.memory",
            f"select note from {self.leaf}",
            f"select convert_from(content, 'UTF8') from leaf.{self.collection}",
            f"select document from leaf.{collections.derivative_of(self.collection)}",
            "select convert_from(value, 'UTF8') from pw.all_memory()",
            "select convert_from(value, 'UTF8') from pw.everything",
        )


async def tried(connection: Any, *statements: str) -> str:
    """What the statements answered, all of it; one that is refused answers nothing."""
    found = []
    for statement in statements:
        with contextlib.suppress(asyncpg.PostgresError):
            found += [str(tuple(row.values())) for row in await connection.fetch(statement)]
    return "\n".join(found)


async def no_token(n: Neighbours) -> str:
    return await tried(n.hostile, *n.reads)


async def set_config(n: Neighbours) -> str:
    await n.sees(n.token(n.a))
    got = []
    for name in ("pw.token", "app.tenant", "pw.tenant", "app.tenant_id"):
        got.append(await tried(n.hostile, f"select set_config('{name}', '{n.b}', false)", *n.reads))
        inner = f"select set_config(''{name}'', ''{n.b}'', false)"
        got.append(
            await tried(
                n.hostile,
                f"select query_to_xml('{inner}', true, true, '')",
                "select query_to_xml('select * from pw.memory', true, true, '')",
            )
        )
        with contextlib.suppress(asyncpg.PostgresError):
            await n.hostile.execute(f"do $$ begin perform set_config('{name}', '{n.b}', false); end $$")
            got.append(await tried(n.hostile, *n.reads))
        with contextlib.suppress(asyncpg.PostgresError):
            await n.hostile.execute(f"begin read only; set local {name} = '{n.b}'")
            got.append(await tried(n.hostile, *n.reads))
        await n.hostile.execute("rollback")
    return without_echo(got, n)


def without_echo(got: list[str], n: Neighbours) -> str:
    """What an attack sent itself is no leak."""
    return "\n".join(got).replace(n.b, "")


async def forged_token(n: Neighbours) -> str:
    mine, theirs = n.token(n.a), n.token(n.b, key=secrets.token_bytes(32))
    forged = [
        theirs,
        mine[:64] + theirs[64:],
        mine[:74] + n.b + mine[104:],
        "0" * 64 + theirs[64:],
        theirs[64:],
        theirs[:104] + secrets.token_hex(8),
        theirs + "x",
        n.b,
        "x" * 74 + n.b + n.key.id,
        "'" * 74 + n.b + n.key.id,
        "é" * 74 + n.b + n.key.id,
        "",
    ]
    return "\n".join([await n.sees(text) for text in forged])


async def replayed_token(n: Neighbours) -> str:
    other = await asyncpg.connect(n.databases.app)
    pid = other.get_server_pid()
    captured = mint(n.key.id, n.key.key, n.b, n.shard, pid, int(time.time()) + 20)
    await other.fetchval("select set_config('pw.token', $1, false)", captured)
    works_there = await tried(other, *n.reads)
    unbound = n.token(n.b, pid=None)  # what a mint that binds to no backend would have made
    got = [await n.sees(captured), await n.sees(unbound)]
    await other.close()
    assert n.canary in works_there or n.canary in got[1]
    return "\n".join(got)


async def expired_token(n: Neighbours) -> str:
    now_s = int(time.time())
    times = (now_s - 1, now_s - 3600, 0, now_s + 33, now_s + 3600, 9_999_999_999)
    return "\n".join([await n.sees(n.token(n.b, expires=expires)) for expires in times])


async def other_shard(n: Neighbours) -> str:
    shards = (secrets.token_hex(16), n.shard[::-1], "", n.shard.upper())
    return "\n".join([await n.sees(n.token(n.b, shard=shard)) for shard in shards])


async def stolen_key(n: Neighbours) -> str:
    got = []
    with contextlib.suppress(asyncpg.PostgresError):
        for row in await n.hostile.fetch("select kid, inner_start, outer_pad from pw.token_key"):
            body = f"{int(time.time()) + 20:010d}{n.b}{row['kid']}"
            inner = hashlib.sha256(row["inner_start"] + n.pid.to_bytes(4, "big") + body.encode()).digest()
            got.append(await n.sees(hashlib.sha256(row["outer_pad"] + inner).hexdigest() + body))
    got.append(await tried(n.hostile, "select * from pw.token_key", "select * from pw.shard", "table pw.token_key",
                           "select most_common_vals::text from pg_stats where tablename = 'token_key'"))  # fmt: skip
    return "\n".join(got)


async def leaf_by_name(n: Neighbours) -> str:
    await n.sees(n.token(n.a))
    return await tried(
        n.hostile,
        f"select note from {n.leaf}",
        f"select note from only {n.leaf}",
        f"select count(*) || ' ' || string_agg(note, ',') from {n.leaf} tablesample system (100)",
        f"with taken as (delete from {n.leaf} returning note) select note from taken",
        f"with changed as (update {n.leaf} set note = note returning note) select note from changed",
        f"select convert_from(content, 'UTF8') from leaf.{n.collection}",
        f"select document, embedding::text from leaf.{collections.derivative_of(n.collection)}",
        f"select document from leaf.{collections.derivative_of(n.collection)}"
        " order by embedding operator(vectors.<#>) '[1,0]'::vectors.vector limit 1",
    )


async def write_for_another(n: Neighbours) -> str:
    """Plant rows in B's memory, as A; what B then reads of it is the leak."""
    await n.sees(n.token(n.a))
    planted = f"planted-{n.canary}"
    insert = "insert into pw.memory (tenant, subject, key, value, classification, trust) values"
    row = f"('{n.b}', '{n.subject}', 'planted', convert_to('{planted}', 'UTF8'), 1, 1)"
    taken = row.replace("planted", "secret", 1)
    merge = "merge into pw.memory m using (select 1) s on false when not matched then insert values"
    await tried(
        n.hostile,
        f"{insert} {row}",
        f"{insert} {taken} on conflict (tenant, subject, key) do update set value = excluded.value",
        f"update pw.memory set tenant = '{n.b}', key = 'moved', value = convert_to('{planted}', 'UTF8')",
        f"insert into {n.leaf} (note) values ('{planted}')",
        f"insert into leaf.{n.collection} (document, part, classification, trust, content)"
        f" values ('{planted}', 1, 1, 1, convert_to('{planted}', 'UTF8'))",
        f"insert into leaf.{collections.derivative_of(n.collection)} (document, part, classification, embedding)"
        f" values ('{planted}', 1, 1, '[1,0]')",
        f"update pw.collection_use set bytes = 0, tenant = '{n.b}'",
        f"{merge} {row[:-1]}, now())",
    )
    return "\n".join(line for line in (await n.sees(n.token(n.b))).splitlines() if planted in line)


async def truncate(n: Neighbours) -> str:
    await n.sees(n.token(n.a))
    with contextlib.suppress(asyncpg.PostgresError):
        await n.hostile.execute("truncate pw.memory")
    await n.sees(n.token(n.b))
    return "" if n.canary in await tried(n.hostile, n.reads[0]) else f"{n.canary} is gone"


async def statements_of_others(n: Neighbours) -> str:
    other = await asyncpg.connect(n.databases.app)
    await other.fetch(f"select '{n.canary}'")
    got = await tried(
        n.hostile,
        "select query from pg_stat_activity",
        "select * from pg_stat_get_activity(null)",
        "select pg_stat_get_backend_activity(1)",
    )
    await other.close()
    return got


async def log_of_failures(n: Neighbours) -> str:
    for statement in (
        f"select '{n.canary}'::int",
        f'select 1/0 as "{n.canary}"',
        f"insert into pw.memory values ('{n.canary}')",
        f"do $$ begin raise log '{n.canary}'; end $$",
        f"set debug_print_parse = on; set debug_print_plan = on; select '{n.canary}'; reset all",
        f"set log_statement = 'all'; select '{n.canary}'",
        f"syntax error {n.canary}",
    ):
        with contextlib.suppress(asyncpg.PostgresError):
            await n.hostile.execute(statement)
    with contextlib.suppress(asyncpg.PostgresError):
        await n.hostile.fetch("select 10 / $1::int, $2::text", 0, n.canary)
    await asyncio.sleep(0.2)
    return n.databases.log("data").read_text(errors="replace")


ATTACKS: dict[str, Callable[[Neighbours], Awaitable[str]]] = {
    attack.__name__: attack
    for attack in (
        no_token, set_config, forged_token, replayed_token, expired_token, other_shard, stolen_key, leaf_by_name,
        write_for_another, truncate, statements_of_others, log_of_failures,
    )
}  # fmt: skip


async def caught(databases: Databases, name: str) -> tuple[str, Neighbours]:
    """Run one attack with fresh tenants and return what it got."""
    neighbours = await Neighbours(databases).open()
    try:
        return await ATTACKS[name](neighbours), neighbours
    finally:
        await neighbours.close()
