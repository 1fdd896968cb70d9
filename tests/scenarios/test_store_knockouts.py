"""Each control of the data database removed, in a fresh temporary cluster: its attack must get through."""

import asyncio

import asyncpg
import pytest
from knockouts.mark import mark
from knockouts.store import KNOCKOUTS, StickyPool, apply
from tests.postgres_fixture import Databases, make_databases
from tests.store_attacks import ATTACKS, Neighbours

from partywall.decision.labels import Classification
from partywall.store.memory import StoredMemories
from partywall.store.pool import TenantPool


@pytest.fixture(scope="module")
def template():
    made = make_databases(("data",))
    made.stop("data")
    mark(made.home)
    yield made
    made.close()


@pytest.fixture
def fresh(template: Databases):
    made = template.copy()
    made.start("data")
    yield made
    made.close()


@pytest.mark.parametrize("name", KNOCKOUTS)
async def test_without_the_control_the_attack_gets_through(fresh: Databases, name: str):
    neighbours = await Neighbours(fresh).open()
    owner = await asyncpg.connect(fresh.data_owner)
    await apply(fresh.home, owner, name, fresh.as_superuser)
    await owner.close()
    await asyncio.sleep(0.1)  # a reloaded setting reaches running sessions with their next statement
    got = await ATTACKS[KNOCKOUTS[name].caught_by](neighbours)
    await neighbours.close()
    assert neighbours.canary in got


async def test_a_knockout_refuses_a_home_that_was_not_made_for_it(databases: Databases):
    owner = await asyncpg.connect(databases.data_owner)
    with pytest.raises(SystemExit):
        await apply(databases.home, owner, "bypass", databases.as_superuser)
    await owner.close()


@pytest.mark.parametrize(("pool_class", "leaks"), [(TenantPool, False), (StickyPool, True)])
async def test_a_pool_that_remembers_the_tenant_serves_the_wrong_one(databases: Databases, pool_class, leaks: bool):
    n = await Neighbours(databases).open()
    pool = pool_class(databases.app, lambda: n.key, limit=1)
    memories = StoredMemories(pool)
    first = await memories.of(n.b, n.subject, Classification.RESTRICTED).get("secret")
    second = await memories.of(n.a, n.subject, Classification.RESTRICTED).get("secret")
    assert first is not None
    assert n.canary.encode() in first.value
    assert second is not None
    assert (n.canary.encode() in second.value) == leaks
    await pool.close()
    await n.close()
