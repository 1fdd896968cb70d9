"""The REST door behind the real HTTP shell, in process: bytes in, status, headers and bytes out."""

import io
import json

import msgspec
from tests.credentials import World, new

from partywall.decision.action import PLATFORM
from partywall.decision.facts import State, TenantFacts
from partywall.decision.ports import Effect
from partywall.decision.principal import Kind
from partywall.gateway.http import HttpServer
from partywall.gateway.rest import RestDoor
from partywall.telemetry.log import Log


class Answer(msgspec.Struct):
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


async def ask(app, method, path, *, query=b"", headers=(), body=b""):
    """Send one request through an ASGI application; the caller stays until the end."""
    sent, messages = [], [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    given = [(b"content-length", str(len(body)).encode()), *headers]
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": given}
    await app(scope, receive, send)
    start, *rest = sent
    return Answer(
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        b"".join(message["body"] for message in rest),
    )


class Prepares:
    """A road that ends where deciding would begin: every call is prepared by its real provider."""

    def __init__(self, world, providers):
        self.world, self.providers, self.calls = world, providers, []

    async def submit(self, principal, call):
        facts = PLATFORM_FACTS if principal.tenant is None else self.world.facts.tenant(principal.tenant)
        self.calls.append((principal, call))
        prepared = None
        if call.kind in self.providers:
            prepared = self.providers[call.kind].prepare(call, facts)
        return Effect(body=msgspec.json.encode({"resource": None if prepared is None else str(prepared.resource)}))


PLATFORM_FACTS = TenantFacts(
    id=PLATFORM, slug="platform", organisation=new("org"), region="local", state=State.ACTIVE, revision=1
)


class Front:
    """A world, its road and the door to it."""

    def __init__(self, providers):
        self.world = World()
        self.road = Prepares(self.world, providers)
        self.lines = io.StringIO()
        door = RestDoor(
            self.road, self.world.door, self.world.facts, region="local", clock=lambda: self.world.now
        )  # fmt: skip
        self.app = HttpServer(
            [door], log=Log("gateway", self.lines), body_limit_bytes=65_536, concurrent_limit=64, health=self._health
        )
        self.operator = self.world.new_key(kind=Kind.PLATFORM_OPERATOR, subject=new("usr"), tenant=None)[1]
        self.admin = self.world.new_key(kind=Kind.TENANT_ADMIN, subject=self.world.admin)[1]
        self.agent = self.world.new_key()[1]

    async def _health(self):
        return True, b"{}"

    async def ask(self, method, path, credential=None, body=None, *, raw=None, query=b"", headers=()):
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        sent = list(headers)
        if credential is not None:
            sent.append((b"authorization", f"Bearer {credential}".encode()))
        if data and not any(name == b"content-type" for name, _value in sent):
            sent.append((b"content-type", b"application/json"))
        return await ask(self.app, method, path, query=query, headers=sent, body=data)
