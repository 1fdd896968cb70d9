"""Idempotency keys, entity tags, cursors and drafts at the issuer, over a real database: what is kept, how long."""

import asyncio
import time

import asyncpg
import msgspec
import pytest
from tests.issuer_fixture import Who, canonical, deployment

from partywall.control import once, upkeep
from partywall.control.database import Database
from partywall.decision.action import PLATFORM
from partywall.decision.principal import Kind
from partywall.errors import Conflict, LimitExceeded, Malformed, NotFound, PartywallError
from partywall.wire import operations as ops
from partywall.wire.conditions import Conditions, etag_of
from partywall.wire.control import Perform, Performed


@pytest.fixture
async def house(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as running:
        yield running


@pytest.fixture
async def admin(house):
    operator, _ = await house.first_operator()
    return await house.tenant(operator, "acme")


async def rows(house, statement, *values):
    connection = await asyncpg.connect(house.databases.control_owner)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


def keyed(key, **more):
    return Conditions(idempotency_key=key, **more)


async def send(house, who, operation):
    """Return the whole answer, with whether it is a replay."""
    payload = canonical(operation)
    reply = await house.worker.send(Perform(house.worker.permit(who, operation), payload))
    assert isinstance(reply, Performed)
    return reply


async def test_a_reply_is_kept_with_the_effect_and_ends_after_a_day(house, admin):
    operation = ops.SubjectCreate(kind="agent", slug="a", conditions=keyed("k"))
    first, second = await send(house, admin, operation), await send(house, admin, operation)
    assert (first.replayed, second.replayed) == (False, True)
    assert first.body == second.body
    [kept] = await rows(house, "select * from control.idempotency")
    assert (kept["realm"], kept["principal"], bytes(kept["reply"])) == (admin.tenant, admin.id, first.body)
    assert b"k" not in {kept["key_sha256"], kept["payload_sha256"]}
    assert 86_000 < kept["expires_at_s"] - time.time() <= 86_400
    await rows(house, "update control.idempotency set expires_at_s = $1", time.time() - 1)
    with pytest.raises(Conflict) as caught:  # it is a new request now, and the name is taken
        await send(house, admin, operation)
    assert caught.value.code == "taken"


async def test_the_sweep_forgets_what_has_ended_and_nothing_else(house, admin):
    for key in ("old", "new"):
        await send(house, admin, ops.SubjectCreate(kind="agent", slug=key, conditions=keyed(key)))
    await rows(
        house,
        "update control.idempotency set expires_at_s = $1 where key_sha256 = sha256('old'::bytea)",
        time.time() - 1,
    )
    database = Database(house.databases.control_owner, application="test")
    await database.open()
    await upkeep.sweep(house.home, database, time.time())
    await database.close()
    assert len(await rows(house, "select 1 from control.idempotency")) == 1


async def test_no_secret_is_in_the_database(house, admin):
    [key] = await rows(house, "select subject, id from control.api_key where tenant is null")
    operator = Who(Kind.PLATFORM_OPERATOR, key["subject"], PLATFORM, key["id"])
    subject = (await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a")))["id"]
    for who, operation in (
        (admin, ops.KeyCreate(subject=subject, conditions=keyed("key"))),
        (admin, ops.TokenCreate(subject=subject, conditions=keyed("token"))),
        (operator, ops.OperatorKeyCreate(slug="second", conditions=keyed("operator"))),
        (operator, ops.AdminCreate(tenant=admin.tenant, slug="other", conditions=keyed("admin"))),
    ):
        made = msgspec.json.decode((await send(house, who, operation)).body)
        with pytest.raises(Conflict) as caught:
            await send(house, who, operation)
        assert caught.value.code == "secret-shown-once"
        assert made.get("key", made)["id"] in caught.value.public
    kept = await rows(house, "select reply, made from control.idempotency")
    assert len(kept) == 4
    assert all(row["reply"] is None and row["made"] for row in kept)


@pytest.mark.parametrize("issue", [False, True], ids=["a change", "a token"])
async def test_at_once_there_is_one_effect(house, admin, issue):
    subject = (await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a")))["id"]
    operation = (
        ops.TokenCreate(subject=subject, conditions=keyed("k"))
        if issue
        else ops.SubjectCreate(kind="agent", slug="raced", conditions=keyed("k"))
    )
    answers = await asyncio.gather(*(send(house, admin, operation) for _ in range(8)), return_exceptions=True)
    done = [answer for answer in answers if isinstance(answer, Performed)]
    assert [answer.replayed for answer in done].count(False) == 1
    if issue:
        assert len(await rows(house, "select 1 from control.access_token")) == 1
        assert {error.code for error in answers if isinstance(error, PartywallError)} == {"secret-shown-once"}
    else:
        assert [answer.body for answer in done] == [done[0].body] * 8


async def test_what_is_kept_is_bounded(house, admin, monkeypatch):
    monkeypatch.setattr(once, "KEYS_LIMIT", 2)
    for number in range(2):
        await send(house, admin, ops.SubjectCreate(kind="agent", slug=f"a{number}", conditions=keyed(f"k{number}")))
    with pytest.raises(LimitExceeded) as caught:
        await send(house, admin, ops.SubjectCreate(kind="agent", slug="a2", conditions=keyed("k2")))
    assert caught.value.code == "too-many-idempotency-keys"
    assert not await rows(house, "select 1 from control.subject where slug = 'a2'")
    await send(house, admin, ops.SubjectCreate(kind="agent", slug="a0", conditions=keyed("k0")))  # replayed
    await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a2"))
    monkeypatch.setattr(once, "KEYS_LIMIT", 100)
    monkeypatch.setattr(once, "KEPT_LIMIT_BYTES", 10)
    with pytest.raises(LimitExceeded):
        await send(house, admin, ops.SubjectCreate(kind="agent", slug="a3", conditions=keyed("k3")))


async def test_a_replay_comes_before_the_state_is_compared(house, admin):
    subject = await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug="a"))
    tag = etag_of(canonical(subject))
    operation = ops.SubjectChange(subject=subject["id"], clearance=3, conditions=keyed("k", if_match=[tag]))
    first, second = await send(house, admin, operation), await send(house, admin, operation)
    assert (second.body, second.replayed) == (first.body, True)
    with pytest.raises(Conflict) as caught:
        await send(house, admin, msgspec.structs.replace(operation, conditions=Conditions(if_match=[tag])))
    assert caught.value.code == "precondition-failed"


async def test_a_condition_on_what_takes_none_is_refused_here_too(house, admin):
    with pytest.raises(Malformed) as caught:
        await send(house, admin, ops.SubjectCreate(kind="agent", slug="a", conditions=Conditions(if_match=["*"])))
    assert caught.value.code == "unsupported-condition"


async def test_a_cursor_outlives_the_issuer(house, admin):
    for slug in ("a", "b", "c"):
        await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug=slug))
    page = await house.worker.perform(admin, ops.SubjectList(limit=2))
    await house.stop()
    await house.start()
    rest = await house.worker.perform(admin, ops.SubjectList(cursor=page["next_cursor"]))
    assert [each["slug"] for each in page["subjects"] + rest["subjects"]] == ["a", "admin", "b", "c"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize("operation", [ops.KeyList(limit=1), ops.SubjectList(limit=1), ops.RevisionList(limit=1)])
async def test_pages_of_every_order_end(house, admin, operation):
    for number in range(3):
        subject = await house.worker.perform(admin, ops.SubjectCreate(kind="agent", slug=f"a{number}"))
        await house.worker.perform(admin, ops.KeyCreate(subject=subject["id"]))
        await house.worker.perform(admin, ops.PolicyActivate(module=f"package tenant\n# {number}\n"))
    seen, cursor = [], None
    while True:
        page = await house.worker.perform(admin, msgspec.structs.replace(operation, cursor=cursor))
        [noun] = set(page) - {"next_cursor"}
        seen += [each.get("id") or each["revision"] for each in page[noun]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == {"revision.list": 3}.get(type(operation).__struct_config__.tag, 4)


async def test_a_draft_that_another_release_validated_is_validated_anew(house, admin):
    draft = await house.worker.perform(admin, ops.DraftCreate(slug="d", module="package tenant\nno rego"))
    await rows(house, "update control.policy_draft set findings = '[]', checked_by = 'older'")
    with pytest.raises(Malformed) as caught:
        await house.worker.perform(admin, ops.DraftActivate(policy=draft["id"]))
    assert caught.value.code == "bad-policy"
    assert not await rows(house, "select 1 from control.policy_revision")


async def test_drafts_are_bounded_and_their_names_are_their_own(house, admin, monkeypatch):
    from partywall.control import drafts

    monkeypatch.setattr(drafts, "DRAFTS_LIMIT", 1)
    draft = await house.worker.perform(admin, ops.DraftCreate(slug="d", module="package tenant\n"))
    with pytest.raises(LimitExceeded):
        await house.worker.perform(admin, ops.DraftCreate(slug="e", module="package tenant\n"))
    await house.worker.perform(admin, ops.DraftDelete(policy=draft["id"]))
    await house.worker.perform(admin, ops.DraftCreate(slug="d", module="package tenant\n"))
    with pytest.raises(NotFound):
        await house.worker.perform(admin, ops.DraftShow(policy=draft["id"]))
