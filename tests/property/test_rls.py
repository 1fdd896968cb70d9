"""Row security and the tenant token, for any history and any change of a token."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.postgres_fixture import Databases
from tests.store_attacks import Neighbours, new_id

from partywall.decision.labels import Classification, Label, Trust
from partywall.errors import PartywallError
from partywall.store.memory import StoredMemories
from partywall.store.pool import TenantPool
from partywall.wire.ids import TenantId

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = st.sampled_from(["a", "b", "c"])
LEVELS = st.sampled_from(list(Classification))
OPERATIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=20), LEVELS, st.sampled_from(list(Trust)), LEVELS),
    st.tuples(st.just("get"), KEYS, LEVELS),
    st.tuples(st.just("delete"), KEYS, LEVELS),
    st.tuples(st.just("list"), LEVELS),
)
HISTORY = st.lists(st.tuples(st.booleans(), st.booleans(), OPERATIONS), max_size=25)


class Wall:
    """One event loop with one pool and one hostile session, for all examples."""

    def __init__(self, databases: Databases) -> None:
        self.loop = asyncio.new_event_loop()
        self.n = self.do(Neighbours(databases).open())
        self.pool = TenantPool(databases.app, lambda: self.n.key, limit=2)

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.do(self.pool.close())
        self.do(self.n.close())
        self.loop.close()


@pytest.fixture(scope="module")
def wall(databases: Databases) -> Iterator[Wall]:
    made = Wall(databases)
    yield made
    made.close()


async def play(pool: TenantPool, history: list[Any], *, with_b: bool) -> list[str]:
    """Run a history with fresh tenants and return all that A was told, without times and its own name."""
    tenants = {True: TenantId(new_id("ten")), False: TenantId(new_id("ten"))}
    subjects = {True: new_id("agt"), False: new_id("agt")}  # of the same names in both tenants
    told = []
    for is_a, which, (name, *given_) in history:
        if not is_a and not with_b:
            continue
        memory = StoredMemories(pool).of(tenants[is_a], subjects[which], given_[-1])
        try:
            if name == "put":
                key, value, classification, trust, _ = given_
                label = Label(tenant=tenants[is_a], classification=classification, trust=trust)
                answer: Any = await memory.put(key, value, label)
            elif name == "list":
                answer = [(e.key, e.value, e.label.classification, e.label.trust) for e in await memory.list()]
            elif name == "get":
                entry = await memory.get(given_[0])
                answer = entry and (entry.key, entry.value, entry.label.classification, entry.label.trust)
            else:
                answer = await memory.delete(given_[0])
        except PartywallError as error:
            answer = (type(error).__name__, error.code, error.public)
        if is_a:
            told.append(repr(answer))
    return told


@QUICK
@given(history=HISTORY)
def test_what_a_is_told_is_the_same_whether_b_exists_or_not(wall: Wall, history: list[Any]):
    alone = wall.do(play(wall.pool, history, with_b=False))
    beside = wall.do(play(wall.pool, history, with_b=True))
    assert alone == beside


@QUICK
@given(data=st.data())
def test_a_token_changed_anywhere_is_worth_nothing(wall: Wall, data: st.DataObject):
    good = wall.n.token(wall.n.b)
    place = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.characters(min_codepoint=1, max_codepoint=0x2FF, blacklist_categories=["Cs"]))
    cut = data.draw(st.integers(0, len(good)))
    kind = data.draw(st.sampled_from(["replace", "insert", "cut", "delete", "append"]))
    changed = {
        "replace": good[:place] + letter + good[place + 1 :],
        "insert": good[:place] + letter + good[place:],
        "cut": good[:cut],
        "delete": good[:place] + good[place + 1 :],
        "append": good + letter,
    }[kind]
    got = wall.do(wall.n.sees(changed))
    assert (wall.n.canary in got) == (changed == good)


@QUICK
@given(text=st.text(st.characters(min_codepoint=1, blacklist_categories=["Cs"]), max_size=200))
def test_no_text_in_the_setting_raises_or_gives_rows(wall: Wall, text: str):
    async def ask() -> Any:
        await wall.n.hostile.fetchval("select set_config('pw.token', $1, false)", text)
        return await wall.n.hostile.fetch("select id from pw.tenant"), await wall.n.hostile.fetch(
            "select * from pw.memory"
        )

    assert wall.do(ask()) == ([], [])


@QUICK
@given(
    offset=st.integers(-(2**33), 2**33),
    pid=st.one_of(st.none(), st.integers(1, 2**31 - 1)),
    shard=st.one_of(st.none(), st.text("0123456789abcdef", min_size=32, max_size=32)),
)
def test_only_this_backend_this_shard_and_the_next_thirty_seconds(wall: Wall, offset: int, pid: Any, shard: Any):
    now_s = int(time.time())
    expires = min(max(now_s + offset, 0), 9_999_999_999)
    changed: dict[str, Any] = {"expires": expires}
    changed |= {"pid": pid} if pid is not None else {}
    changed |= {"shard": shard} if shard is not None else {}
    got = wall.do(wall.n.sees(wall.n.token(wall.n.b, **changed)))
    right_place = (pid is None or pid == wall.n.pid) and (shard is None or shard == wall.n.shard)
    if not right_place or expires < now_s or expires > now_s + 31:
        assert wall.n.canary not in got
    elif now_s + 2 < expires < now_s + 29:
        assert wall.n.canary in got


def test_no_role_but_the_gateways_reaches_the_rows(databases: Databases):
    async def ask() -> Any:
        owner = await asyncpg.connect(databases.data_owner)
        rows = await owner.fetch("select * from pw.memory")
        await owner.close()
        return rows

    assert asyncio.run(ask()) == []
