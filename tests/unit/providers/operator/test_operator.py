"""Operator actions reach the issuer under a permit that it verifies; nothing else does."""

import asyncio
import hashlib
import json
import secrets

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.credentials import World, new

from partywall.decision.action import PLATFORM, Action, ActionType
from partywall.decision.facts import State, TenantFacts
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call
from partywall.decision.principal import Kind, Principal
from partywall.errors import BadReply, Bug, Conflict, Malformed, NotFound, Unavailable
from partywall.ipc import Client, Server, one_by_one
from partywall.ledger.messages import ReadQuery
from partywall.providers.operator import table
from partywall.providers.operator.audit import NEXT_START, AuditProvider
from partywall.providers.operator.provider import OperatorProvider
from partywall.signing import PermitSigner, PermitVerifier, certify
from partywall.wire import operations as ops
from partywall.wire.control import Enrolled, IssuerRequest, Perform, Performed
from partywall.wire.permit import WorkerCertificate

NOW = 1_000_000.0
PLATFORM_FACTS = TenantFacts(
    id=PLATFORM, slug="platform", organisation=new("org"), region="local", state=State.ACTIVE, revision=1
)


class Issuer:
    """The other end: verifies each permit as the real one does, then answers what the test wants."""

    def __init__(self, path, boot="boot-1"):
        self.key = Ed25519PrivateKey.generate()
        self.restart(boot)
        self.seen = []
        self.reply = msgspec.msgpack.encode(Performed(b'{"done":true}'))
        self.server = Server(path, one_by_one(self.answer), allowed_uids=None)

    def restart(self, boot):
        public = self.key.public_key().public_bytes_raw()
        self.boot, self.verifier = boot, PermitVerifier(public, f"issuer/{boot}")

    def enrol(self, signer):
        certificate = WorkerCertificate(
            worker="gateway-0", public_key=signer.public_key, issued_at_s=NOW, expires_at_s=NOW + 900
        )
        signer.renew(certify(self.key, certificate), NOW + 900)

    async def answer(self, _uid, body):
        request = msgspec.msgpack.decode(body, type=IssuerRequest)
        assert isinstance(request, Perform)
        permit = self.verifier.verify(request.permit, hashlib.sha256(request.payload).digest(), NOW)
        self.seen.append((permit, request.payload))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.fixture
async def issuer(tmp_path):
    issuer = Issuer(tmp_path / "issuer.sock")
    await issuer.server.start()
    yield issuer
    await issuer.server.close()


@pytest.fixture
async def provide(issuer, tmp_path):
    client, signer = Client(tmp_path / "issuer.sock"), PermitSigner()
    issuer.enrol(signer)

    def provide(kind, **extra):
        return OperatorProvider(
            kind, client, signer, audience=lambda: "issuer/boot-1", clock=lambda: NOW, region="local", **extra
        )

    yield provide
    await client.close()


@pytest.fixture
def facts():
    world = World()
    world.mine = world.facts.tenants[world.tenant]
    return world


def call(operation, **changes):
    rule = table.RULES[type(operation)]
    given = {
        "action": rule.action, "kind": rule.kind, "name": table.target_of(operation),
        "payload": msgspec.to_builtins(operation), "trace_id": "0" * 32,
    }  # fmt: skip
    return Call(**(given | changes))


def permit(prepared, action, kind=Kind.TENANT_ADMIN):
    tenant = None if prepared.resource.tenant == PLATFORM else prepared.resource.tenant
    principal = Principal(
        kind=kind, id=new("usr"), region="local", tenant=tenant, credential=new("key"), expires_at_s=NOW + 900
    )
    return Permit(
        PermitClaims(
            id=new("prm"),
            act=new("act"),
            tenant=prepared.resource.tenant,
            principal=principal,
            action=Action(action, prepared.resource),
            payload_sha256=hashlib.sha256(prepared.payload).digest(),
            policy_revision="base",
            trace_id="0" * 32,
            issued_at_s=NOW,
            expires_at_s=NOW + 30,
        )
    )


def test_every_operation_has_a_rule():
    assert set(table.RULES) == set(ops.Operation.__args__)
    for operation, rule in table.RULES.items():
        assert rule.target is None or rule.target in operation.__struct_fields__
        said = (operation.__doc__ or "").split(".  ")[0]
        assert str(rule.action) in said, operation
        assert f"`{rule.kind}/" in said, operation


async def test_a_tenants_own_resource(provide, facts):
    prepared = provide("subject").prepare(call(ops.SubjectState(subject=facts.agent, state="suspended")), facts.mine)
    assert str(prepared.resource) == f"pw:local:{facts.tenant}:subject/{facts.agent}"
    assert json.loads(prepared.payload) == {
        "operation": "subject.state", "subject": facts.agent, "state": "suspended"
    }  # fmt: skip


