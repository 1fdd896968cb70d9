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
    """The resource is `<kind>/<the operation's field `target`, or *>`.

    tells: the field that names a tenant whose own log gets the records too, since it is done to it from outside.
    """

    action: ActionType
    kind: str
    owner: Owner
    target: str | None = None
    tells: str | None = None


RULES: Final[dict[type[Operation], Rule]] = {
    ops.TenantCreate: Rule(ActionType.OPERATOR_TENANT, "tenant", Owner.PLATFORM),
    ops.TenantList: Rule(ActionType.OPERATOR_READ, "tenant", Owner.PLATFORM),
    ops.TenantState: Rule(ActionType.OPERATOR_TENANT, "tenant", Owner.PLATFORM, "tenant"),
    ops.AdminCreate: Rule(ActionType.OPERATOR_TENANT, "tenant", Owner.PLATFORM, "tenant", tells="tenant"),
    ops.ModelCreate: Rule(ActionType.OPERATOR_MODEL, "tenant", Owner.PLATFORM, "tenant"),
    ops.OperatorKeyCreate: Rule(ActionType.OPERATOR_KEY, "key", Owner.PLATFORM),
    ops.SubjectCreate: Rule(ActionType.OPERATOR_AGENT, "subject", Owner.TENANT),
    ops.SubjectList: Rule(ActionType.OPERATOR_READ, "subject", Owner.TENANT),
    ops.SubjectState: Rule(ActionType.OPERATOR_AGENT, "subject", Owner.TENANT, "subject"),
    ops.GrantsSet: Rule(ActionType.GRANT, "subject", Owner.TENANT, "subject"),
    ops.KeyCreate: Rule(ActionType.OPERATOR_KEY, "subject", Owner.TENANT, "subject"),
    ops.KeyList: Rule(ActionType.OPERATOR_READ, "key", Owner.EITHER),
    ops.TokenCreate: Rule(ActionType.OPERATOR_TOKEN, "subject", Owner.TENANT, "subject"),
    ops.TokenEnd: Rule(ActionType.OPERATOR_TOKEN, "subject", Owner.TENANT, "subject"),
    ops.TokenExchange: Rule(ActionType.OPERATOR_TOKEN, "subject", Owner.TENANT, "subject"),
    ops.TransactionCreate: Rule(ActionType.OPERATOR_TOKEN, "transaction", Owner.TENANT, "subject"),
    ops.IdpCreate: Rule(ActionType.OPERATOR_KEY, "idp", Owner.EITHER),
    ops.IdpList: Rule(ActionType.OPERATOR_READ, "idp", Owner.EITHER),
    ops.IdpShow: Rule(ActionType.OPERATOR_READ, "idp", Owner.EITHER, "idp"),
    ops.IdpDelete: Rule(ActionType.OPERATOR_REVOKE, "idp", Owner.EITHER, "idp"),
    ops.BindingCreate: Rule(ActionType.OPERATOR_KEY, "binding", Owner.TENANT),
    ops.BindingList: Rule(ActionType.OPERATOR_READ, "binding", Owner.TENANT),
    ops.BindingDelete: Rule(ActionType.OPERATOR_REVOKE, "binding", Owner.TENANT, "binding"),
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
    ops.CollectionCreate: Rule(ActionType.OPERATOR_COLLECTION, "collection", Owner.TENANT),
    ops.CollectionList: Rule(ActionType.OPERATOR_READ, "collection", Owner.TENANT),
    ops.CollectionShow: Rule(ActionType.OPERATOR_READ, "collection", Owner.TENANT, "collection"),
    ops.CollectionDelete: Rule(ActionType.OPERATOR_COLLECTION, "collection", Owner.TENANT, "collection"),
    ops.BreakGlassCreate: Rule(ActionType.OPERATOR_TENANT, "break-glass", Owner.PLATFORM, "tenant", tells="tenant"),
    ops.BreakGlassList: Rule(ActionType.OPERATOR_READ, "break-glass", Owner.EITHER),
    ops.BreakGlassShow: Rule(ActionType.OPERATOR_READ, "break-glass", Owner.EITHER, "request"),
    ops.BreakGlassApprove: Rule(ActionType.APPROVE, "break-glass", Owner.TENANT, "request"),
    ops.BreakGlassRefuse: Rule(ActionType.APPROVE, "break-glass", Owner.TENANT, "request"),
    ops.BreakGlassToken: Rule(ActionType.OPERATOR_TOKEN, "break-glass", Owner.PLATFORM, "request"),
}

KINDS: Final = frozenset(rule.kind for rule in RULES.values())
"""Resource kinds that an OperatorProvider serves, one instance each."""

_RECORDED: Final = frozenset(
    {"slug", "organisation", "tenant", "subject", "state", "kind", "clearance", "credential", "on_behalf_of", "session"}
    | {"hosted", "context_tokens", "life_s", "revision"}
    | {"key", "model", "policy", "server", "action", "resource", "classification", "limit"}
    | {"collection", "purpose", "dimensions"}
    | {"idp", "binding", "user"}
    | {"request", "justification"}
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
