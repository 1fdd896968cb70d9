"""What must hold of any action before a policy is asked: one table, read top to bottom, the first that fails answers.

Source: ADR-0004, attacks.md ID-3, ID-5, ID-8, AGENT-1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from partywall.decision.action import PLATFORM, Resource
from partywall.decision.envelope import MAX_DEPTH, Envelope
from partywall.decision.facts import State, SubjectFacts, TenantFacts
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind, Principal

STATELESS_KINDS: Final = frozenset({Kind.PLATFORM_OPERATOR, Kind.SYSTEM})
"""Kinds that belong to no tenant: the directory holds no subject of theirs."""

_DELEGATORS: Final = frozenset({Kind.USER, Kind.TENANT_ADMIN})


class Case(msgspec.Struct, frozen=True):
    """One action with what is known of it. facts: None on the deployment's own resources. now_s: Unix seconds."""

    envelope: Envelope
    facts: TenantFacts | None
    region: str
    principal: Principal
    resource: Resource
    subject: SubjectFacts | None
    user: SubjectFacts | None
    known: bool
    now_s: float


class Check(msgspec.Struct, frozen=True):
    """One condition. reason: given when it does not hold. conceal: then the answer is "not found"."""

    reason: str
    holds: Callable[[Case], bool]
    advice: str = ""
    conceal: bool = False


def case_of(envelope: Envelope, facts: TenantFacts | None, now_s: float, *, known: bool) -> Case:
    """Return the case, its subject and user looked up in facts and nowhere else."""
    principal = envelope.principal
    region = principal.region if facts is None else facts.region
    if facts is not None and facts.id == PLATFORM:
        facts = None
    subjects = {} if facts is None else facts.subjects
    user = None if principal.on_behalf_of is None else subjects.get(principal.on_behalf_of)
    subject = subjects.get(principal.id)
    return Case(envelope, facts, region, principal, envelope.action.resource, subject, user, known, now_s)


def _of_one_tenant(case: Case) -> bool:
    """The cell, the envelope and the principal are of one tenant, or all of the deployment itself."""
    if case.facts is None:
        return case.principal.tenant is None and case.envelope.tenant == PLATFORM
    return case.principal.tenant == case.facts.id == case.envelope.tenant


def _subject_known(case: Case) -> bool:
    if case.facts is None:
        return case.principal.kind in STATELESS_KINDS and case.principal.on_behalf_of is None
    return case.subject is not None and case.subject.kind is case.principal.kind


def _subject_active(case: Case) -> bool:
    return case.subject is None or case.subject.state is State.ACTIVE


def _user_active(case: Case) -> bool:
    """An agent acts for an existing, active user of its tenant, or for nobody."""
    if case.principal.on_behalf_of is None:
        return True
    user = case.user
    kinds_fit = case.principal.kind is Kind.AGENT and user is not None and user.kind in _DELEGATORS
    return kinds_fit and user is not None and user.state is State.ACTIVE


def _in_region(case: Case) -> bool:
    return case.region == case.principal.region == case.resource.region


def _in_scope(case: Case) -> bool:
    scopes = case.principal.scopes
    return scopes is None or case.envelope.action.type in scopes


def _exists(case: Case) -> bool:
    return case.known and classification_of(case.resource, case.facts) is not None


def _cleared(case: Case) -> bool:
    label = case.envelope.label
    need = classification_of(case.resource, case.facts) or Classification.PUBLIC
    if label is not None:
        need = max(need, label.classification)
    return need <= clearance_of(case)


def _label_ours(case: Case) -> bool:
    return case.envelope.label is None or case.envelope.label.tenant == case.envelope.tenant


def clearance_of(case: Case) -> Classification:
    """Return the least of the credential's, the subject's and the user's clearance."""
    level = case.principal.clearance
    if case.subject is not None:
        level = min(level, case.subject.clearance)
    return level if case.user is None else min(level, case.user.clearance)


def classification_of(resource: Resource, facts: TenantFacts | None) -> Classification | None:
    """Return how sensitive a resource is; PUBLIC where facts say nothing of its kind; None when it does not exist."""
    if resource.kind not in {"model", "tool", "collection"} or (resource.kind != "tool" and resource.id == "*"):
        return Classification.PUBLIC
    if facts is None:
        return None
    if resource.kind == "collection":
        collection = facts.collections.get(resource.id)
        return None if collection is None else collection.classification
    if resource.kind == "model":
        model = facts.models.get(resource.id)
        return None if model is None else model.classification
    server_id, _, tool = resource.id.partition("/")
    server = facts.servers.get(server_id)
    if server is None or (tool and tool not in server.tools):
        return None
    return server.classification


CHECKS: Final = (
    Check("wrong-tenant", _of_one_tenant, conceal=True),
    Check("other-tenants-resource", lambda case: case.resource.tenant == case.envelope.tenant, conceal=True),
    Check("other-tenants-label", _label_ours, conceal=True),
    Check(
        "tenant-suspended",
        lambda case: case.facts is None or case.facts.state is State.ACTIVE,
        "The tenant is suspended; its owner must ask the platform operator.",
    ),
    Check("unknown-subject", _subject_known, "Present a credential of an existing subject of this tenant."),
    Check("subject-suspended", _subject_active, "Ask a tenant administrator to resume this subject."),
    Check("user-not-active", _user_active, "The user that this agent acts for is not active."),
    Check("credential-expired", lambda case: case.now_s < case.principal.expires_at_s, "Present a fresh credential."),
    Check("wrong-region", _in_region, "Use the deployment of this credential's region."),
    Check("out-of-scope", _in_scope, "Use a credential whose scopes include this action."),
    Check(
        "too-deep",
        lambda case: 0 <= case.envelope.depth <= MAX_DEPTH,
        f"Nested actions go at most {MAX_DEPTH} deep.",
    ),
    Check("deadline-passed", lambda case: case.now_s < case.envelope.deadline_s, "Try again with more time."),
    Check("unknown-resource", _exists, conceal=True),
    Check("above-clearance", _cleared, "Ask a tenant administrator for a higher clearance."),
)
