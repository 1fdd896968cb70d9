"""Every operator action as the issuer performs it: what its permit must say, who may ask, and the code that does it.

The gateway has a table of the same rules (`providers/operator/table.py`); this one is the issuer's own, because the
gateway parses hostile bytes and is not believed beyond its permit. Source: `wire/operations.py`, ADR-0003, ADR-0007.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from partywall.control import credentials, models, policies, revocation, servers, subjects, tenants, tokens
from partywall.control.work import Reply, Work
from partywall.decision.action import PLATFORM, ActionType
from partywall.decision.principal import Kind
from partywall.errors import Malformed, Unauthenticated
from partywall.wire import operations as ops
from partywall.wire.ids import is_id
from partywall.wire.permit import SignedPermit
from partywall.wire.strict_json import parse_json


class Mode(StrEnum):
    """What an operation does to what workers know."""

    CHANGES = "changes"  # takes the revision: one at a time
    ISSUES = "issues"  # writes what workers do not read
    READS = "reads"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """The permit must be for `action` on `<kind>/<the operation's field target, or *>` of the principal's own realm."""

    action: ActionType
    kind: str
    run: Callable[[Work, Any], Awaitable[Reply]]
    principals: frozenset[Kind]
    target: str | None = None
    mode: Mode = Mode.CHANGES


_OPERATOR: Final = frozenset({Kind.PLATFORM_OPERATOR})
_ADMIN: Final = frozenset({Kind.TENANT_ADMIN})
_EITHER: Final = _OPERATOR | _ADMIN
_ANYONE: Final = frozenset({Kind.TENANT_ADMIN, Kind.USER, Kind.AGENT})

RULES: Final[dict[type[ops.Operation], Rule]] = {
    ops.TenantCreate: Rule(
        action=ActionType.OPERATOR_TENANT, kind="tenant", run=tenants.create_tenant, principals=_OPERATOR
    ),
    ops.TenantList: Rule(
        action=ActionType.OPERATOR_READ,
        kind="tenant",
        run=tenants.list_tenants,
        principals=_OPERATOR,
        mode=Mode.READS,
    ),
    ops.TenantState: Rule(
        action=ActionType.OPERATOR_TENANT,
        kind="tenant",
        run=tenants.set_tenant_state,
        principals=_OPERATOR,
        target="tenant",
    ),
    ops.AdminCreate: Rule(
        action=ActionType.OPERATOR_TENANT,
        kind="tenant",
        run=tenants.create_admin,
        principals=_OPERATOR,
        target="tenant",
    ),
    ops.ModelCreate: Rule(
        action=ActionType.OPERATOR_MODEL,
        kind="tenant",
        run=models.create_model,
        principals=_OPERATOR,
        target="tenant",
    ),
    ops.OperatorKeyCreate: Rule(
        action=ActionType.OPERATOR_KEY, kind="key", run=credentials.create_operator_key, principals=_OPERATOR
    ),
    ops.SubjectCreate: Rule(
        action=ActionType.OPERATOR_AGENT, kind="subject", run=subjects.create_subject, principals=_ADMIN
    ),
    ops.SubjectList: Rule(
        action=ActionType.OPERATOR_READ,
        kind="subject",
        run=subjects.list_subjects,
        principals=_ADMIN,
        mode=Mode.READS,
    ),
    ops.SubjectState: Rule(
        action=ActionType.OPERATOR_AGENT,
        kind="subject",
        run=subjects.set_subject_state,
        principals=_ADMIN,
        target="subject",
    ),
    ops.GrantsSet: Rule(
        action=ActionType.GRANT, kind="subject", run=subjects.set_grants, principals=_ADMIN, target="subject"
    ),
    ops.KeyCreate: Rule(
        action=ActionType.OPERATOR_KEY,
        kind="subject",
        run=credentials.create_key,
        principals=_ADMIN,
        target="subject",
    ),
    ops.KeyList: Rule(
        action=ActionType.OPERATOR_READ, kind="key", run=credentials.list_keys, principals=_EITHER, mode=Mode.READS
    ),
    ops.TokenCreate: Rule(
        action=ActionType.OPERATOR_TOKEN,
        kind="subject",
        run=tokens.create_token,
        principals=_ANYONE,
        target="subject",
        mode=Mode.ISSUES,
    ),
    ops.Revoke: Rule(
        action=ActionType.OPERATOR_REVOKE,
        kind="credential",
        run=revocation.revoke,
        principals=_EITHER,
        target="credential",
    ),
    ops.PolicyActivate: Rule(
        action=ActionType.OPERATOR_POLICY, kind="policy", run=policies.activate_policy, principals=_ADMIN
    ),
    ops.PolicyShow: Rule(
        action=ActionType.OPERATOR_READ, kind="policy", run=policies.show_policy, principals=_ADMIN, mode=Mode.READS
    ),
    ops.PolicyRollback: Rule(
        action=ActionType.OPERATOR_POLICY, kind="policy", run=policies.roll_back_policy, principals=_ADMIN
    ),
    ops.ServerRegister: Rule(
        action=ActionType.OPERATOR_SERVER, kind="server", run=servers.register_server, principals=_ADMIN
    ),
    ops.ServerList: Rule(
        action=ActionType.OPERATOR_READ, kind="server", run=servers.list_servers, principals=_ADMIN, mode=Mode.READS
    ),
}


def decode_operation(payload: bytes) -> ops.Operation:
    """Return the one operation that payload is. Raises: Malformed, also for a member given twice."""
    try:
        operation: ops.Operation = msgspec.convert(parse_json(payload), ops.Operation)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a valid request: {error}", code="bad-request") from error
    return operation


def check_fit(permit: SignedPermit, operation: ops.Operation, region: str) -> Rule:
    """Return the operation's rule. Raises: Unauthenticated unless the permit is for exactly this operation.

    Invariant: a permit of a tenant never reaches the platform's or another tenant's realm, and an operator's never a
    tenant's: the realm is one of the principal's kind, and the resource is in it.
    """
    rule = RULES[type(operation)]
    platform = permit.principal_kind == Kind.PLATFORM_OPERATOR
    realm_fits = permit.tenant == PLATFORM if platform else is_id(permit.tenant, "ten")
    target = "*" if rule.target is None else getattr(operation, rule.target)
    resource = f"pw:{region}:{permit.tenant}:{rule.kind}/{target}"
    if (
        not realm_fits
        or permit.principal_kind not in rule.principals
        or permit.action != rule.action
        or permit.resource != resource
    ):
        raise Unauthenticated("a permit for another operation", code="bad-permit")
    return rule


async def prevalidate(operation: ops.Operation) -> None:
    """Check what is slow to check before any transaction begins. Raises: Malformed."""
    if isinstance(operation, ops.PolicyActivate):
        await policies.validate_policy(operation.module)
    elif isinstance(operation, ops.ServerRegister):
        await asyncio.to_thread(servers.check_schemas, operation.tools)
