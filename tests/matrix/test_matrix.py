"""The matrix is the reviewed one, and whatever was reviewed, some cells may never say yes."""

import pytest
from tests.matrix.matrix import CONTENT, GOLDEN, PAIRS, PEOPLE, cells, render

from partywall.decision.action import ActionType
from partywall.decision.verdict import Allow

ACME = {"admin", "user", "agent", "agent-for-user", "agent-no-grants", "agent-memory-scope", "agent-with-every-grant"}
ACME |= {"break-glass-guest"}
GLOBEX = {"other-agent", "other-admin"}
PLATFORM = {"operator", "system:bootstrap", "system:sign-in", "system:sweeper", "system:checkpointer", "system:rotator"}
PLATFORM |= {"system:federation"}
NEVER = set(PEOPLE) - ACME - GLOBEX - PLATFORM
"""Suspended, expired, deleted, out of scope, of another region, forged: nothing, anywhere."""


@pytest.fixture(scope="module")
def allowed():
    return [cell[:4] for cell in cells() if isinstance(cell[4], Allow)]


def test_it_is_the_reviewed_one():
    assert render() == GOLDEN.read_text(), "read the diff of: PYTHONPATH=src:. python -m tests.matrix.matrix"


def test_every_action_is_in_it():
    assert {action for action, _kind in PAIRS} == set(ActionType)


def test_everyone_stays_at_home(allowed):
    homes = {"acme": ACME, "globex": GLOBEX, "platform": PLATFORM, "unknown": set()}
    for name, action, kind, place in allowed:
        assert name in homes[place], (name, action, kind, place)


def test_some_are_never_allowed_anything(allowed):
    assert len(NEVER) == 10
    assert not [cell for cell in allowed if cell[0] in NEVER]


def test_operators_and_admins_read_no_content(allowed):
    content = CONTENT | {ActionType.RETRIEVAL_SEARCH, ActionType.QUERY, ActionType.EMBED, ActionType.SANDBOX_FILE}
    assert not [cell for cell in allowed if cell[0] in {"operator", "admin", "other-admin"} and cell[1] in content]


def test_administration_is_of_administrators(allowed):
    """Agents and users administer nothing but tokens for themselves."""
    administration = {action for action in ActionType if action.value.startswith(("operator.", "system."))}
    administration |= {ActionType.GRANT, ActionType.APPROVE, ActionType.AUDIT_READ}
    for name, action, kind, place in allowed:
        if action in administration and name in ACME | GLOBEX and not name.endswith("admin"):
            assert (action, kind, name) in {
                (ActionType.OPERATOR_TOKEN, "subject", "agent"), (ActionType.OPERATOR_TOKEN, "subject", "other-agent"),
                (ActionType.AUDIT_READ, "audit", "break-glass-guest"),
                (ActionType.OPERATOR_TOKEN, "transaction", "agent"),
                (ActionType.OPERATOR_TOKEN, "transaction", "agent-for-user"),
                (ActionType.OPERATOR_TOKEN, "transaction", "other-agent"),
            }, (name, action, kind, place)  # fmt: skip


def test_a_guest_through_broken_glass_reads_one_log_and_does_nothing_else(allowed):
    own = {cell[1:] for cell in allowed if cell[0] == "break-glass-guest"}
    plain = {cell[1:] for cell in allowed if cell[0] == "user"}
    assert own - plain == {(ActionType.AUDIT_READ, "audit", "acme")}


def test_an_agent_for_a_user_may_no_more_than_either(allowed):
    of = {who: {cell[1:] for cell in allowed if cell[0] == who} for who in PEOPLE}
    own = {(ActionType.OPERATOR_TOKEN, "transaction", "acme")}  # it names both, and gives nothing here
    assert of["agent-for-user"] - own <= of["agent"] & of["user"]
    assert of["agent-memory-scope"] < of["agent"]


def test_each_system_principal_does_one_thing(allowed):
    for name in PLATFORM - {"operator"}:
        assert len({cell[1] for cell in allowed if cell[0] == name}) == 1
