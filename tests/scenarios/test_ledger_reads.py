"""Reads of a log from the real ledger process: only under a permit for that log, in pages, and an export verifies."""

import asyncio
import hashlib
import json
import secrets
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.ledger_process import A, B, LedgerProcess, act, intent, record

from partywall.decision.action import Action, ActionType, Resource
from partywall.decision.permit import PermitClaims
from partywall.decision.principal import Kind, Principal
from partywall.decision.record import Phase, Result
from partywall.errors import CallerFault, Malformed, NotFound, Unauthenticated
from partywall.ipc import Client
from partywall.ledger.archive import PRIMITIVES, archive_lines
from partywall.ledger.messages import Read
from partywall.ledger.verify import verify_archive
from partywall.signing import PermitSigner, certify
from partywall.wire.ids import PermitId, format_id
from partywall.wire.permit import WorkerCertificate


class Reader:
    """A gateway worker with a certified key, in front of one ledger process."""

    def __init__(self, process):
        self.process = process
        self.issuer = Ed25519PrivateKey.generate()
        process.home.public_keys.mkdir(parents=True)
        (process.home.public_keys / "issuer.pub").write_bytes(self.issuer.public_key().public_bytes_raw())
        self.signer = PermitSigner()
        now_s = time.time()
        certificate = WorkerCertificate(
            worker="gateway-0", public_key=self.signer.public_key, issued_at_s=now_s, expires_at_s=now_s + 900
        )
        self.signer.renew(certify(self.issuer, certificate), now_s + 900)

    def permit(self, log, payload, *, audience=None, action=ActionType.AUDIT_READ, kind="audit"):
        now_s = time.time()
        claims = PermitClaims(
            id=PermitId(format_id("prm", secrets.token_bytes(16))),
            act=act(0),
            tenant=log,
            principal=Principal(
                kind=Kind.TENANT_ADMIN,
                id="usr_a",
                tenant=log,
                region="local",
                credential="key_a",
                expires_at_s=now_s + 900,
            ),
            action=Action(action, Resource("local", log, kind, "*")),
            payload_sha256=hashlib.sha256(payload).digest(),
            policy_revision="1",
            trace_id="0" * 32,
            issued_at_s=now_s,
            expires_at_s=now_s + 60,
        )
        return self.signer.sign(claims, audience or f"ledger/{self.boot}", now_s)

    async def read(self, log, *, of=None, **query):
        payload = json.dumps({"log": of or log, **query}).encode()
        reply = await self.process.client.read(self.permit(log, payload), payload)
        return json.loads(reply.body)


@pytest.fixture
async def reader(tmp_path):
    process = LedgerProcess(tmp_path / "home")
    process.home.path.mkdir()
    made = Reader(process)
    made.boot = (await process.start()).boot
    for n in range(30):
        for log in (A, B):
            await process.client.append(intent(n, log), durable=True)
            await process.client.append(record(Phase.OUTCOME, n, log, result=Result.COMPLETE), durable=False)
    yield made
    await process.kill()


async def test_a_log_is_shown_page_by_page_and_never_anothers(reader):
    seen, start = [], 0
    while start is not None:
        page = await reader.read(A, mode="show", start=start, limit=25)
        seen += page["leaves"]
        start = page["next_start"]
    assert [leaf["seq"] for leaf in seen] == list(range(60))
    assert {leaf["activity"]["tenant"] for leaf in seen} == {A}
    assert B not in json.dumps(seen)


@pytest.mark.parametrize("start", [60, 61, 10**9, 2**53, 2**70])
async def test_a_page_past_the_end_is_empty_and_costs_nobody_the_connection(reader, start):
    for mode in ("show", "export"):
        appending = asyncio.ensure_future(reader.process.client.append(intent(start % 977 + 100, B), durable=True))
        page = await reader.read(A, mode=mode, start=start, limit=10)
        assert (page["leaves"], page["next_start"]) == ([], None)
        await appending


