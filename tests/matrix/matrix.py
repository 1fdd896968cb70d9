"""Who x action x resource -> verdict, as the real decision core answers; `golden.txt` is what was reviewed.

After an intended change:  PYTHONPATH=src:. python -m tests.matrix.matrix   writes golden.txt again; read the diff.
"""

from collections import defaultdict
from pathlib import Path

from partywall.decision.action import PLATFORM, Action, ActionType, Resource, class_of
from partywall.decision.decide import Decider
from partywall.decision.envelope import Envelope
from partywall.decision.facts import (
    CollectionFacts,
    Grant,
    ModelFacts,
    ServerFacts,
    State,
    SubjectFacts,
    TenantFacts,
    ToolFacts,
)
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind, Principal
from partywall.decision.verdict import Allow, Deny
from partywall.providers.operator.table import RULES

GOLDEN = Path(__file__).with_name("golden.txt")
NOW = 1_800_000_000.0
REGION = "local"


def id_(prefix, letter):
    return f"{prefix}_{letter * 26}"


# What each tenant has; letters differ, so nothing is shared by accident.
ACME, GLOBEX = id_("ten", "a"), id_("ten", "b")
WORKER, BARE, SLEEPER, ADMIN, USER = (
    id_(p, x) for p, x in zip(("agt", "agt", "agt", "usr", "usr"), "acdef", strict=True)
)
TRUSTED = id_("agt", "h")
OTHER, OTHER_ADMIN = id_("agt", "b"), id_("usr", "b")
GUEST = id_("usr", "k")

KIND_OF = {
    ActionType.RETRIEVAL_SEARCH: "collection", ActionType.INGEST: "collection", ActionType.EMBED: "model",
    ActionType.QUERY: "database", ActionType.SANDBOX_CONTROL: "sandbox", ActionType.SANDBOX_EXEC: "sandbox",
    ActionType.SANDBOX_FILE: "sandbox", ActionType.EGRESS: "host", ActionType.INBOUND: "subject",
    ActionType.AGENT_RUN: "subject", ActionType.APPROVE: "approval", ActionType.SYSTEM_SWEEP: "ledger",
    ActionType.SYSTEM_CHECKPOINT: "ledger", ActionType.SYSTEM_ROTATE: "key", ActionType.TOOL_CALL: "tool",
    ActionType.TOOL_LIST: "tool", ActionType.MODEL_REQUEST: "model", ActionType.MODEL_LIST: "model",
    ActionType.MEMORY: "memory", ActionType.AUDIT_READ: "audit", ActionType.DECISION_EVALUATE: "decision",
    ActionType.DECISION_SEARCH: "decision",
}  # fmt: skip
"""The kind of resource of each action that the operator's table does not already pair with one."""

PAIRS = sorted(
    {(rule.action, rule.kind) for rule in RULES.values()}
    | set(KIND_OF.items())
    | {(ActionType.OPERATOR_KEY, "bootstrap"), (ActionType.OPERATOR_TOKEN, "sign-in")}
    | {(ActionType.OPERATOR_TOKEN, "federation")}
)
"""Every action with every kind of resource that it can be on."""


def resource_id(action, kind, letter, subject):
    """The id of a tenant's natural resource of that kind."""
    named = {
        "model": "*" if action is ActionType.MODEL_LIST else id_("mdl", letter),
        "tool": id_("mcp", letter) + ("" if action is ActionType.TOOL_LIST else "/send"),
        "memory": subject, "subject": subject, "transaction": subject, "credential": id_("key", letter),
        "tenant": id_("ten", letter),
        "collection": id_("col", letter), "sandbox": id_("sbx", letter),
    }  # fmt: skip
    return named.get(kind, "*")