async def test_platform_resources_stay_the_platforms_whoever_asks(provide, facts):
    """A tenant-admin that names a platform operation names the platform's resource: the wall then says no."""
    for whose in (facts.mine, PLATFORM_FACTS):
        prepared = provide("tenant").prepare(call(ops.TenantCreate(slug="a")), whose)
        assert str(prepared.resource) == "pw:local:platform:tenant/*"


@pytest.mark.parametrize("kind", sorted(table.KINDS))
async def test_an_operator_finds_nothing_of_a_tenant(provide, facts, kind):
    samples = [
        ops.SubjectList(), ops.SubjectCreate(kind="agent", slug="a"), ops.PolicyShow(), ops.ServerList(),
        ops.TokenCreate(subject=facts.agent), ops.KeyCreate(subject=facts.agent),
    ]  # fmt: skip
    for operation in samples:
        if table.RULES[type(operation)].kind == kind:
            with pytest.raises(NotFound):
                provide(kind).prepare(call(operation), PLATFORM_FACTS)


async def test_a_foreign_subject_is_one_that_does_not_exist(provide, facts):
    foreign, nobody = World(), new("agt")
    answers = []
    for subject in (foreign.agent, nobody):
        for operation in (
            ops.GrantsSet(subject=subject, grants=[]),
            ops.KeyCreate(subject=subject),
            ops.TokenCreate(subject=facts.agent, on_behalf_of=subject),
            ops.Revoke(credential=subject),
        ):
            provider = provide(table.RULES[type(operation)].kind)
            with pytest.raises(NotFound) as caught:
                provider.prepare(call(operation), facts.mine)
            answers.append((caught.value.code, caught.value.public))
    assert len(set(answers)) == 1


@pytest.mark.parametrize(
    "payload",
    [
        None, [], "x", {}, {"operation": "x"}, {"operation": "subject.list", "tenant": "ten_" + "a" * 26},
        {"operation": "subject.list", "x": 1}, {"operation": ["subject.list"]},
        {"operation": "subject.create", "kind": "system"},
    ],
)  # fmt: skip
async def test_a_payload_that_is_no_operation(provide, facts, payload):
    with pytest.raises(Malformed):
        provide("subject").prepare(call(ops.SubjectList(), payload=payload), facts.mine)


async def test_a_misnamed_action_is_a_bug(provide, facts):
    for changes in ({"action": ActionType.OPERATOR_TOKEN}, {"kind": "policy"}, {"name": facts.agent}):
        with pytest.raises(Bug):
            provide("subject").prepare(call(ops.SubjectList(), **changes), facts.mine)


async def test_it_is_done_once_under_a_verified_permit(provide, issuer, facts):
    provider = provide("subject")
    prepared = provider.prepare(call(ops.SubjectCreate(kind="agent", slug="a")), facts.mine)
    allowed = permit(prepared, ActionType.OPERATOR_AGENT)
    effect = await provider.perform(allowed, prepared.payload, None)
    assert effect.body == b'{"done":true}'
    [(seen, payload)] = issuer.seen
    assert (seen.tenant, seen.action, seen.resource) == (
        facts.tenant, "operator.agent", f"pw:local:{facts.tenant}:subject/*"
    )  # fmt: skip
    assert payload == prepared.payload
    with pytest.raises(Bug):
        await provider.perform(allowed, prepared.payload, None)
    assert len(issuer.seen) == 1


async def test_other_bytes_actions_or_kinds_are_never_sent(provide, issuer, facts):
    provider = provide("subject")
    prepared = provider.prepare(call(ops.SubjectCreate(kind="agent", slug="a")), facts.mine)
    other = provider.prepare(call(ops.SubjectCreate(kind="agent", slug="b")), facts.mine)
    with pytest.raises(Bug):
        await provider.perform(permit(prepared, ActionType.OPERATOR_AGENT), other.payload, None)
    with pytest.raises(Bug):
        await provider.perform(permit(prepared, ActionType.OPERATOR_READ), prepared.payload, None)
    with pytest.raises(Bug):
        await provide("policy").perform(permit(prepared, ActionType.OPERATOR_AGENT), prepared.payload, None)
    assert issuer.seen == []


async def test_the_issuers_refusals_are_the_callers(provide, issuer, facts):
    provider = provide("subject")
    for refusal in (Conflict("that slug is taken"), NotFound("no such thing")):
        issuer.reply = refusal
        prepared = provider.prepare(call(ops.SubjectCreate(kind="agent", slug="a")), facts.mine)
        with pytest.raises(type(refusal), match=refusal.public):
            await provider.perform(permit(prepared, ActionType.OPERATOR_AGENT), prepared.payload, None)


async def test_a_restarted_issuer_is_unavailable_not_a_401(provide, issuer, facts):
    told = []
    issuer.restart("boot-2")
    provider = provide("subject", refused=lambda: told.append(True))
    prepared = provider.prepare(call(ops.SubjectList()), facts.mine)
    with pytest.raises(Unavailable):
        await provider.perform(permit(prepared, ActionType.OPERATOR_READ), prepared.payload, None)
    assert told == [True]


