"""AuthZEN's answer is the road's: for any principal, action and resource, what the pipeline would do with that call."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from typing import Any

import msgspec
from tests.credentials import Facts, new
from tests.property.worlds import ADMIN, AGENT, HERE, MODEL, NOW_S, SERVER, STRANGER, USER, Drawn

from partywall.decision.action import ActionType
from partywall.decision.decide import Decider
from partywall.decision.facts import State, TenantFacts
from partywall.decision.ports import Call, Effect, Provider
from partywall.decision.principal import Kind, Principal
from partywall.errors import ApprovalRequired, Denied, NotFound
from partywall.gateway.pipeline import Pipeline
from partywall.providers.decisions.naming import find_subject, principal_of
from partywall.providers.decisions.provider import DecisionProvider
from partywall.providers.memory.provider import MemoryProvider
from partywall.providers.models.provider import ModelProvider
from partywall.providers.operator.audit import AuditProvider
from partywall.providers.operator.provider import OperatorProvider
from partywall.providers.tools.provider import ToolProvider
from partywall.settings import GatewaySettings
from partywall.signing import PermitSigner
from partywall.telemetry.log import Log
from partywall.wire.authzen import Entity, parse_evaluation
from partywall.wire.ids import UserId

MODULE = """package tenant

deny_grant contains "no-reading" if input.resource.name == "bank/read"

deny contains "too-much" if input.payload.amount > 100

approve contains "ask-first" if input.payload.amount > 50