async def test_what_a_permit_does_not_say_is_refused(reader):
    client, payload = reader.process.client, json.dumps({"log": B}).encode()
    own = json.dumps({"log": A}).encode()
    refused = {
        "another log": (reader.permit(A, payload), payload),
        "another payload": (reader.permit(A, own), json.dumps({"log": A, "limit": 5}).encode()),
        "another boot": (reader.permit(A, own, audience="ledger/" + "0" * 32), own),
        "another daemon": (reader.permit(A, own, audience=f"issuer/{reader.boot}"), own),
        "another action": (reader.permit(A, own, action=ActionType.OPERATOR_READ), own),
        "another kind": (reader.permit(A, own, kind="memory"), own),
    }
    for name, (permit, asked) in refused.items():
        with pytest.raises(Unauthenticated):
            pytest.fail(f"{name}: {await client.read(permit, asked)}")
    for garbage in (b"", b"\xff" * 40, secrets.token_bytes(200)):
        with pytest.raises(Malformed):
            await client.read(garbage, own)


async def test_a_permit_is_taken_once(reader):
    payload = json.dumps({"log": A}).encode()
    permit = reader.permit(A, payload)
    await reader.process.client.read(permit, payload)
    with pytest.raises(Unauthenticated, match="twice"):
        await reader.process.client.read(permit, payload)


async def test_permits_end_with_the_process_that_they_name(reader):
    payload = json.dumps({"log": A}).encode()
    permit = reader.permit(A, payload)
    await reader.process.kill()
    await reader.process.start()
    with pytest.raises(Unauthenticated, match="another daemon"):
        await reader.process.client.read(permit, payload)


@pytest.mark.parametrize("query", [{"mode": "all"}, {"start": -1}, {"limit": 0}, {"log": 3}, {"more": 1}])
async def test_a_query_that_is_none_is_refused(reader, query):
    payload = json.dumps({"log": A} | query).encode()
    with pytest.raises(CallerFault):
        await reader.process.client.read(reader.permit(A, payload), payload)


async def test_a_message_that_is_none_is_refused_and_the_connection_goes_on(reader):
    client = Client(reader.process.home.ledger_socket)
    for garbage in (b"", b"\x00", b"\xc1", secrets.token_bytes(100), b"\x91" * 5000):
        with pytest.raises(Malformed):
            await client.call(garbage)
    with pytest.raises(CallerFault):
        await client.call(msgspec.msgpack.encode(Read(b"", b"")))
    await client.close()
    await reader.process.client.status()


async def test_an_export_in_pages_verifies_and_its_checkpoints_are_kept_over_a_restart(reader):
    async def export():
        pages, start = {}, 0
        while start is not None:
            pages[start] = await reader.read(A, mode="export", start=start, limit=17)
            start = pages[start]["next_start"]
        return list(archive_lines(lambda at: pages[at]))

    vkey = (reader.process.home.public_keys / "ledger.pub").read_text().strip()
    lines = await export()
    report = verify_archive(lines, PRIMITIVES, vkey=vkey)
    assert report.holds, report.findings
    assert (report.leaves, report.opened, report.covered, report.unresolved) == (60, 60, 60, [])
    assert B.encode() not in b"".join(lines)
    kept = (await reader.read(A, mode="checkpoint"))["checkpoint"]
    await reader.process.kill()
    reader.boot = (await reader.process.start()).boot
    await reader.process.client.append(record(Phase.DENIAL, 999), durable=True)
    later = verify_archive(await export(), PRIMITIVES, vkey=vkey, older=[kept])
    assert later.holds, later.findings
    assert (later.leaves, later.covered, later.denials) == (61, 61, 1)


async def test_a_page_of_large_leaves_stays_within_a_frame(reader):
    big = {"parameters": {"pad": "x" * 900_000}}
    for n in range(24):
        await reader.process.client.append(record(Phase.DENIAL, 2000 + n, **big), durable=False)
    for mode in ("show", "export"):
        page = await reader.read(A, mode=mode, start=60, limit=1000)
        assert 1 <= len(page["leaves"]) < 24
        assert page["next_start"] == 60 + len(page["leaves"])


async def test_an_empty_log_has_no_checkpoint(reader):
    other = format_id("ten", b"C" * 16)
    with pytest.raises(NotFound):
        await reader.read(other, mode="checkpoint")
