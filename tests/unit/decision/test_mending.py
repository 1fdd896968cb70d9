"""A tenant's policy cannot lock its own replacement out: who may mend it is the base policy's word alone."""

import pytest

from partywall.decision.action import Action, ActionClass, ActionType, Resource
from partywall.decision.decide import Decider
from partywall.decision.envelope import Envelope
from partywall.decision.facts import PolicyFacts, State, SubjectFacts, TenantFacts
from partywall.decision.principal import Kind, Principal
from partywall.decision.verdict import Allow, Deny
from partywall.wire.ids import format_id

TENANT, ADMIN, AGENT = (format_id(prefix, bytes(16)) for prefix in ("ten", "usr", "agt"))
LOCKED = """package tenant
import rego.v1
deny_grant contains "locked" if input.action.type == input.action.type
"""


def decide(module, action, kind=Kind.TENANT_ADMIN, subject=ADMIN):
    facts = TenantFacts(
        id=TENANT,
        slug="acme",
        organisation="org",
        region="local",
        state=State.ACTIVE,
        revision=1,
        policy=PolicyFacts(revision="1-x", module=module),
        subjects={subject: SubjectFacts(id=subject, slug="s", kind=kind)},
    )
    principal = Principal(kind=kind, id=subject, region="local", tenant=TENANT, credential="k", expires_at_s=100.0)
    envelope = Envelope(
        act=format_id("act", bytes(16)),
        principal=principal,
        action=Action(action, Resource("local", TENANT, "policy" if "policy" in action else "subject", "*")),
        tenant=TENANT,
        trace_id="0" * 32,
        received_at_s=1.0,
        deadline_s=50.0,
    )
    return Decider().decide(
        envelope, facts, payload={}, class_=ActionClass.EFFECT, known=True, approved=False, now_s=2.0
    )


@pytest.mark.parametrize("module", [LOCKED, "package tenant\nthis does not compile"])
def test_an_admin_may_always_replace_the_policy(module):
    assert isinstance(decide(module, ActionType.OPERATOR_POLICY), Allow)


@pytest.mark.parametrize("module", [LOCKED, "package tenant\nthis does not compile"])
def test_and_everything_else_obeys_it(module):
    assert isinstance(decide(module, ActionType.OPERATOR_AGENT), Deny)


def test_an_agent_may_not():
    assert isinstance(decide(LOCKED, ActionType.OPERATOR_POLICY, Kind.AGENT, AGENT), Deny)
