"""Tenant A's admin against tenant B, and permits that are anything but right: nothing happens, nothing is told."""

import asyncio
import hashlib
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.issuer_fixture import REGION, Who, canonical, deployment, new

from partywall import signing
from partywall.decision.action import Action, ActionType, Resource
from partywall.decision.principal import Kind
from partywall.errors import CallerFault, Malformed, NotFound, PartywallError, Unauthenticated
from partywall.wire import operations as ops
from partywall.wire.conditions import Conditions
from partywall.wire.permit import PERMIT_CONTEXT, SignedPermit, WorkerCertificate, split_permit

_encode = msgspec.msgpack.Encoder().encode


@pytest.fixture
async def house(short_folder, issuer_databases):
    async with deployment(short_folder, issuer_databases) as running:
        yield running


class Neighbours:
    """Two tenants with the same things in each."""

    async def make(self, house):
        worker = house.worker
        self.operator, _ = await house.first_operator()
        self.a, self.b = await house.tenant(self.operator, "a"), await house.tenant(self.operator, "b")
        self.things = {}
        for admin in (self.a, self.b):
            self.things[admin.tenant] = await self._furnish(worker, admin)
        return self

    async def _furnish(self, worker, admin):
        things = {}
        for kind in ("agent", "user"):
            things[kind] = (await worker.perform(admin, ops.SubjectCreate(kind=kind, slug=kind)))["id"]
        things["key"] = (await worker.perform(admin, ops.KeyCreate(subject=things["agent"])))["id"]
        things["session"] = new("ses")
        token = ops.TokenCreate(subject=things["agent"], session=things["session"])
        things["token"] = (await worker.perform(admin, token))["id"]
        model = ops.ModelCreate(tenant=admin.tenant, slug="own", upstream="http://h/", upstream_model="m")
        things["model"] = (await worker.perform(self.operator, model))["id"]
        tool = ops.ToolSpec(name="t", input_schema={"type": "object"})
        things["server"] = (await worker.perform(admin, ops.ServerRegister(slug="own", url="http://h/", tools=[tool])))[
            "id"
        ]
        things["draft"] = (await worker.perform(admin, ops.DraftCreate(slug="own", module="package tenant\n")))["id"]
        things["policy"] = (
            await worker.perform(admin, ops.PolicyActivate(module=f"package tenant\n# {admin.tenant}\n"))
        )["revision"]
        return things

    def reaching(self, other, own):
        """Every operation of a tenant-admin that can carry an id, with other's ids in it."""
        grants = [
            ops.GrantSpec(action="model.request", resource=f"model/{other['model']}"),
            ops.GrantSpec(action="tool.call", resource=f"tool/{other['server']}/t"),
            ops.GrantSpec(action="tool.call", resource=f"tool/{other['server']}/*"),
            ops.GrantSpec(action="memory", resource=f"memory/{other['agent']}"),
        ]
        return [
            ops.SubjectState(subject=other["agent"], state="suspended"),
            ops.SubjectState(subject=other["admin"], state="suspended"),
            ops.GrantsSet(subject=other["agent"], grants=[]),
            *(ops.GrantsSet(subject=own["agent"], grants=[grant]) for grant in grants),
            *(ops.SubjectCreate(kind="agent", slug="x", grants=[grant]) for grant in grants),
            ops.KeyCreate(subject=other["agent"]),
            ops.KeyCreate(subject=own["agent"], on_behalf_of=other["user"]),
            ops.TokenCreate(subject=other["agent"]),
            ops.TokenCreate(subject=other["admin"]),
            ops.TokenCreate(subject=own["agent"], on_behalf_of=other["user"]),
            *(
                ops.Revoke(credential=other[what])
                for what in ("key", "token", "session", "agent", "user", "admin", "model", "server")
            ),
            ops.PolicyRollback(revision=other["policy"]),
            *self.reaching_resources(other, own, grants),
        ]

    def reaching_resources(self, other, own, grants):
        """The same for resources that are shown, changed and deleted one by one, under conditions too."""
        stale = Conditions(if_match=['"x"'], idempotency_key="k")
        return [
            ops.SubjectShow(subject=other["agent"]),
            ops.SubjectChange(subject=other["agent"], clearance=3),
            ops.SubjectChange(subject=other["agent"], clearance=3, conditions=stale),
            ops.SubjectDelete(subject=other["agent"]),
            ops.GrantList(subject=other["agent"]),
            *(
                ops.GrantAdd(subject=subject, action=grant.action, resource=grant.resource)
                for grant in grants
                for subject in (own["agent"], other["agent"])
            ),
            *(ops.GrantRemove(subject=own["agent"], action=one.action, resource=one.resource) for one in grants),
            ops.KeyShow(key=other["key"]),
            ops.KeyDelete(key=other["key"], conditions=Conditions(if_match=["*"])),
            ops.RevisionShow(revision=other["policy"]),
            ops.DraftShow(policy=other["draft"]),
            ops.DraftReplace(policy=other["draft"], module="package tenant\n"),
            ops.DraftActivate(policy=other["draft"], conditions=stale),
            ops.DraftDelete(policy=other["draft"]),
            ops.ServerShow(server=other["server"]),
            ops.ServerDelete(server=other["server"]),
        ]


