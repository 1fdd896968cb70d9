"""Every operator operation: its action, the resource it names, whose it is, and what of it may be recorded.

One line per struct of `wire/operations.py`, whose docstrings this table repeats as data; a test holds that none is
missing. The door, the provider and the golden matrix read it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType
from partywall.errors import Malformed
from partywall.wire import operations as ops
from partywall.wire.operations import Operation


class Owner(StrEnum):
    """Whose resource an operation works on."""

    PLATFORM = "platform"  # the deployment's: platform operators
    TENANT = "tenant"  # the caller's own tenant's
    EITHER = "either"  # whichever the caller belongs to


class Rule(msgspec.Struct, frozen=True):
    """The resource is `<kind>/<the operation's field `target`, or *>`."""

    action: ActionType
    kind: str
    owner: Owner
    target: str | None = None


RULES: Final[dict[type[Operation], Rule]] = {
    ops.TenantCreate: Rule(ActionType.OPERATOR_TENANT, "tenant", Owner.PLATFORM),
    ops.TenantList: Rule(ActionType.OPERATOR_READ, "tenant", Owner.PLATFORM),
    ops.TenantState: Rule(ActionType.OPERATOR_TENANT, "tenant", Owner.PLATFORM, "tenant"),
    ops.AdminCreate: Rule(ActionType.OPERATOR_TENANT, "tenant", Owner.PLATFORM, "tenant"),
    ops.ModelCreate: Rule(ActionType.OPERATOR_MODEL, "tenant", Owner.PLATFORM, "tenant"),
    ops.OperatorKeyCreate: Rule(ActionType.OPERATOR_KEY, "key", Owner.PLATFORM),
    ops.SubjectCreate: Rule(ActionType.OPERATOR_AGENT, "subject", Owner.TENANT),
    ops.SubjectList: Rule(ActionType.OPERATOR_READ, "subject", Owner.TENANT),
    ops.SubjectState: Rule(ActionType.OPERATOR_AGENT, "subject", Owner.TENANT, "subject"),
    ops.GrantsSet: Rule(ActionType.GRANT, "subject", Owner.TENANT, "subject"),
    ops.KeyCreate: Rule(ActionType.OPERATOR_KEY, "subject", Owner.TENANT, "subject"),
    ops.KeyList: Rule(ActionType.OPERATOR_READ, "key", Owner.EITHER),
    ops.TokenCreate: Rule(ActionType.OPERATOR_TOKEN, "subject", Owner.TENANT, "subject"),
    ops.Revoke: Rule(ActionType.OPERATOR_REVOKE, "credential", Owner.EITHER, "credential"),
    ops.PolicyActivate: Rule(ActionType.OPERATOR_POLICY, "policy", Owner.TENANT),
    ops.PolicyShow: Rule(ActionType.OPERATOR_READ, "policy", Owner.TENANT),
    ops.PolicyRollback: Rule(ActionType.OPERATOR_POLICY, "policy", Owner.TENANT),
    ops.ServerRegister: Rule(ActionType.OPERATOR_SERVER, "server", Owner.TENANT),
    ops.ServerList: Rule(ActionType.OPERATOR_READ, "server", Owner.TENANT),
    ops.OrganisationCreate: Rule(ActionType.OPERATOR_TENANT, "organisation", Owner.PLATFORM),
    ops.OrganisationList: Rule(ActionType.OPERATOR_READ, "organisation", Owner.PLATFORM),
    ops.OrganisationShow: Rule(ActionType.OPERATOR_READ, "organisation", Owner.PLATFORM, "organisation"),
    ops.TenantShow: Rule(ActionType.OPERATOR_READ, "tenant", Owner.PLATFORM, "tenant"),
    ops.ModelList: Rule(ActionType.OPERATOR_READ, "tenant", Owner.PLATFORM, "tenant"),
    ops.ModelShow: Rule(ActionType.OPERATOR_READ, "tenant", Owner.PLATFORM, "tenant"),
    ops.ModelChange: Rule(ActionType.OPERATOR_MODEL, "tenant", Owner.PLATFORM, "tenant"),
    ops.ModelDelete: Rule(ActionType.OPERATOR_MODEL, "tenant", Owner.PLATFORM, "tenant"),
    ops.SubjectShow: Rule(ActionType.OPERATOR_READ, "subject", Owner.TENANT, "subject"),
    ops.SubjectChange: Rule(ActionType.OPERATOR_AGENT, "subject", Owner.TENANT, "subject"),
    ops.SubjectDelete: Rule(ActionType.OPERATOR_REVOKE, "subject", Owner.TENANT, "subject"),
    ops.GrantList: Rule(ActionType.OPERATOR_READ, "subject", Owner.TENANT, "subject"),
    ops.GrantAdd: Rule(ActionType.GRANT, "subject", Owner.TENANT, "subject"),
    ops.GrantRemove: Rule(ActionType.GRANT, "subject", Owner.TENANT, "subject"),
    ops.KeyShow: Rule(ActionType.OPERATOR_READ, "key", Owner.EITHER, "key"),
    ops.KeyDelete: Rule(ActionType.OPERATOR_REVOKE, "key", Owner.EITHER, "key"),
    ops.RevisionList: Rule(ActionType.OPERATOR_READ, "policy", Owner.TENANT),
    ops.RevisionShow: Rule(ActionType.OPERATOR_READ, "policy", Owner.TENANT),
    ops.DraftCreate: Rule(ActionType.OPERATOR_POLICY, "policy", Owner.TENANT),
    ops.DraftReplace: Rule(ActionType.OPERATOR_POLICY, "policy", Owner.TENANT, "policy"),
    ops.DraftList: Rule(ActionType.OPERATOR_READ, "policy", Owner.TENANT),
    ops.DraftShow: Rule(ActionType.OPERATOR_READ, "policy", Owner.TENANT, "policy"),
    ops.DraftDelete: Rule(ActionType.OPERATOR_POLICY, "policy", Owner.TENANT, "policy"),
    ops.DraftActivate: Rule(ActionType.OPERATOR_POLICY, "policy", Owner.TENANT, "policy"),
    ops.ServerShow: Rule(ActionType.OPERATOR_READ, "server", Owner.TENANT, "server"),
    ops.ServerDelete: Rule(ActionType.OPERATOR_SERVER, "server", Owner.TENANT, "server"),
    ops.CatalogueList: Rule(ActionType.OPERATOR_READ, "catalogue", Owner.TENANT),
}

KINDS: Final = frozenset(rule.kind for rule in RULES.values())
"""Resource kinds that an OperatorProvider serves, one instance each."""

_RECORDED: Final = frozenset(
    {"slug", "organisation", "tenant", "subject", "state", "kind", "clearance", "credential", "on_behalf_of", "session"}
    | {"hosted", "context_tokens", "life_s", "revision"}
    | {"key", "model", "policy", "server", "action", "resource", "classification", "limit"}
)
_COUNTED: Final = frozenset({"grants", "tools", "scopes"})


def actions_of(kind: str) -> frozenset[ActionType]:
    """Return the actions that operations on this kind of resource may be."""
    return frozenset(rule.action for rule in RULES.values() if rule.kind == kind)


def rules_of(action: ActionType, kind: str) -> list[Rule]:
    """Return the rules of operations of this action on this kind of resource."""
    return [rule for rule in RULES.values() if rule.action is action and rule.kind == kind]


def parse_operation(value: Any) -> Operation:
    """Return the operation that a parsed JSON value is. Raises: Malformed, naming the member that is wrong."""
    try:
        operation: Operation = msgspec.convert(value, Operation)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a valid request: {error}", code="bad-request") from error
    return operation


def target_of(operation: Operation) -> str:
    """Return the id part of the resource: one id, or `*`."""
    field = RULES[type(operation)].target
    return "*" if field is None else str(getattr(operation, field))


def parameters_of(operation: Operation) -> dict[str, Any]:
    """Return what of an operation is recorded: its name, ids, slugs and states, and how many of each list.

    Invariant: no member that could hold content, an address or a secret is ever among them.
    """
    recorded: dict[str, Any] = {"operation": type(operation).__struct_config__.tag}
    for name in operation.__struct_fields__:
        value = getattr(operation, name)
        if value is None:
            continue
        if name in _RECORDED:
            recorded[name] = value
        elif name in _COUNTED:
            recorded[name] = len(value)
    return recorded
