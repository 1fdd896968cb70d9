"""The Python SDK against the whole platform: an operator, an admin and an agent at their day's work."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.target import Side
from partywall.client import (
    BadRequest,
    Conflict,
    Denied,
    Document,
    Grant,
    NotFound,
    Partywall,
    Unauthenticated,
    Unavailable,
)


@pytest.fixture(scope="module")
def sides(platform: Platform) -> tuple[Side, Side]:
    return platform.two_tenants()


@pytest_asyncio.fixture
async def operator(platform: Platform) -> AsyncIterator[Partywall]:
    async with Partywall(platform.base_url, platform.operator_key()) as wall:
        yield wall


@pytest_asyncio.fixture
async def admin(platform: Platform, sides: tuple[Side, Side]) -> AsyncIterator[Partywall]:
    async with Partywall(platform.base_url, sides[0].admin) as wall:
        yield wall


@pytest_asyncio.fixture
async def agent(platform: Platform, sides: tuple[Side, Side]) -> AsyncIterator[Partywall]:
    async with Partywall(platform.base_url, sides[0].key) as wall:
        yield wall


async def test_an_operator_makes_a_tenant_and_lets_it_rest(operator: Partywall, platform: Platform):
    slug = f"sdk-{time.time_ns()}"
    tenant = await operator.tenants.create(slug, organisation="sdk")
    assert (tenant.slug, tenant.organisation, tenant.state) == (slug, "sdk", "active")
    made = await operator.tenants.create_admin(tenant.id, "root")
    assert tenant.id in [one.id async for one in operator.tenants.list()]
    async with Partywall(platform.base_url, made.key.secret) as admin:
        assert [one.slug async for one in admin.subjects.list()] == ["root"]
        assert (await operator.tenants.suspend(tenant.id)).state == "suspended"
        with pytest.raises(Unauthenticated):
            await admin.policy.show()
        assert (await operator.tenants.resume(tenant.id)).state == "active"
    with pytest.raises(Conflict):
        await operator.tenants.create(slug)


async def test_an_admin_makes_an_agent_that_works_until_it_is_revoked(admin: Partywall, platform: Platform):
    subject = await admin.subjects.create(f"sdk-{time.time_ns()}", clearance=2)
    grants = [Grant(action="memory", resource=f"memory/{subject.id}")]
    assert (await admin.subjects.set_grants(subject.id, grants)).grants == grants
    key = await admin.keys.create(subject.id, scopes=["memory"])
    assert key.id in [one.id async for one in admin.keys.list()]
    token = await admin.tokens.create(subject.id)
    assert token.expires_in <= 900
    async with Partywall(platform.base_url, key.secret) as agent:
        written = await agent.memory.put("seen", {"mail": [1, 2]}, classification=2)
        assert written.classification == "confidential"
        found = await agent.memory.get("seen")
        assert found is not None
        assert found.value == {"mail": [1, 2]}
        assert [entry.key for entry in await agent.memory.list()] == ["seen"]
        assert await agent.memory.delete("seen")
        assert await agent.memory.get("seen") is None
        await admin.revoke(key.id)
        with pytest.raises(Unauthenticated):
            await _until_refused(agent)


async def _until_refused(agent: Partywall) -> None:
    for _ in range(60):
        await agent.memory.list()
        await asyncio.sleep(0.1)


async def test_what_is_refused_says_why(agent: Partywall, admin: Partywall, sides: tuple[Side, Side]):
    with pytest.raises(Denied) as denied:
        await agent.policy.show()
    assert denied.value.code.startswith("denied-")
    assert denied.value.detail
    assert len(denied.value.trace) == 32
    with pytest.raises(NotFound):
        await admin.subjects.suspend(sides[1].agent)
    with pytest.raises(BadRequest):
        await admin.policy.activate("package tenant\n\ndeny contains")
    assert await agent.memory.get("nothing") is None


async def test_the_log_reads_from_its_first_leaf_to_its_signed_head(agent: Partywall, admin: Partywall):
    await agent.memory.list()
    numbers = [leaf.seq async for leaf in admin.log.leaves()]
    assert numbers == list(range(len(numbers)))
    assert (await admin.log.checkpoint()).size > 0


async def test_documents_are_kept_and_found(
    operator: Partywall, admin: Partywall, platform: Platform, sides: tuple[Side, Side]
):
    slug = f"sdk-{time.time_ns()}"
    await operator.tenants.add_model(
        sides[0].tenant,
        slug,
        upstream=sides[0].upstream.url,
        upstream_model="plain",
        purpose="embeddings",
        dimensions=2,
    )
    collection = await admin.collections.create(slug, model=slug)
    assert collection.id in [one.id async for one in admin.collections.list()]
    subject = await admin.subjects.create(slug)
    for action in ("ingest", "retrieval.search"):
        await admin.subjects.grant(subject.id, action, f"collection/{slug}")
    key = await admin.keys.create(subject.id)
    async with Partywall(platform.base_url, key.secret) as reader:
        written = await reader.collections.add(
            slug,
            [
                Document(id="east", chunks=["the east wall"], vectors=[[1.0, 0.0]], metadata={"side": "east"}),
                Document(id="north", chunks=["the north wall"], vectors=[[0.0, 1.0]]),
            ],
        )
        assert [one.changed for one in written] == [True, True]
        found = await reader.collections.search(slug, vector=[0.9, 0.1])
        assert [one.document for one in found] == ["east", "north"]
        assert [
            one.document for one in await reader.collections.search(slug, vector=[0, 1], filter_by={"side": "east"})
        ] == ["east"]
        assert [one.id async for one in reader.collections.documents(slug)] == ["east", "north"]
        assert (await reader.collections.get(slug, "east")).parts[0].text == "the east wall"
        assert await reader.collections.remove(slug, "east")
        with pytest.raises(NotFound):
            await reader.collections.get(slug, "east")
    await admin.collections.delete(collection.id)


async def test_a_search_finds_what_was_denied(agent: Partywall, admin: Partywall):
    with pytest.raises(Denied):
        await agent.policy.show()
    found = [leaf async for leaf in admin.log.search(verdict="deny", action="operator.read")]
    assert found
    assert all(leaf.activity is not None and leaf.activity["verdict"] == "deny" for leaf in found)
    assert [leaf.seq for leaf in found] == sorted((leaf.seq for leaf in found), reverse=True)


async def test_a_question_is_answered_as_the_road_would(admin: Partywall, sides: tuple[Side, Side]):
    agent = sides[0].bystander
    assert not await admin.may(agent, "model.request", "model/probe-model")
    await admin.subjects.grant(agent, "model.request", "model/probe-model")
    assert await admin.may(agent, "model.request", "model/probe-model")
    await admin.subjects.withdraw(agent, "model.request", "model/probe-model")
    assert not await admin.may(agent, "model.request", "model/probe-model")
    assert not await admin.may(sides[1].agent, "model.request", "model/probe-model")


async def test_other_clients_are_told_where_to_go(agent: Partywall, platform: Platform, sides: tuple[Side, Side]):
    assert [model.id for model in await agent.models()] == ["probe-model"]
    assert agent.openai_options() == {"base_url": f"{platform.base_url}/v1", "api_key": sides[0].key}
    mcp = agent.mcp_options("probe-tools")
    assert mcp["url"] == f"{platform.base_url}/mcp/probe-tools"


async def test_out_of_reach_is_said_and_tried_again():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with Partywall(f"http://127.0.0.1:{port}", "pw_x", timeout_s=2) as wall:
        with pytest.raises(Unavailable, match="partywall up"):
            await wall.models()
