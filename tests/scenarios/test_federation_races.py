"""Exchanges that race the end of what they rest on: none escapes it, and none holds it up for ever."""

import asyncio
import time

import pytest
from tests.foreign_issuer import Key
from tests.issuer_fixture import Who, deployment, new

from partywall.decision.principal import Kind
from partywall.errors import Denied
from partywall.wire import operations as ops
from partywall.wire.control import Identified, Identify

ISSUER = "https://idp.example"


@pytest.fixture
async def house(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as running:
        yield running


@pytest.mark.parametrize("ended", ["binding", "provider"])
async def test_no_token_escapes_the_end_of_what_it_rests_on(house, ended):
    worker, directory = house.worker, await house.directory(poll_s=60)
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    key = Key("ES256")
    idp = await worker.perform(
        admin, ops.IdpCreate(slug="c", kind="workload", issuer=ISSUER, jwks={"keys": [key.public()]})
    )
    binding = await worker.perform(admin, ops.BindingCreate(idp=idp["id"], subject=agent["id"], match_subject="worker"))
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "worker", "aud": f"pw:local:{admin.tenant}", "iat": now, "exp": now + 300}
    token = key.sign(claims)
    found = await worker.send(Identify(token, None))
    assert isinstance(found, Identified)
    holder = Who(Kind.AGENT, found.subject, found.tenant, found.credential)

    work = [worker.perform(holder, ops.TokenExchange(subject=found.subject, token=token)) for _ in range(30)]
    end = ops.BindingDelete(binding=binding["id"]) if ended == "binding" else ops.IdpDelete(idp=idp["id"])
    work.insert(10, worker.perform(admin, end))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert {type(result) for result in results} == {dict, Denied}
    issued = [result["id"] for result in results if isinstance(result, dict) and "access_token" in result]
    await directory.refresh()
    assert 0 < len(issued) < 30
    assert all(directory.is_revoked(token) for token in issued)


async def test_a_permit_for_another_than_the_token_proves_is_none(house):
    """The gateway is not believed: a token of one agent issues nothing for another, whatever the permit says."""
    worker = house.worker
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    one, two = [await worker.perform(admin, ops.SubjectCreate(kind="agent", slug=slug)) for slug in ("one", "two")]
    key = Key("EdDSA")
    idp = await worker.perform(
        admin,
        ops.IdpCreate(slug="c", kind="workload", issuer=ISSUER, jwks={"keys": [key.public()]}, algorithms=["EdDSA"]),
    )
    await worker.perform(admin, ops.BindingCreate(idp=idp["id"], subject=one["id"], match_subject="worker"))
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "worker", "aud": f"pw:local:{admin.tenant}", "iat": now, "exp": now + 300}
    token = key.sign(claims)
    found = await worker.send(Identify(token, None))
    for subject, credential in ((two["id"], found.credential), (one["id"], "asr_" + "a" * 26)):
        who = Who(Kind.AGENT, subject, admin.tenant, credential)
        with pytest.raises(Exception, match="somebody else"):
            await worker.perform(who, ops.TokenExchange(subject=subject, token=token))
    # nor is there a credential of ours behind a foreign token that is not shown again
    who = Who(Kind.AGENT, one["id"], admin.tenant, found.credential)
    with pytest.raises(Denied):
        await worker.perform(who, ops.TokenExchange(subject=one["id"]))


async def test_a_binding_of_an_admin_gives_at_most_what_whoever_makes_it_carries(house):
    """An admin's key for one purpose must not become an admin's token for all."""
    worker = house.worker
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    user = await worker.perform(admin, ops.SubjectCreate(kind="user", slug="u"))
    carried = ["operator.key", "operator.token"]
    scoped = await worker.perform(admin, ops.KeyCreate(subject=admin.id, scopes=carried))
    clerk = Who(Kind.TENANT_ADMIN, admin.id, admin.tenant, scoped["id"])
    idp = await worker.perform(
        clerk, ops.IdpCreate(slug="c", kind="workload", issuer=ISSUER, jwks={"keys": [Key("ES256").public()]})
    )
    bound = await worker.perform(clerk, ops.BindingCreate(idp=idp["id"], subject=admin.id, match_subject="me"))
    assert bound["scopes"] == carried
    wider = ops.BindingCreate(idp=idp["id"], subject=admin.id, match_subject="x", scopes=["operator.policy"])
    with pytest.raises(Denied):
        await worker.perform(clerk, wider)
    theirs = ops.BindingCreate(idp=idp["id"], subject=user["id"], match_subject="u", scopes=["memory"])
    assert (await worker.perform(clerk, theirs))["scopes"] == ["memory"]


async def delegated(house):
    """Return (admin, session of a user's token, what an agent needs to act for that user by it)."""
    worker = house.worker
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    user = await worker.perform(admin, ops.SubjectCreate(kind="user", slug="u"))
    session = new("ses")
    shown = await worker.perform(admin, ops.TokenCreate(subject=user["id"], session=session))
    holder = await house.member(admin, agent)
    exchange = ops.TokenExchange(subject=agent["id"], user=user["id"], user_token=shown["access_token"])
    return admin, session, holder, exchange


async def test_what_came_of_a_sessions_token_ends_with_the_session(house):
    worker, directory = house.worker, await house.directory(poll_s=60)
    admin, session, holder, exchange = await delegated(house)
    acting = await worker.perform(holder, exchange)
    await worker.perform(admin, ops.Revoke(credential=session))
    await directory.refresh()
    assert directory.is_revoked(acting["id"])


async def test_no_token_escapes_the_end_of_a_session_that_it_rests_on(house):
    worker, directory = house.worker, await house.directory(poll_s=60)
    admin, session, holder, exchange = await delegated(house)
    work = [asyncio.create_task(worker.perform(holder, exchange)) for _ in range(30)]
    await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    await worker.perform(admin, ops.Revoke(credential=session))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert {type(result) for result in results} <= {dict, Denied}
    issued = [result["id"] for result in results if isinstance(result, dict)]
    await directory.refresh()
    assert issued
    assert all(directory.is_revoked(token) for token in issued)


async def test_what_an_admin_issued_for_others_ends_with_that_admin(house):
    worker, directory = house.worker, await house.directory(poll_s=60)
    operator, _ = await house.first_operator()
    admin = await house.tenant(operator, "acme")
    agent = await worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    other = await worker.perform(operator, ops.AdminCreate(tenant=admin.tenant, slug="other"))
    leaving = Who(Kind.TENANT_ADMIN, other["admin"]["id"], admin.tenant, other["key"]["id"])
    key = Key("ES256")
    idp = await worker.perform(
        admin, ops.IdpCreate(slug="c", kind="workload", issuer=ISSUER, jwks={"keys": [key.public()]})
    )
    await worker.perform(admin, ops.BindingCreate(idp=idp["id"], subject=leaving.id, match_subject="other"))
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": "other", "aud": f"pw:local:{admin.tenant}", "iat": now, "exp": now + 300}
    raw_token = key.sign(claims)
    found = await worker.send(Identify(raw_token, None))
    came = Who(Kind.TENANT_ADMIN, leaving.id, admin.tenant, found.credential)
    token = await worker.perform(came, ops.TokenExchange(subject=leaving.id, token=raw_token))
    holder = Who(Kind.TENANT_ADMIN, leaving.id, admin.tenant, token["id"])
    given = await worker.perform(holder, ops.TokenCreate(subject=agent["id"]))
    await worker.perform(admin, ops.SubjectDelete(subject=leaving.id))
    await directory.refresh()
    assert directory.is_revoked(given["id"])