def tenant(id__, letter, subjects, state=State.ACTIVE):
    tool = ToolFacts(name="send", description="", schema="{}", digest="")
    server = ServerFacts(id=id_("mcp", letter), slug="mail", url="http://127.0.0.1", manifest="", tools={"send": tool})
    model = ModelFacts(id=id_("mdl", letter), slug="small", upstream="http://127.0.0.1", upstream_model="m")
    documents = CollectionFacts(id=id_("col", letter), slug="handbook", model=model.id, dimensions=384)
    return TenantFacts(
        id=id__, slug=letter, organisation=id_("org", letter), region=REGION, state=state, revision=1,
        collections={documents.id: documents},
        subjects={subject.id: subject for subject in subjects}, models={model.id: model}, servers={server.id: server},
    )  # fmt: skip


def grants_of(letter, subject, actions):
    """Grants of these actions on the tenant's natural resources."""
    return tuple(
        Grant(action=action, resource=f"{kind}/{resource_id(action, kind, letter, subject)}")
        for action, kind in PAIRS
        if action in actions
    )


CONTENT = {ActionType.MODEL_REQUEST, ActionType.TOOL_CALL, ActionType.MEMORY}


def subject(id__, kind, *, state=State.ACTIVE, grants=()):
    return SubjectFacts(
        id=id__, slug=id__[-3:], kind=kind, state=state, grants=grants, clearance=Classification.CONFIDENTIAL
    )  # fmt: skip


def acme(state=State.ACTIVE):
    worker = subject(WORKER, Kind.AGENT, grants=grants_of("a", WORKER, CONTENT))
    trusted = subject(TRUSTED, Kind.AGENT, grants=grants_of("a", WORKER, set(ActionType)))
    sleeper = subject(SLEEPER, Kind.AGENT, state=State.SUSPENDED, grants=grants_of("a", WORKER, CONTENT))
    user = subject(USER, Kind.USER, grants=grants_of("a", WORKER, {ActionType.MODEL_REQUEST}))
    guest = subject(GUEST, Kind.USER, grants=grants_of("a", WORKER, {ActionType.AUDIT_READ}))
    others = [subject(BARE, Kind.AGENT), subject(ADMIN, Kind.TENANT_ADMIN)]
    return tenant(ACME, "a", [worker, trusted, sleeper, user, guest, *others], state)


def globex():
    other = subject(OTHER, Kind.AGENT, grants=grants_of("b", OTHER, CONTENT))
    return tenant(GLOBEX, "b", [other, subject(OTHER_ADMIN, Kind.TENANT_ADMIN)])


def who(kind, id__, tenant_id, **more):
    given = {"region": REGION, "credential": id_("key", "z"), "expires_at_s": NOW + 600}
    return Principal(kind=kind, id=id__, tenant=tenant_id, **(given | more))