obligations contains {"redact": ["iban"]} if input.payload.amount > 10
"""
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ASKABLE = [
    ("tool.call", "tool", ["bank/send", f"{SERVER}/read", "bank/none", "other/send", SERVER]),
    ("tool.list", "tool", ["bank", SERVER, "nowhere"]),
    ("model.request", "model", ["smollm2", MODEL, "other", "*"]),
    ("model.list", "model", ["*"]),
    ("memory", "memory", [AGENT, "s-agt-a", USER, STRANGER]),
    ("audit.read", "audit", ["*"]),
    ("operator.agent", "subject", [AGENT, USER, STRANGER, "*"]),
    ("operator.policy", "policy", ["*"]),
]


class Recorded:
    async def append(self, _record: Any, *, durable: bool) -> None:
        """Nobody reads it."""


def ends_here(provider: Any) -> Any:
    """The same provider, which does nothing once it may."""

    class Still(type(provider)):  # type: ignore[misc]
        async def perform(self, permit: Any, payload: bytes, road: Any) -> Effect:
            return Effect(body=b"{}")

    provider.__class__ = Still
    return provider


class House:
    """A pipeline whose providers are the real ones up to the permit."""

    def __init__(self) -> None:
        clock = lambda: NOW_S  # noqa: E731
        self.directory, signer = Facts(), PermitSigner()
        providers: dict[str, Provider] = {
            "tool": ends_here(ToolProvider(self.directory, clock=clock)),
            "model": ends_here(ModelProvider(region="local", clock=clock)),
            "memory": ends_here(MemoryProvider(None, clock=clock)),  # type: ignore[arg-type]
            "audit": ends_here(AuditProvider(None, signer, clock=clock, region="local")),  # type: ignore[arg-type]
        }
        for kind in ("subject", "policy"):
            operator = OperatorProvider(kind, None, signer, audience=str, clock=clock, region="local")  # type: ignore[arg-type]
            providers[kind] = ends_here(operator)
        providers["decision"] = DecisionProvider(self.directory, Decider(), lambda: providers, clock=clock)
        self.pipeline = Pipeline(
            directory=self.directory, ledger=Recorded(), decider=Decider(), providers=providers,
            settings=GatewaySettings(), region="local", clock=clock, new_id=new, log=Log("test", io.StringIO()),
        )  # fmt: skip

    async def outcome(self, principal: Principal, call: Call) -> str:
        try:
            await self.pipeline.submit(principal, call)
        except NotFound:
            return "not-found"
        except Denied as error:
            return error.code.removeprefix("denied-")
        except ApprovalRequired:
            return "ask-first"
        return "allow"

    async def asked(self, asker: Principal, question: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        call = Call(
            action=ActionType.DECISION_EVALUATE, kind="decision", name=asker.id, payload=parse_evaluation(question),
            trace_id="0" * 32,
        )  # fmt: skip
        effect = await self.pipeline.submit(asker, call)
        assert isinstance(effect.body, bytes)
        answer = msgspec.json.decode(effect.body)
        return answer["decision"], answer["context"]


def call_of(action: str, kind: str, name: str, properties: dict[str, Any]) -> Call:
    """The call that a door would make."""
    payload: Any = properties
    if kind == "model":
        payload = CHAT
    elif kind == "memory":
        payload = {"operation": "list"}
    elif kind == "audit":
        payload = {"mode": "show"}
    elif kind == "policy":
        payload = {"operation": "policy.activate", "module": "package tenant"}
    elif kind == "subject":
        payload = {"operation": "subject.state", "subject": name, "state": "active"}
        if name == "*":
            payload = {"operation": "subject.create", "kind": "agent", "slug": "x"}
    return Call(action=ActionType(action), kind=kind, name=name, payload=payload, trace_id="0" * 32)


def question_of(subject: Entity, call: Call, properties: dict[str, Any]) -> dict[str, Any]:
    payload = properties if call.kind == "tool" else call.payload
    return {
        "subject": {"type": subject.type, "id": subject.id, "properties": subject.properties or {}},
        "action": {"name": call.action.value, "properties": payload},
        "resource": {"type": call.kind, "id": call.name},
    }


def principal_in(facts: TenantFacts, subject: Entity) -> Principal | None:
    found = find_subject(subject, facts)
    try:
        return None if found is None else principal_of(found, subject.properties, facts, now_s=NOW_S)
    except NotFound:
        return None


async def _same() -> Counter[str]:
    drawn, house, seen = Drawn(17), House(), Counter[str]()
    asker = Principal(
        kind=Kind.TENANT_ADMIN, id="usr_" + "q" * 26, region="local", tenant=HERE, credential="key_" + "a" * 26,
        expires_at_s=NOW_S + 60,
    )  # fmt: skip
    while sum(seen.values()) < 4_000:
        if sum(seen.values()) % 20 == 0:
            facts = await world(drawn, house, asker)
        action, kind, names = drawn.any_of(*ASKABLE)
        properties = drawn.any_of({}, {"amount": 5}, {"amount": 20}, {"amount": 60}, {"amount": 200})
        call = call_of(action, kind, drawn.any_of(*names), properties)
        subject = asked_subject(drawn)
        decision, context = await house.asked(asker, question_of(subject, call, properties))
        principal = principal_in(facts, subject)
        expected = "not-found" if principal is None else await house.outcome(principal, call)
        got = "allow" if decision else context["reason"]
        assert (got, decision) == (expected, expected == "allow"), (subject, call, context)
        seen[got] += 1
    return seen


async def world(drawn: Drawn, house: House, asker: Principal) -> TenantFacts:
    facts = drawn.facts(drawn.any_of(None, MODULE))
    admin = msgspec.structs.replace(drawn.subject(ADMIN), id=asker.id, slug="asker", kind=Kind.TENANT_ADMIN)
    admin = msgspec.structs.replace(admin, state=State.ACTIVE)
    server = facts.servers[SERVER]
    tools = {
        name: msgspec.structs.replace(tool, schema='{"properties":{"amount":{"type":"integer"}}}')
        for name, tool in server.tools.items()
    }
    facts = msgspec.structs.replace(
        facts,
        region="local",
        state=State.ACTIVE,
        subjects={**facts.subjects, asker.id: admin},
        servers={SERVER: msgspec.structs.replace(server, tools=tools)},
    )
    house.directory.tenants[HERE] = facts
    house.directory.revision += 1
    return facts


def asked_subject(drawn: Drawn) -> Entity:
    type_, id_ = drawn.any_of(("agent", AGENT), ("agent", "s-agt-a"), ("user", USER), ("user", ADMIN))
    type_, id_ = drawn.odd(type_, "agent", "user", "robot"), drawn.odd(id_, STRANGER, USER, AGENT)
    properties: dict[str, Any] = {}
    if type_ == "agent" and drawn.any_of(True, False, False):
        properties["on_behalf_of"] = UserId(drawn.any_of(USER, ADMIN))
    if drawn.any_of(True, False, False):
        properties["scopes"] = [action.value for action in drawn.random.sample(list(ActionType), 20)]
    return Entity(type_, id_, properties)


def test_the_answer_is_what_the_road_would_do() -> None:
    seen = asyncio.run(_same())
    assert {"allow", "not-found", "not-granted", "out-of-scope", "too-much", "ask-first", "no-reading"} <= set(seen)
    assert min(seen["allow"], seen["not-granted"], seen["not-found"]) > 200