@pytest.mark.parametrize(
    "reply", [b"", b"\xff", b"\x80", msgspec.msgpack.encode(Enrolled(b"", "k", b"", 1.0, "b"))], ids=range(4)
)
async def test_another_answer_is_a_bad_reply(provide, issuer, facts, reply):
    issuer.reply = reply
    provider = provide("subject")
    prepared = provider.prepare(call(ops.SubjectList()), facts.mine)
    with pytest.raises(BadReply):
        await provider.perform(permit(prepared, ActionType.OPERATOR_READ), prepared.payload, None)


async def test_after_a_change_the_worker_sees_it(provide, facts):
    order = []

    async def settled():
        order.append("settled")

    for operation, expected in ((ops.SubjectList(), []), (ops.SubjectCreate(kind="agent", slug="a"), ["settled"])):
        provider = provide("subject", settled=settled)
        prepared = provider.prepare(call(operation), facts.mine)
        await provider.perform(permit(prepared, table.RULES[type(operation)].action), prepared.payload, None)
        assert order == expected


def test_no_secret_and_no_content_is_recorded():
    canary = "CANARY" + secrets.token_hex(8)
    operations = [
        ops.PolicyActivate(module=canary),
        ops.ServerRegister(
            slug="s", url=f"http://127.0.0.1/{canary}",
            tools=[ops.ToolSpec(name="t", description=canary, input_schema={"title": canary})],
        ),
        ops.ModelCreate(tenant=new("ten"), slug="m", upstream=f"http://x/{canary}", upstream_model=canary),
        ops.GrantsSet(subject=new("agt"), grants=[ops.GrantSpec(action="memory", resource=f"memory/{canary}")]),
    ]  # fmt: skip
    for operation in operations:
        assert canary not in repr(table.parameters_of(operation))
    assert table.parameters_of(operations[1]) == {"operation": "server.register", "slug": "s", "tools": 1}


class Log:
    """The ledger process seen from a worker; its boot id changes when it restarts."""

    def __init__(self, issuer):
        self.issuer, self.boot, self.asked, self.statuses = issuer, "one", [], 0

    @property
    def verifier(self):
        return PermitVerifier(self.issuer.key.public_key().public_bytes_raw(), f"ledger/{self.boot}")

    async def status(self):
        self.statuses += 1
        return self

    async def read(self, signed, payload):
        seen = self.verifier.verify(signed, hashlib.sha256(payload).digest(), NOW)
        self.asked.append((seen.resource, msgspec.json.decode(payload, type=ReadQuery)))
        return self

    body, next_start = b'{"leaves":[]}', 7


@pytest.fixture
def audit(issuer):
    signer, log = PermitSigner(), Log(issuer)
    issuer.enrol(signer)
    return log, AuditProvider(log, signer, clock=lambda: NOW, region="local")


def audit_call(**payload):
    return Call(action=ActionType.AUDIT_READ, kind="audit", name="*", payload=payload, trace_id="0" * 32)


async def test_the_log_is_the_cells(audit, facts):
    log, provider = audit
    for whose in (facts.mine, PLATFORM_FACTS):
        prepared = provider.prepare(audit_call(mode="show", start=3), whose)
        effect = await provider.perform(permit(prepared, ActionType.AUDIT_READ), prepared.payload, None)
        assert (effect.body, effect.headers) == (log.body, {NEXT_START: "7"})
        assert log.asked[-1] == (f"pw:local:{whose.id}:audit/*", ReadQuery(log=whose.id, mode="show", start=3))
    assert log.statuses == 1


@pytest.mark.parametrize(
    "payload",
    [
        {"log": "platform"}, {"mode": "erase"}, {"start": -1}, {"limit": 0}, {"limit": 1001},
        {"mode": "export", "limit": 50_001},
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_of_a_log(audit, facts, payload):
    with pytest.raises(Malformed):
        audit[1].prepare(audit_call(**payload), facts.mine)


async def test_a_restarted_ledger_is_found_again(audit, facts):
    log, provider = audit
    for boot in ("one", "two", "three"):
        log.boot = boot
        prepared = provider.prepare(audit_call(), facts.mine)
        await provider.perform(permit(prepared, ActionType.AUDIT_READ), prepared.payload, None)
    assert (len(log.asked), log.statuses) == (3, 3)


async def test_a_ledger_that_takes_no_permit_is_unavailable(audit, facts, issuer):
    _log, provider = audit
    issuer.key = Ed25519PrivateKey.generate()
    prepared = provider.prepare(audit_call(), facts.mine)
    with pytest.raises(Unavailable):
        await asyncio.wait_for(provider.perform(permit(prepared, ActionType.AUDIT_READ), prepared.payload, None), 5)
