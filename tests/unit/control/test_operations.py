"""The issuer's table of operations against its documentation and the gateway's table; bytes that are no operation."""

import re

import msgspec
import pytest

from partywall.control.operations import RULES, Mode, check_fit, decode_operation
from partywall.decision.action import CLASSES, ActionClass, ActionType
from partywall.decision.principal import Kind
from partywall.errors import Malformed, Unauthenticated
from partywall.providers.operator import table
from partywall.wire import operations as ops
from partywall.wire.permit import SignedPermit

TENANT = "ten_" + "a" * 26
SUBJECT = "agt_" + "b" * 26
OPERATIONS = ops.Operation.__args__


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_the_rule_is_what_the_docstring_says(operation):
    said = re.match(r"(?P<action>[a-z.]+) on `(?P<kind>[a-z-]+)/(?P<target>\*|<id>)`", operation.__doc__)
    rule = RULES[operation]
    assert rule.action == said["action"]
    assert rule.kind == said["kind"]
    assert (rule.target is None) == (said["target"] == "*")
    assert rule.target is None or rule.target in operation.__struct_fields__


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_the_gateway_has_the_same_rule(operation):
    mine, gateways = RULES[operation], table.RULES[operation]
    assert (mine.action, mine.kind, mine.target) == (gateways.action, gateways.kind, gateways.target)
    platform = Kind.PLATFORM_OPERATOR in mine.principals
    assert platform == (gateways.owner in {table.Owner.PLATFORM, table.Owner.EITHER})
    assert bool(mine.principals - {Kind.PLATFORM_OPERATOR}) == (gateways.owner is not table.Owner.PLATFORM)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_only_reads_change_nothing(operation):
    is_read = CLASSES[RULES[operation].action] is ActionClass.INTERNAL_READ
    assert is_read == (RULES[operation].mode is Mode.READS)


def test_every_operation_has_a_rule_and_agents_only_ask_for_tokens():
    assert set(RULES) == set(OPERATIONS)
    open_to_agents = {operation for operation, rule in RULES.items() if Kind.AGENT in rule.principals}
    assert open_to_agents == {ops.TokenCreate, ops.TokenEnd, ops.TokenExchange, ops.TransactionCreate}
    assert not any(Kind.SYSTEM in rule.principals for rule in RULES.values())


def permit(**changed):
    fields = {
        "audience": "issuer/x",
        "nonce": "prm_x",
        "act": "act_x",
        "tenant": TENANT,
        "principal_kind": "tenant-admin",
        "principal": "usr_" + "c" * 26,
        "action": "operator.key",
        "resource": f"pw:local:{TENANT}:subject/{SUBJECT}",
        "payload_sha256": bytes(32),
        "issued_at_s": 0.0,
        "expires_at_s": 1.0,
    }
    return SignedPermit(**(fields | changed))


def test_a_permit_fits_its_operation():
    assert check_fit(permit(), ops.KeyCreate(subject=SUBJECT), "local") is RULES[ops.KeyCreate]
    operators = permit(
        tenant="platform",
        principal_kind="platform-operator",
        action="operator.read",
        resource="pw:local:platform:key/*",
    )
    assert check_fit(operators, ops.KeyList(), "local") is RULES[ops.KeyList]


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": "ten_" + "d" * 26},
        {"tenant": "platform"},
        {"tenant": "platform", "resource": f"pw:local:platform:subject/{SUBJECT}"},
        {"tenant": "", "resource": f"pw:local::subject/{SUBJECT}"},
        {"tenant": "*", "resource": f"pw:local:*:subject/{SUBJECT}"},
        {"principal_kind": "agent"},
        {"principal_kind": "user"},
        {"principal_kind": "system"},
        {"principal_kind": "platform-operator"},
        {"principal_kind": "Tenant-Admin"},
        {"action": "operator.read"},
        {"action": "operator.key "},
        {"resource": f"pw:local:{TENANT}:subject/*"},
        {"resource": f"pw:local:{TENANT}:key/{SUBJECT}"},
        {"resource": f"pw:far:{TENANT}:subject/{SUBJECT}"},
        {"resource": f"pw:local:{TENANT}:subject/{SUBJECT}\n"},
        {"resource": ""},
    ],
    ids=str,
)
def test_a_permit_that_differs_anywhere_does_not_fit(changed):
    with pytest.raises(Unauthenticated):
        check_fit(permit(**changed), ops.KeyCreate(subject=SUBJECT), "local")


def test_operations_round_trip_and_nothing_else_decodes():
    encode = msgspec.json.Encoder(order="sorted").encode
    wanted = ops.KeyCreate(subject=SUBJECT, scopes=[ActionType.MODEL_REQUEST], life_s=60.0)
    assert decode_operation(encode(wanted)) == wanted
    good = encode(wanted).decode()
    for bad in (
        good.replace('"life_s":60.0', '"life_s":60.0,"life_s":61.0'),
        good.replace('"life_s":60.0', '"life_s":NaN'),
        good.replace('"life_s":60.0', '"life_s":"60"'),
        good.replace('"life_s":60.0', '"tenant":"x"'),
        good.replace("key.create", "key.destroy"),
        good.replace(SUBJECT, SUBJECT + "a"),
        good + good,
        "",
        "{" * 5_000,
    ):
        with pytest.raises(Malformed):
            decode_operation(bad.encode())