ACME_FACTS, SUSPENDED_FACTS, GLOBEX_FACTS = acme(), acme(State.SUSPENDED), globex()
PEOPLE = {
    "operator": (who(Kind.PLATFORM_OPERATOR, id_("usr", "o"), None), None),
    "admin": (who(Kind.TENANT_ADMIN, ADMIN, ACME), ACME_FACTS),
    "user": (who(Kind.USER, USER, ACME), ACME_FACTS),
    "break-glass-guest": (who(Kind.USER, GUEST, ACME), ACME_FACTS),
    "agent": (who(Kind.AGENT, WORKER, ACME), ACME_FACTS),
    "agent-for-user": (who(Kind.AGENT, WORKER, ACME, on_behalf_of=USER), ACME_FACTS),
    "agent-with-every-grant": (who(Kind.AGENT, TRUSTED, ACME), ACME_FACTS),
    "agent-no-grants": (who(Kind.AGENT, BARE, ACME), ACME_FACTS),
    "agent-no-scopes": (who(Kind.AGENT, WORKER, ACME, scopes=frozenset()), ACME_FACTS),
    "agent-memory-scope": (who(Kind.AGENT, WORKER, ACME, scopes=frozenset({ActionType.MEMORY})), ACME_FACTS),
    "agent-expired": (who(Kind.AGENT, WORKER, ACME, expires_at_s=NOW), ACME_FACTS),
    "agent-suspended": (who(Kind.AGENT, SLEEPER, ACME), ACME_FACTS),
    "agent-deleted": (who(Kind.AGENT, id_("agt", "g"), ACME), ACME_FACTS),
    "agent-other-region": (who(Kind.AGENT, WORKER, ACME, region="elsewhere"), ACME_FACTS),
    "admin-of-suspended-tenant": (who(Kind.TENANT_ADMIN, ADMIN, ACME), SUSPENDED_FACTS),
    "other-agent": (who(Kind.AGENT, OTHER, GLOBEX), GLOBEX_FACTS),
    "other-admin": (who(Kind.TENANT_ADMIN, OTHER_ADMIN, GLOBEX), GLOBEX_FACTS),
    "other-agent-in-our-cell": (who(Kind.AGENT, OTHER, GLOBEX), ACME_FACTS),
    "agent-calling-itself-admin": (who(Kind.TENANT_ADMIN, WORKER, ACME), ACME_FACTS),
    "agent-for-stranger": (who(Kind.AGENT, WORKER, ACME, on_behalf_of=OTHER_ADMIN), ACME_FACTS),
    "system:bootstrap": (who(Kind.SYSTEM, "system:bootstrap", None), None),
    "system:sign-in": (who(Kind.SYSTEM, "system:sign-in", None), None),
    "system:federation": (who(Kind.SYSTEM, "system:federation", None), None),
    "system:sweeper": (who(Kind.SYSTEM, "system:sweeper", None), None),
    "system:checkpointer": (who(Kind.SYSTEM, "system:checkpointer", None), None),
    "system:rotator": (who(Kind.SYSTEM, "system:rotator", None), None),
    "system:nobody": (who(Kind.SYSTEM, "system:nobody", None), None),
}
"""Each with the facts of the cell that the road would hand it."""

PLACES = ("acme", "globex", "platform", "unknown")
DECIDER = Decider()


def decide(name, action, kind, place):
    """The verdict for one cell of the matrix, as the pipeline would ask for it."""
    principal, facts = PEOPLE[name]
    letter, owner, subject_ = {
        "acme": ("a", ACME, WORKER), "globex": ("b", GLOBEX, OTHER), "platform": ("p", PLATFORM, WORKER),
        "unknown": ("u", PLATFORM if facts is None else facts.id, id_("agt", "u")),
    }[place]  # fmt: skip
    envelope = Envelope(
        act=id_("act", "a"), principal=principal, tenant=PLATFORM if facts is None else facts.id, trace_id="0" * 32,
        action=Action(action, Resource(REGION, owner, kind, resource_id(action, kind, letter, subject_))),
        received_at_s=NOW, deadline_s=NOW + 30,
    )  # fmt: skip
    return DECIDER.decide(
        envelope, facts, payload={}, class_=class_of(action), known=place != "unknown", approved=False, now_s=NOW
    )


def word(verdict):
    if isinstance(verdict, Allow):
        return "allow"
    if isinstance(verdict, Deny):
        return f"{'hide' if verdict.conceal else 'deny'} {verdict.reason}"
    return "ask"


def cells():
    """Every (who, action, kind, place) with its verdict."""
    for action, kind in PAIRS:
        for place in PLACES:
            for name in PEOPLE:
                yield name, action, kind, place, decide(name, action, kind, place)


def render():
    """The whole matrix as text: a line for each action, kind and place, and below it who is answered what."""
    rows = defaultdict(lambda: defaultdict(list))
    for name, action, kind, place, verdict in cells():
        rows[f"{action} on {place} {kind}"][word(verdict)].append(name)
    lines = []
    for title, answers in rows.items():
        lines.append(title)
        refusals = [answer for answer in answers if answer != "allow"]
        rest = max(refusals, key=lambda answer: len(answers[answer]), default="")
        for answer, names in sorted(answers.items()):
            lines.append(f"    {answer}: {'everybody else' if answer == rest else ' '.join(names)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(render())