async def answer(worker, who, operation):
    try:
        return await worker.perform(who, operation)
    except PartywallError as error:
        return type(error), error.code, error.public, error.retry_after_s


async def test_another_tenants_ids_answer_like_ids_that_never_were(house):
    neighbours = await Neighbours().make(house)
    own = neighbours.things[neighbours.a.tenant]
    foreign = neighbours.things[neighbours.b.tenant] | {"admin": neighbours.b.id}
    prefixes = {name: value[:3] for name, value in foreign.items() if name != "policy"}
    absent = {name: new(prefix) for name, prefix in prefixes.items()} | {"policy": "1-" + "0" * 12}
    directory = await house.directory()
    before = directory.revision
    pairs = zip(neighbours.reaching(foreign, own), neighbours.reaching(absent, own), strict=True)
    for reach, miss in pairs:
        got, expected = await answer(house.worker, neighbours.a, reach), await answer(house.worker, neighbours.a, miss)
        assert got == expected, reach
        assert got[0] is NotFound, reach
    await directory.refresh()
    assert directory.revision == before


async def test_what_a_tenant_lists_is_its_own_and_names_never_collide(house):
    neighbours = await Neighbours().make(house)
    seen = {}
    for admin in (neighbours.a, neighbours.b):
        replies = [
            await house.worker.perform(admin, operation)
            for operation in (
                ops.SubjectList(),
                ops.KeyList(),
                ops.ServerList(),
                ops.PolicyShow(),
                ops.DraftList(),
                ops.RevisionList(),
                ops.CatalogueList(),
            )
        ]
        seen[admin.tenant] = canonical(replies).decode()
    for admin, other in ((neighbours.a, neighbours.b), (neighbours.b, neighbours.a)):
        for thing in (*neighbours.things[other.tenant].values(), other.id, other.tenant):
            assert thing not in seen[admin.tenant]
    assert neighbours.things[neighbours.a.tenant]["agent"] in seen[neighbours.a.tenant]


async def test_one_session_name_in_two_tenants_is_two_sessions(house):
    neighbours = await Neighbours().make(house)
    own, foreign = neighbours.things[neighbours.a.tenant], neighbours.things[neighbours.b.tenant]
    taken = await house.worker.perform(neighbours.a, ops.TokenCreate(subject=own["agent"], session=foreign["session"]))
    await house.worker.perform(neighbours.a, ops.Revoke(credential=foreign["session"]))
    directory = await house.directory()
    assert directory.is_revoked(taken["id"])
    assert not directory.is_revoked(foreign["token"])
    again = ops.TokenCreate(subject=foreign["agent"], session=foreign["session"])
    assert (await house.worker.perform(neighbours.b, again))["id"]


