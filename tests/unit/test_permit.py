"""Inside a process a permit opens one action, once, for exactly the bytes it digests."""

import pytest

from partywall.decision.action import Action, ActionType, Resource
from partywall.decision.envelope import Envelope
from partywall.decision.mint import mint
from partywall.decision.principal import Kind, Principal
from partywall.decision.verdict import Allow
from partywall.errors import Bug
from partywall.wire.ids import TenantId, format_id

TENANT = TenantId(format_id("ten", bytes(16)))


@pytest.fixture
def permit():
    principal = Principal(
        kind=Kind.AGENT,
        id=format_id("agt", bytes(16)),
        region="local",
        tenant=TENANT,
        credential="k",
        expires_at_s=100.0,
    )
    envelope = Envelope(
        act=format_id("act", bytes(16)),
        principal=principal,
        action=Action(ActionType.TOOL_CALL, Resource("local", TENANT, "tool", "x/y")),
        tenant=TENANT,
        trace_id="0" * 32,
        received_at_s=1.0,
        deadline_s=10.0,
    )
    return mint(envelope, Allow("base"), b"payload", permit_id=format_id("prm", bytes(16)), now_s=2.0)


def test_it_opens_once(permit):
    assert permit.redeem(ActionType.TOOL_CALL, b"payload", 3.0).tenant == TENANT
    with pytest.raises(Bug, match="twice"):
        permit.redeem(ActionType.TOOL_CALL, b"payload", 3.0)


@pytest.mark.parametrize(
    ("action", "payload", "now"),
    [
        (ActionType.MODEL_REQUEST, b"payload", 3.0),
        (ActionType.TOOL_CALL, b"Payload", 3.0),
        (ActionType.TOOL_CALL, b"payload", 11.0),
    ],
)
def test_another_action_other_bytes_or_a_late_use_spend_it_without_opening(permit, action, payload, now):
    with pytest.raises(Bug):
        permit.redeem(action, payload, now)
    with pytest.raises(Bug, match="twice"):
        permit.redeem(ActionType.TOOL_CALL, b"payload", 3.0)
