"""The reference decider: the base policy on one page, written to be read, with nothing of the product's own rules.

The product must answer as this does on every case that `worlds.py` can make. Source: ADR-0004.
"""

from __future__ import annotations

from partywall.decision.envelope import Envelope
from partywall.decision.facts import SubjectFacts, TenantFacts

ADMIN = {
    "operator.agent", "operator.key", "operator.policy", "operator.read", "operator.revoke", "operator.server",
    "operator.token", "grant", "audit.read", "decision.evaluate", "decision.search",
    "operator.collection",
}  # fmt: skip
WORK = {
    "agent.run", "egress", "embed", "inbound", "ingest", "memory", "model.request", "query", "retrieval.search",
    "sandbox.control", "sandbox.exec", "sandbox.file", "tool.call", "decision.evaluate", "decision.search",
}  # fmt: skip
ASK = {"decision.evaluate", "decision.search"}
OPERATOR = (ADMIN - {"grant", "operator.collection"} - ASK) | {"operator.tenant", "operator.model"}


def reference(envelope: Envelope, facts: TenantFacts, known: bool, now_s: float) -> str:  # noqa: C901  # on one page
    """Return "allow", "deny" or "conceal"."""
    who, what, resource = envelope.principal, envelope.action.type.value, envelope.action.resource
    platform = facts.id == "platform"
    owner = None if platform else facts.id
    if who.tenant != owner or envelope.tenant != facts.id or resource.tenant != facts.id:
        return "conceal"
    if envelope.label is not None and envelope.label.tenant != facts.id:
        return "conceal"
    subject = facts.subjects.get(who.id)
    user = facts.subjects.get(who.on_behalf_of) if who.on_behalf_of else None
    if facts.state != "active":
        return "deny"
    if platform and (who.kind not in {"platform-operator", "system"} or who.on_behalf_of):
        return "deny"
    if not platform and (subject is None or subject.kind != who.kind or subject.state != "active"):
        return "deny"
    if who.on_behalf_of and (who.kind != "agent" or user is None or user.state != "active"):
        return "deny"
    if who.on_behalf_of and user is not None and user.kind not in {"user", "tenant-admin"}:
        return "deny"
    if now_s >= who.expires_at_s or now_s >= envelope.deadline_s or not 0 <= envelope.depth <= 8:
        return "deny"
    if not who.region == facts.region == resource.region:
        return "deny"
    if who.scopes is not None and envelope.action.type not in who.scopes:
        return "deny"
    sensitive = sensitivity(resource.kind, resource.id, facts)
    if not known or sensitive is None:
        return "conceal"
    clearance = min([who.clearance, *(one.clearance for one in (subject, user) if one is not None)])
    if max(sensitive, envelope.label.classification if envelope.label else 0) > clearance:
        return "deny"
    if platform:
        system = {
            "system:bootstrap": ("operator.key", "bootstrap"),
            "system:sign-in": ("operator.token", "sign-in"),
            "system:federation": ("operator.token", "federation"),
        }
        if who.kind == "system":
            return "allow" if system.get(who.id) == (what, resource.kind) else "deny"
        return "allow" if what in OPERATOR and resource.kind not in {"bootstrap", "sign-in", "federation"} else "deny"
    if who.kind == "tenant-admin" and what in ADMIN:
        return "allow"
    if (what, resource.kind) == ("tool.list", "tool") and "/" not in resource.id:
        return "allow"
    if (what, resource.kind, resource.id) == ("model.list", "model", "*"):
        return "allow"
    if (what, resource.kind, resource.id) == ("operator.token", "subject", who.id) and not user:
        return "allow"
    if (what, resource.kind, resource.id) == ("operator.token", "transaction", who.id):
        return "allow"
    if what in ASK and (resource.kind, resource.id) == ("decision", who.id):
        return "allow"
    if who.kind == "tenant-admin" and (what, resource.kind) == ("approve", "break-glass"):
        return "allow"
    guest = who.kind == "user" and (what, resource.kind) == ("audit.read", "audit")  # of an approved break-glass
    if guest and subject is not None and holds(subject, what, resource.kind, resource.id, now_s):
        return "allow"
    holders = [one for one in (subject, user) if one is not None]
    if what not in WORK:
        return "deny"
    return "allow" if all(holds(one, what, resource.kind, resource.id, now_s) for one in holders) else "deny"


def holds(subject: SubjectFacts, what: str, kind: str, resource_id: str, now_s: float) -> bool:
    """A live grant of exactly this, or of all tools of its server."""
    names = {f"{kind}/{resource_id}"}
    if kind == "tool" and resource_id.count("/") == 1:
        names.add(f"tool/{resource_id.partition('/')[0]}/*")
    live = [grant for grant in subject.grants if grant.expires_at_s is None or now_s < grant.expires_at_s]
    return any(grant.action == what and grant.resource in names for grant in live)


def sensitivity(kind: str, resource_id: str, facts: TenantFacts) -> int | None:
    """None: there is no such model, server or tool."""
    if kind == "model" and resource_id != "*":
        return facts.models[resource_id].classification if resource_id in facts.models else None
    if kind != "tool":
        return 0
    server = facts.servers.get(resource_id.partition("/")[0])
    tool = resource_id.partition("/")[2]
    return None if server is None or (tool and tool not in server.tools) else int(server.classification)
