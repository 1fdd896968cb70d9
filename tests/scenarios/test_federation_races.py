"""Exchanges that race the end of what they rest on: none escapes it, and none holds it up for ever."""

import asyncio
import time

import pytest
from tests.foreign_issuer import Key
from tests.issuer_fixture import Who, deployment

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