async def test_nobody_does_what_is_another_kinds_to_do(house):
    neighbours = await Neighbours().make(house)
    own = neighbours.things[neighbours.a.tenant]
    a, b, operator = neighbours.a, neighbours.b, neighbours.operator
    agent = Who(Kind.AGENT, own["agent"], a.tenant, own["key"])
    system = Who(Kind.SYSTEM, "system:sweeper", a.tenant, "")
    liar = Who(Kind.TENANT_ADMIN, own["agent"], a.tenant, own["key"])
    stranger = Who(Kind.TENANT_ADMIN, b.id, a.tenant, b.credential)
    usurper = Who(Kind.PLATFORM_OPERATOR, a.id, "platform", a.credential)
    crossed = Who(Kind.PLATFORM_OPERATOR, operator.id, a.tenant, operator.credential)
    borrower = Who(Kind.TENANT_ADMIN, a.id, a.tenant, b.credential)
    lender = Who(Kind.TENANT_ADMIN, a.id, a.tenant, own["key"])
    bare = Who(Kind.TENANT_ADMIN, a.id, a.tenant, "")
    administration = [
        ops.SubjectCreate(kind="agent", slug="x"),
        ops.SubjectList(),
        ops.GrantsSet(subject=own["agent"], grants=[]),
        ops.KeyCreate(subject=own["agent"]),
        ops.KeyList(),
        ops.Revoke(credential=own["key"]),
        ops.PolicyShow(),
        ops.ServerList(),
    ]
    platform = [ops.TenantCreate(slug="x"), ops.TenantList(), ops.OperatorKeyCreate(slug="x")]
    callers = (agent, system, liar, stranger, crossed, borrower, lender, bare)
    attempts = [(who, operation) for who in callers for operation in administration]
    attempts += [(who, operation) for who in (usurper, neighbours.a, agent) for operation in platform]
    for who, operation in attempts:
        with pytest.raises(CallerFault) as refusal:
            await house.worker.perform(who, operation)
        assert refusal.value.code in {"bad-permit", "denied"}, (who, operation)


async def test_a_permit_fits_one_operation_of_one_tenant_only(house):
    neighbours = await Neighbours().make(house)
    a, own = neighbours.a, neighbours.things[neighbours.a.tenant]
    wanted = ops.KeyCreate(subject=own["agent"])
    right = Action(ActionType.OPERATOR_KEY, Resource(REGION, a.tenant, "subject", own["agent"]))
    wrong = [
        Action(ActionType.OPERATOR_READ, right.resource),
        Action(ActionType.OPERATOR_TOKEN, right.resource),
        Action(right.type, Resource("elsewhere", a.tenant, "subject", own["agent"])),
        Action(right.type, Resource(REGION, neighbours.b.tenant, "subject", own["agent"])),
        Action(right.type, Resource(REGION, "platform", "subject", own["agent"])),
        Action(right.type, Resource(REGION, a.tenant, "key", own["agent"])),
        Action(right.type, Resource(REGION, a.tenant, "subject", own["user"])),
        Action(right.type, Resource(REGION, a.tenant, "subject", "*")),
    ]
    for action in wrong:
        with pytest.raises(Unauthenticated):
            await house.worker.perform(a, wanted, action=action)
    with pytest.raises(Unauthenticated):
        await house.worker.perform(a, wanted, tenant=neighbours.b.tenant)
    assert (await house.worker.perform(a, wanted, action=right))["secret"]


async def test_replayed_redirected_and_altered_permits_are_refused(house):
    neighbours = await Neighbours().make(house)
    worker, a = house.worker, neighbours.a
    operation = ops.SubjectList()
    payload = canonical(operation)
    permit = worker.permit(a, operation)
    assert (await worker.hand_over(permit, payload))["subjects"]
    with pytest.raises(Unauthenticated) as replay:
        await worker.hand_over(permit, payload)
    assert replay.value.code == "replayed-permit"

    boot = worker.enrolled.boot
    for audience in ("issuer/", f"issuer/{boot}0", f"ledger/{boot}", boot):
        with pytest.raises(Unauthenticated):
            await worker.hand_over(worker.permit(a, operation, audience=audience), payload)
    for other in (canonical(ops.KeyList()), payload + b" ", b"", canonical(ops.SubjectCreate(kind="agent", slug="x"))):
        with pytest.raises(Unauthenticated):
            await worker.hand_over(worker.permit(a, operation), other)
    now_s = time.time()
    for times in ((now_s - 100, now_s - 1), (now_s + 60, now_s + 90), (now_s - 400, now_s + 10)):
        with pytest.raises(Unauthenticated):
            await worker.perform(a, operation, issued_at_s=times[0], expires_at_s=times[1])
    good = worker.permit(a, operation)
    for position in range(0, len(good), 7):
        bad = bytearray(good)
        bad[position] ^= 1
        with pytest.raises((Unauthenticated, Malformed)):
            await worker.hand_over(bytes(bad), payload)
    for garbage in (b"", b"\x93", good[:-1], good + b"\x00"):
        with pytest.raises((Unauthenticated, Malformed)):
            await worker.hand_over(garbage, payload)
    assert (await worker.hand_over(good, payload))["subjects"]


