"""What a decision costs: a cached grant, and the base with a 100-line tenant policy that sees every payload.

The control in the same run is regorus alone on the same documents, interleaved: the rest is the decider's own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from bench.report import Target, report, wants_json
from partywall.decision.action import Action, ActionClass, ActionType, Resource
from partywall.decision.decide import Decider
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
from partywall.decision.policy import Policy, validate_module
from partywall.decision.principal import Kind, Principal
from partywall.decision.rego import RegoEngine
from partywall.decision.verdict import Allow
from partywall.wire.ids import ActId, ModelId, OrganisationId, ServerId, TenantId

NOW_S = 1_800_000_000.0
TENANT, AGENT = TenantId("ten_" + "a" * 26), "agt_" + "a" * 26
SERVER, MODEL = ServerId("mcp_" + "a" * 26), ModelId("mdl_" + "a" * 26)
PAYLOAD = {"recipient": "GB29NWBK60161331926819", "amount": 98, "subject": "rent", "date": "2026-11-24"}
ROUNDS, BATCH = 1_000, 10

TENANT_POLICY = """package tenant

# What an agent of this tenant may do with money, files, mail and people, in a hundred lines.

trusted_recipients := {
	"GB29NWBK60161331926819",
	"DE89370400440532013000",
	"US122000000121212121212",
}

limits := {
	"bank/send_money": 1000,
	"bank/schedule_transaction": 500,
	"bank/update_scheduled_transaction": 500,
}

business_hours if {
	input.context.time.hour >= 7
	input.context.time.hour < 20
	input.context.time.weekday < 5
}

money if startswith(input.resource.name, "bank/")

limit := limits[input.resource.name]

known_recipient if input.payload.recipient in trusted_recipients

deny_grant contains "no-account-changes" if {
	input.principal.kind == "agent"
	input.resource.name == "bank/update_password"
}

obligations_grant contains {"redact": ["iban", "card"]} if {
	money
	input.principal.clearance < 2
}

deny contains {"reason": "over-limit", "advice": "Ask for a smaller amount, or a person to send it."} if {
	money
	input.payload.amount > limit
}

deny contains "negative-amount" if {
	money
	input.payload.amount <= 0
}

deny contains "closed" if {
	money
	input.payload.amount > 100
	not business_hours
}

approve contains "unknown-recipient" if {
	money
	input.payload.recipient
	not known_recipient
}

deny contains "bad-iban" if {
	money
	recipient := input.payload.recipient
	not regex.match(`^[A-Z]{2}[0-9]{2}[A-Z0-9]{8,30}$`, recipient)
}

blocked_words := {"password", "api key", "seed phrase", "wire all"}

deny contains reason if {
	some word in blocked_words
	contains(lower(input.payload.subject), word)
	reason := sprintf("subject-%s", [word])
}

deny contains "outside-mail" if {
	input.resource.name == "mail/send"
	some address in input.payload.to
	not endswith(address, "@acme.example")
}

deny contains "climbing-path" if contains(input.payload.path, "..")

deny contains "untrusted-input" if {
	input.context.class != "internal-read"
	input.context.label.trust == "untrusted"
	input.context.label.classification >= 2
}

deny contains "too-deep" if input.context.depth > 4

deny contains "many-recipients" if {
	input.resource.name == "mail/send"
	count([address | some address in input.payload.to]) > 10
}

obligations contains {"truncate": 20000} if input.context.class == "internal-read"

