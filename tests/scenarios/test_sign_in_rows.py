"""What sign-in keeps in the control database: how many, for how long, and what sweeps it."""

import time

import asyncpg
import pytest
from tests.issuer_fixture import deployment, new

from partywall.control.database import Database
from partywall.control.sign_in.codes import LIVE_LIMIT as CODES_LIMIT
from partywall.control.sign_in.codes import issue_code, redeem_code
from partywall.control.sign_in.families import LIVE_LIMIT, begin_family, renew
from partywall.control.sign_in.request import Asked
from partywall.control.upkeep import sweep
from partywall.errors import LimitExceeded, Malformed
from partywall.wire import operations as ops
from partywall.wire.sign_in import Redeem, Refresh

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
NOW = time.time()


@pytest.fixture
async def house(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as running:
        yield running


class Rows:
    """One bound user of a tenant, and the database as the issuer has it."""

    def __init__(self, house, connection):
        self.house, self.connection = house, connection

    async def start(self):
        operator, _key = await self.house.first_operator()
        admin = await self.house.tenant(operator, "acme")
        perform = self.house.worker.perform
        idp = await perform(admin, ops.IdpCreate(slug="own", issuer="https://id.example", client_id="us"))
        user = await perform(admin, ops.SubjectCreate(kind="user", slug="alice"))
        bound = ops.BindingCreate(idp=idp["id"], subject=user["id"], match_subject="alice")
        self.ancestors = [idp["id"], (await perform(admin, bound))["id"]]
        self.tenant, self.user = admin.tenant, user["id"]
        return self

    async def code(self, *, attempt=None, lasting=True, now_s=NOW):
        asked = Asked(
            client="c", redirect_uri="http://127.0.0.1/cb", state=None, challenge=CHALLENGE, scopes=None,
            resource=None, lasting=lasting,
        )  # fmt: skip
        return await issue_code(
            self.connection, attempt=attempt or new("sgn"), asked=asked, tenant=self.tenant, subject=self.user,
            ancestors=self.ancestors, scopes=None, now_s=now_s,
        )  # fmt: skip

    async def redeem(self, code, *, now_s=NOW):
        step = Redeem(client_id="c", code=code, code_verifier=VERIFIER, redirect_uri="http://127.0.0.1/cb")
        limits = {"life_s": 900.0, "lasting_s": 43_200.0}
        return await redeem_code(self.connection, step, resource=None, now_s=now_s, **limits)

    async def renew(self, token, *, now_s):
        step = Refresh(client_id="c", refresh_token=token)
        return await renew(self.connection, step, resource=None, scopes=None, now_s=now_s, life_s=900.0)

    async def count(self, table):
        return await self.connection.fetchval(f"select count(*) from control.{table}")


@pytest.fixture
async def rows(house, issuer_databases):
    connection = await asyncpg.connect(issuer_databases.control_owner)
    try:
        yield await Rows(house, connection).start()
    finally:
        await connection.close()


async def test_a_code_lives_a_minute(rows):
    code = await rows.code()
    assert await rows.redeem(code, now_s=NOW + 60.1) == {"error": "invalid_grant"}
    assert "credential" in await rows.redeem(await rows.code(), now_s=NOW + 59.9)


async def test_a_person_has_few_codes_at_once_and_an_attempt_has_one(rows):
    attempt = new("sgn")
    await rows.code(attempt=attempt)
    with pytest.raises(Malformed, match="finished already"):
        await rows.code(attempt=attempt)
    for _ in range(CODES_LIMIT - 1):
        await rows.code()
    with pytest.raises(LimitExceeded):
        await rows.code()
    await rows.code(now_s=NOW + 61)


async def test_a_sign_in_lasts_its_hours_and_no_token_of_it_longer(rows):
    token = (await rows.redeem(await rows.code()))["refresh_token"]
    late = await rows.renew(token, now_s=NOW + 43_200 - 60)
    assert late["expires_at_s"] == pytest.approx(NOW + 43_200)
    assert await rows.renew(late["refresh_token"], now_s=NOW + 43_200.1) == {"error": "invalid_grant"}


async def test_one_sign_in_too_many_ends_the_oldest(rows):
    code = {"tenant": rows.tenant, "subject": rows.user, "client": "c", "scopes": None, "resource": None}
    code["ancestors"] = rows.ancestors
    tokens = [
        (await begin_family(rows.connection, code, now_s=NOW + number / 1000, lasting_s=3_600.0))[1]
        for number in range(LIVE_LIMIT + 1)
    ]
    assert await rows.renew(tokens[0], now_s=NOW + 1) == {"error": "invalid_grant"}
    for token in (tokens[1], tokens[-1]):
        assert "credential" in await rows.renew(token, now_s=NOW + 1)


async def test_what_has_ended_is_swept(rows, house, issuer_databases):
    await rows.redeem(await rows.code())
    control = Database(issuer_databases.control_owner, application="test")
    await control.open()
    try:
        for at_s, left in ((NOW + 3_600, (1, 1)), (NOW + 3_700, (0, 1)), (NOW + 43_300, (0, 0))):
            await sweep(house.home, control, at_s)
            assert (await rows.count("authorization_code"), await rows.count("refresh_family")) == left
    finally:
        await control.close()