async def test_a_certificate_is_the_issuers_alive_and_of_that_key(house):
    neighbours = await Neighbours().make(house)
    worker, operation = house.worker, ops.SubjectList()
    _, _, certificate, permit = split_permit(worker.permit(neighbours.a, operation))
    stranger, body = Ed25519PrivateKey.generate(), _encode(permit)
    now_s = time.time()

    def signed(key, with_certificate):
        fresh = _encode(msgspec.structs.replace(permit, nonce=new("prm")))
        return _encode((fresh, key.sign(PERMIT_CONTEXT + fresh), with_certificate))

    def certified(issuer, issued_at_s, expires_at_s):
        public_key = stranger.public_key().public_bytes_raw()
        return signing.certify(
            issuer,
            WorkerCertificate(worker="w", public_key=public_key, issued_at_s=issued_at_s, expires_at_s=expires_at_s),
        )

    issuer = Ed25519PrivateKey.from_private_bytes((house.home.issuer / "permit.key").read_bytes())
    assert body
    for forged in (
        signed(stranger, certificate),  # a real certificate, of another worker's key
        signed(stranger, certified(stranger, now_s, now_s + 60)),  # certified by itself
        signed(stranger, certified(issuer, now_s - 100, now_s - 1)),  # ended
        signed(stranger, certified(issuer, now_s, now_s + 3_600)),  # too long a life
    ):
        with pytest.raises(Unauthenticated):
            await worker.hand_over(forged, canonical(operation))
    good = signed(stranger, certified(issuer, now_s, now_s + 60))
    assert (await worker.hand_over(good, canonical(operation)))["subjects"]


async def test_a_payload_is_one_operation_and_nothing_else(house):
    neighbours = await Neighbours().make(house)
    worker, a = house.worker, neighbours.a
    for payload in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"operation":"no.such"}',
        b'{"operation":"subject.list","tenant":"ten_aaaaaaaaaaaaaaaaaaaaaaaaaa"}',
        b'{"operation":"subject.list","operation":"subject.list"}',
        b'{"operation":"subject.list"} {}',
        b'{"operation":"subject.list"\xff}',
        b"[" * 100_000,
    ):
        claims = {"payload_sha256": hashlib.sha256(payload).digest()}
        with pytest.raises(Malformed):
            await worker.hand_over(worker.permit(a, ops.SubjectList(), **claims), payload)


async def test_enrolment_takes_a_name_and_a_key(house):
    for name, key in (("", bytes(32)), ("Gateway", bytes(32)), ("gateway-0\n", bytes(32)), ("gateway-0", b"short")):
        from partywall.wire.control import Enrol

        with pytest.raises(Malformed):
            await house.worker.send(Enrol(name, key))
    for raw in (b"", b"\xc0", _encode({"type": "enrol"}), _encode({"type": "launch"})):
        with pytest.raises(Malformed):
            await house.worker.client.call(raw)
    enrolled = await asyncio.gather(*(house.worker.enrol(f"gateway-{n}") for n in range(4)))
    assert len({one.token_key_id for one in enrolled}) == 4
    assert {len(one.token_key) for one in enrolled} == {32}
    assert all(0 < one.expires_at_s - time.time() <= 900 for one in enrolled)
    assert (house.home.public_keys / "issuer.pub").stat().st_mode & 0o777 == 0o644
    assert len((house.home.public_keys / "issuer.pub").read_bytes()) == 32


def test_a_signed_permit_carries_what_the_issuer_checks():
    assert {"tenant", "principal_kind", "principal", "action", "resource", "payload_sha256"} <= set(
        SignedPermit.__struct_fields__
    )
