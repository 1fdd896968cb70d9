"""Small worlds of two tenants, drawn so that every rule is met and every rule is broken often enough."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from partywall.decision.action import PLATFORM, Action, ActionType, Resource
from partywall.decision.envelope import Envelope
from partywall.decision.facts import (
    Grant,
    ModelFacts,
    PolicyFacts,
    ServerFacts,
    State,
    SubjectFacts,
    TenantFacts,
    ToolFacts,
)
from partywall.decision.labels import Classification, Label
from partywall.decision.principal import Kind, Principal
from partywall.wire.ids import ActId, ModelId, OrganisationId, ServerId, TenantId, UserId

NOW_S = 1_800_000_000.0
HERE, THERE = TenantId("ten_" + "a" * 26), TenantId("ten_" + "b" * 26)
AGENT, USER, ADMIN, STRANGER = "agt_" + "a" * 26, "usr_" + "a" * 26, "usr_" + "b" * 26, "agt_" + "z" * 26
SERVER, MODEL = ServerId("mcp_" + "a" * 26), ModelId("mdl_" + "a" * 26)
KINDS = {AGENT: Kind.AGENT, USER: Kind.USER, ADMIN: Kind.TENANT_ADMIN}
RESOURCES = [
    ("tool", f"{SERVER}/send"), ("tool", f"{SERVER}/read"), ("tool", f"{SERVER}/none"), ("tool", SERVER),
    ("tool", "mcp_other/send"), ("model", MODEL), ("model", "*"), ("model", "mdl_other"), ("memory", "notes"),
    ("subject", AGENT), ("subject", USER), ("subject", "*"), ("policy", "*"), ("key", "*"), ("tenant", "*"),
    ("bootstrap", "*"), ("sign-in", "*"), ("audit", "*"), ("server", "*"), ("decision", "*"), ("decision", AGENT),
    ("decision", USER), ("transaction", AGENT), ("transaction", USER), ("federation", "*"),
]  # fmt: skip
GRANTABLE = [
    *(f"{kind}/{name}" for kind, name in RESOURCES),
    f"tool/{SERVER}/*",
    "tool/*",
    "model/*",
    "*",
    f"tool/{SERVER}",
]
USUAL = {
    "tool": [ActionType.TOOL_CALL, ActionType.TOOL_LIST],
    "model": [ActionType.MODEL_REQUEST, ActionType.MODEL_LIST],
    "memory": [ActionType.MEMORY],
    "audit": [ActionType.AUDIT_READ],
    "decision": [ActionType.DECISION_EVALUATE, ActionType.DECISION_SEARCH],
    "key": [ActionType.OPERATOR_KEY, ActionType.OPERATOR_READ],
    "bootstrap": [ActionType.OPERATOR_KEY],
    "sign-in": [ActionType.OPERATOR_TOKEN],
    "federation": [ActionType.OPERATOR_TOKEN],
    "transaction": [ActionType.OPERATOR_TOKEN],
    "subject": [ActionType.OPERATOR_TOKEN, ActionType.GRANT, ActionType.OPERATOR_AGENT],
    "policy": [ActionType.OPERATOR_POLICY],
    "tenant": [ActionType.OPERATOR_TENANT, ActionType.OPERATOR_MODEL],
    "server": [ActionType.OPERATOR_SERVER],
}


class Drawn:
    """Draws one world after another. oddity: how often a part is not what it should be."""

    def __init__(self, seed: int, oddity: float = 0.04) -> None:
        self.random = random.Random(seed)
        self.oddity = oddity

    def odd(self, usual: Any, *others: Any) -> Any:
        return self.random.choice(others) if self.random.random() < self.oddity else usual

    def any_of(self, *values: Any) -> Any:
        return self.random.choice(values)

    def grant(self) -> Grant:
        kind, name = self.any_of(*RESOURCES[:9])
        resource = self.odd(f"{kind}/{name}", *GRANTABLE) if self.any_of(True, True, False) else f"tool/{SERVER}/*"
        ends = self.any_of(None, None, NOW_S + 10, NOW_S + 100, NOW_S, NOW_S - 1)
        action = self.odd(USUAL[resource.split("/")[0]][0] if "/" in resource else ActionType.TOOL_CALL, *ActionType)
        return Grant(action=action, resource=resource, expires_at_s=ends)

    def subject(self, subject_id: str) -> SubjectFacts:
        return SubjectFacts(
            id=subject_id,
            slug=f"s-{subject_id[:3]}-{subject_id[-1]}",
            kind=self.odd(KINDS[subject_id], *KINDS.values()),
            state=self.odd(State.ACTIVE, *State),
            clearance=self.odd(self.any_of(Classification.INTERNAL, Classification.RESTRICTED), *Classification),
            grants=tuple(self.grant() for _ in range(self.random.randrange(8))),
        )

    def facts(self, module: str | None = None, tenant: TenantId = HERE) -> TenantFacts:
        tools = {name: ToolFacts(name=name, description="", schema="{}", digest="") for name in ("send", "read")}
        server = ServerFacts(
            id=SERVER, slug="bank", url="http://127.0.0.1", manifest="", tools=tools,
            classification=self.odd(Classification.INTERNAL, *Classification),
        )  # fmt: skip
        model = ModelFacts(
            id=MODEL, slug="smollm2", upstream="http://127.0.0.1", upstream_model="m",
            classification=self.odd(Classification.PUBLIC, *Classification),
        )  # fmt: skip
        return TenantFacts(
            id=tenant,
            slug="acme",
            organisation=OrganisationId("org_" + "a" * 26),
            region=self.odd("local", "other"),
            state=self.odd(State.ACTIVE, *State),
            revision=self.random.randrange(10),
            policy=PolicyFacts() if module is None else PolicyFacts(revision="1-abc", module=module),
            subjects={one: self.subject(one) for one in (AGENT, USER, ADMIN) if self.odd(True, False)},
            models={MODEL: model},
            servers={SERVER: server},
        )

    def principal(self) -> Principal:
        subject = self.any_of(AGENT, AGENT, AGENT, USER, ADMIN)
        delegated = subject == AGENT and self.any_of(True, False)
        return Principal(
            kind=self.odd(KINDS[subject], *Kind),
            id=self.odd(subject, STRANGER, USER, "system:bootstrap"),
            region=self.odd("local", "other"),
            tenant=self.odd(HERE, THERE, None),
            credential="key_" + "a" * 26,
            expires_at_s=self.odd(NOW_S + 60, NOW_S, NOW_S - 5, NOW_S + 0.5),
            scopes=self.any_of(None, None, frozenset(self.random.sample(list(ActionType), 20))),
            clearance=self.odd(Classification.RESTRICTED, *Classification),
            on_behalf_of=UserId(self.odd(USER, ADMIN, AGENT, STRANGER)) if delegated or self.odd(False, True) else None,
        )

    def envelope(self, principal: Principal | None = None) -> Envelope:
        principal = self.principal() if principal is None else principal
        kind, name = self.any_of(*RESOURCES)
        tenant = self.odd(principal.tenant or PLATFORM, HERE, THERE, PLATFORM)
        label = Label(tenant=self.odd(HERE, THERE), classification=self.odd(Classification.PUBLIC, *Classification))
        return Envelope(
            act=ActId("act_" + "a" * 26),
            principal=principal,
            action=Action(
                self.odd(self.any_of(*USUAL[kind]), *ActionType),
                Resource(self.odd("local", "other"), self.odd(tenant, HERE, THERE, PLATFORM), kind, name),
            ),
            tenant=tenant,
            trace_id="0" * 32,
            received_at_s=NOW_S,
            deadline_s=self.odd(NOW_S + 30, NOW_S, NOW_S - 1),
            label=self.any_of(None, None, None, label),
            depth=self.odd(self.random.randrange(9), -1, 9, 100),
        )

    def platform(self) -> tuple[Envelope, TenantFacts]:
        """Return an operator's or the system's envelope on the deployment's own resources."""
        who = self.any_of("operator", "operator", "system:bootstrap", "system:sign-in", "system:sweeper")
        kind = Kind.PLATFORM_OPERATOR if who == "operator" else Kind.SYSTEM
        principal = msgspec.structs.replace(
            self.principal(), kind=self.odd(kind, *Kind), id=who, tenant=self.odd(None, HERE),
            on_behalf_of=self.odd(None, USER), scopes=None,
        )  # fmt: skip
        facts = TenantFacts(
            id=PLATFORM,
            slug="platform",
            organisation=OrganisationId(""),
            region="local",
            state=State.ACTIVE,
            revision=1,
        )
        return self.envelope(principal), facts