obligations contains {"tag": 2} if {
	money
	input.payload.amount > 50
}
"""


def facts(module: str | None) -> TenantFacts:
    tool = ToolFacts(name="send_money", description="", schema="{}", digest="0" * 64)
    grants = [Grant(action=ActionType.TOOL_CALL, resource=f"tool/{SERVER}/{name}") for name in ("read", "send_money")]
    grants.append(Grant(action=ActionType.MODEL_REQUEST, resource=f"model/{MODEL}", expires_at_s=NOW_S + 1e6))
    agents = {
        f"agt_{number:026d}": SubjectFacts(id=f"agt_{number:026d}", slug=f"a{number}", kind=Kind.AGENT)
        for number in range(200)
    }
    agents[AGENT] = SubjectFacts(id=AGENT, slug="scout", kind=Kind.AGENT, grants=tuple(grants))
    return TenantFacts(
        id=TENANT,
        slug="acme",
        organisation=OrganisationId("org_" + "a" * 26),
        region="local",
        state=State.ACTIVE,
        revision=1,
        policy=PolicyFacts(revision="base" if module is None else "1-0123456789ab", module=module),
        subjects=agents,
        models={MODEL: ModelFacts(id=MODEL, slug="smollm2", upstream="http://127.0.0.1", upstream_model="m")},
        servers={
            SERVER: ServerFacts(
                id=SERVER, slug="bank", url="http://127.0.0.1", manifest="0" * 64, tools={"send_money": tool}
            )
        },
    )


def envelope(action: ActionType, kind: str, name: str) -> Envelope:
    principal = Principal(
        kind=Kind.AGENT, id=AGENT, region="local", tenant=TENANT, credential="key_" + "a" * 26, expires_at_s=NOW_S + 600
    )
    return Envelope(
        act=ActId("act_" + "a" * 26),
        principal=principal,
        action=Action(action, Resource("local", TENANT, kind, name)),
        tenant=TENANT,
        trace_id="0" * 32,
        received_at_s=NOW_S,
        deadline_s=NOW_S + 60,
    )


def interleaved(subjects: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return microseconds a call, one sample a batch, the subjects taking turns."""
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, call in subjects.items():
            started = time.perf_counter()
            for _ in range(BATCH):
                call()
            samples[name].append((time.perf_counter() - started) / BATCH * 1e6)
    return samples


def engine_alone(document: str) -> Callable[[], object]:
    """Return regorus on the same modules and document, without anything of ours."""
    engine = Policy(TENANT_POLICY)._engine  # noqa: SLF001  # the control measures what is inside
    assert isinstance(engine, RegoEngine)
    return lambda: engine.evaluate("data.partywall.road.arguments", document)


def decide(decider: Decider, asked: Envelope, known: TenantFacts, payload: Any) -> object:
    return decider.decide(
        asked, known, payload=payload, class_=ActionClass.EFFECT, known=True, approved=False, now_s=NOW_S
    )


def main() -> int:
    findings = validate_module(TENANT_POLICY)
    assert not findings, findings
    decider, plain, strict = Decider(), facts(None), facts(TENANT_POLICY)
    chat = envelope(ActionType.MODEL_REQUEST, "model", MODEL)
    transfer = envelope(ActionType.TOOL_CALL, "tool", f"{SERVER}/send_money")
    assert isinstance(decide(decider, chat, plain, {}), Allow)
    assert isinstance(decide(Decider(), transfer, strict, PAYLOAD), Allow)
    seen: list[str] = []
    spying = Decider(lambda module: _spied(module, seen))
    decide(spying, transfer, strict, PAYLOAD)
    plains, stricts = Decider(), Decider()
    base = Policy()
    samples = interleaved(
        {
            "cached": lambda: decide(plains, chat, plain, {}),
            "arguments": lambda: decide(stricts, transfer, strict, PAYLOAD),
            "engine": engine_alone(seen[-1]),
            "cold": lambda: decide(Decider(lambda _: base), chat, plain, {}),
        }
    )
    started = time.perf_counter()
    Policy(TENANT_POLICY)
    compile_ms = (time.perf_counter() - started) * 1e3
    targets = [
        Target("cached grant, whole decision", median(samples["cached"]), "<=", 25.0, "us"),
        Target("base + 100-line policy with arguments, p50", median(samples["arguments"]), "<=", 200.0, "us"),
    ]
    figures = {
        "cached_p99_us": quantiles(samples["cached"], n=100)[98],
        "arguments_p99_us": quantiles(samples["arguments"], n=100)[98],
        "engine_alone_p50_us": median(samples["engine"]),
        "grant_not_cached_p50_us": median(samples["cold"]),
        "check_and_compile_ms": compile_ms,
        "policy_lines": TENANT_POLICY.count("\n"),
        "decisions": ROUNDS * BATCH,
    }
    return report("decide", targets, figures, wants_json())


def _spied(module: str | None, seen: list[str]) -> Policy:
    class Spy:
        def __init__(self, modules: Any) -> None:
            self._engine = RegoEngine(modules)

        def evaluate(self, rule: str, document: str) -> str:
            seen.append(document)
            return self._engine.evaluate(rule, document)

    return Policy(module, Spy)


if __name__ == "__main__":
    sys.exit(main())
