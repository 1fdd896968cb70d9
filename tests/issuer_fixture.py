"""A real issuer over real databases, and a worker that enrols with it and hands over signed permits."""

import asyncio
import contextlib
import hashlib
import io
import secrets
import tempfile
import time
from pathlib import Path

import asyncpg
import msgspec
import pytest
from tests.postgres_fixture import make_databases

from partywall import signing
from partywall.control import issuer as issuer_process
from partywall.control.operations import RULES
from partywall.decision.action import PLATFORM, Action, Resource
from partywall.decision.permit import PermitClaims
from partywall.decision.principal import Kind, Principal
from partywall.ipc import Client
from partywall.settings import Home, Settings
from partywall.store.directory import ControlDirectory
from partywall.telemetry.log import Log
from partywall.wire import operations as ops
from partywall.wire.control import Bootstrap, Enrol, Enrolled, IssuerReply, Perform, Performed
from partywall.wire.ids import format_id

REGION = "local"
_encode = msgspec.msgpack.Encoder().encode
_reply = msgspec.msgpack.Decoder(IssuerReply)
canonical = msgspec.json.Encoder(order="sorted").encode


def new(prefix):
    return format_id(prefix, secrets.token_bytes(16))


class Who(msgspec.Struct, frozen=True):
    """A principal as permits name it."""

    kind: Kind
    id: str
    tenant: str
    credential: str


def operator(key):
    return Who(Kind.PLATFORM_OPERATOR, key["subject"], PLATFORM, key["id"])


def admin(tenant, key):
    return Who(Kind.TENANT_ADMIN, key["subject"], tenant, key["id"])


class Worker:
    """What a gateway worker does with the issuer."""

    def __init__(self, home):
        self.client = Client(home.issuer_socket)
        self.signer = signing.PermitSigner()
        self.enrolled = None

    async def send(self, message):
        return _reply.decode(await self.client.call(_encode(message)))

    async def enrol(self, worker="gateway-0"):
        self.enrolled = await self.send(Enrol(worker, self.signer.public_key))
        assert isinstance(self.enrolled, Enrolled)
        self.signer.renew(self.enrolled.certificate, self.enrolled.expires_at_s)
        return self.enrolled

    def claims(self, who, operation, payload=None, **changed):
        rule = RULES[type(operation)]
        target = "*" if rule.target is None else getattr(operation, rule.target)
        now_s = time.time()
        fields = {
            "id": new("prm"),
            "act": new("act"),
            "tenant": who.tenant,
            "principal": Principal(
                kind=who.kind,
                id=who.id,
                region=REGION,
                tenant=who.tenant,
                credential=who.credential,
                expires_at_s=now_s + 60,
            ),
            "action": Action(rule.action, Resource(REGION, who.tenant, rule.kind, target)),
            "payload_sha256": hashlib.sha256(canonical(operation) if payload is None else payload).digest(),
            "policy_revision": "base",
            "trace_id": "0" * 32,
            "issued_at_s": now_s,
            "expires_at_s": now_s + 30,
        }
        return PermitClaims(**(fields | changed))

    def permit(self, who, operation, *, audience=None, payload=None, **changed):
        claims = self.claims(who, operation, payload, **changed)
        return self.signer.sign(claims, audience or f"issuer/{self.enrolled.boot}", time.time())

    async def hand_over(self, permit, payload):
        reply = await self.send(Perform(permit, payload))
        assert isinstance(reply, Performed)
        return msgspec.json.decode(reply.body)

    async def perform(self, who, operation, **changed):
        return await self.hand_over(self.permit(who, operation, **changed), canonical(operation))

    async def bootstrap(self, token):
        return msgspec.json.decode((await self.send(Bootstrap(token))).body)

    async def close(self):
        await self.client.close()


class Deployment:
    """One home with the issuer running in this process; `worker` is enrolled."""

    def __init__(self, folder, databases, **settings):
        self.home = Home(folder)
        self.databases = databases
        self.settings = Settings(**settings)
        self.lines = io.StringIO()
        self.log = Log("issuer", self.lines)
        for name, dsn in (("control", databases.control_owner), ("data", databases.data_owner)):
            path = self.home.secrets("issuer") / f"{name}.dsn"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(dsn)
        self._stop = None
        self._task = None
        self.worker = None
        self._directories = []

    async def start(self):
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(issuer_process.serve(self.home, self.settings, self.log, self._stop))
        async with asyncio.timeout(20):
            while not self.home.issuer_socket.exists():
                if self._task.done():
                    self._task.result()
                await asyncio.sleep(0.01)
        self.worker = Worker(self.home)
        await self.worker.enrol()
        return self

    async def stop(self):
        for directory in self._directories:
            await directory.close()
        self._directories = []
        await self.worker.close()
        self._stop.set()
        await self._task

    async def directory(self, **options):
        directory = ControlDirectory(self.databases.directory, self.log, region=REGION, **options)
        await directory.start()
        self._directories.append(directory)
        return directory

    async def first_operator(self):
        """Exchange the bootstrap token. Returns the operator and the key object."""
        token = (self.home.issuer / "bootstrap-token").read_text()
        key = (await self.worker.bootstrap(token))["key"]
        return operator(key), key

    async def tenant(self, who, slug):
        """Make a tenant with an admin. Returns the admin."""
        tenant = await self.worker.perform(who, ops.TenantCreate(slug=slug))
        made = await self.worker.perform(who, ops.AdminCreate(tenant=tenant["id"], slug="admin"))
        return admin(tenant["id"], made["key"])

    async def member(self, who, subject, **fields):
        """Give a subject of the admin's tenant a key. Returns the subject as a principal."""
        key = await self.worker.perform(who, ops.KeyCreate(subject=subject["id"], **fields))
        return Who(Kind(subject["kind"]), subject["id"], who.tenant, key["id"])


@contextlib.asynccontextmanager
async def deployment(folder, databases, **settings):
    running = await Deployment(folder, databases, **settings).start()
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture(scope="session")
def issuer_servers():
    """Both database servers, for every test that has an issuer of its own."""
    made = make_databases(migrated=False)
    yield made
    made.close()


@pytest.fixture
async def issuer_databases(issuer_servers):
    """The servers with both databases as empty as they were provisioned."""
    for dsn, schemas in (
        (issuer_servers.control_owner, "control, migration"),
        (issuer_servers.data_owner, "pw, leaf, migration"),
    ):
        connection = await asyncpg.connect(dsn)
        await connection.execute(f"drop schema if exists {schemas} cascade")
        await connection.close()
    return issuer_servers


@pytest.fixture
def short_folder():
    """A home whose sockets' paths are short enough for a socket address."""
    with tempfile.TemporaryDirectory(prefix="pw-") as folder:
        yield Path(folder)


async def eventually(condition, timeout_s=2.0):
    """Return the seconds it took until condition() held. Raises: AssertionError after timeout_s."""
    started_at_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at_s < timeout_s, "it never became so"
        await asyncio.sleep(0.01)
    return time.monotonic() - started_at_s
