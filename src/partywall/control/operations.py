"""Every operator action as the issuer performs it: what its permit must say, who may ask, and the code that does it.

The gateway has a table of the same rules (`providers/operator/table.py`); this one is the issuer's own, because the
gateway parses hostile bytes and is not believed beyond its permit. Source: `wire/operations.py`, ADR-0003, ADR-0007.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from partywall.control import credentials, models, policies, revocation, servers, subjects, tenants, tokens
from partywall.control.break_glass import BREAK_GLASS
from partywall.control.collections import COLLECTIONS
from partywall.control.federation.rules import FEDERATION
from partywall.control.resources import RESOURCES
from partywall.control.rule import ADMIN, ANYONE, EITHER, OPERATOR, Mode, Rule
from partywall.decision.action import PLATFORM, ActionType
from partywall.decision.principal import Kind
from partywall.errors import Malformed, Unauthenticated
from partywall.wire import operations as ops
from partywall.wire.ids import is_id
from partywall.wire.permit import SignedPermit
from partywall.wire.strict_json import parse_json

__all__ = ["RULES", "Mode", "Rule", "check_fit", "decode_operation", "prevalidate"]

RULES: Final[dict[type[ops.Operation], Rule]] = {
    **RESOURCES,
    **FEDERATION,
    **COLLECTIONS,
    **BREAK_GLASS,
    ops.TenantCreate: Rule(
        action=ActionType.OPERATOR_TENANT, kind="tenant", run=tenants.create_tenant, principals=OPERATOR
    ),
    ops.TenantList: Rule(
        action=ActionType.OPERATOR_READ,
        kind="tenant",
        run=tenants.list_tenants,
        principals=OPERATOR,
        mode=Mode.READS,
    ),
    ops.TenantState: Rule(
        action=ActionType.OPERATOR_TENANT,
        kind="tenant",
        run=tenants.set_tenant_state,
        principals=OPERATOR,
        target="tenant",
        current=tenants.show_tenant,
    ),
    ops.AdminCreate: Rule(
        action=ActionType.OPERATOR_TENANT,
        kind="tenant",
        run=tenants.create_admin,
        principals=OPERATOR,
        target="tenant",
        secret=True,
    ),
    ops.ModelCreate: Rule(
        action=ActionType.OPERATOR_MODEL,
        kind="tenant",
        run=models.create_model,
        principals=OPERATOR,
        target="tenant",
    ),
    ops.OperatorKeyCreate: Rule(
        action=ActionType.OPERATOR_KEY,
        kind="key",
        run=credentials.create_operator_key,
        principals=OPERATOR,
        secret=True,
    ),
    ops.SubjectCreate: Rule(
        action=ActionType.OPERATOR_AGENT, kind="subject", run=subjects.create_subject, principals=ADMIN
    ),
    ops.SubjectList: Rule(
        action=ActionType.OPERATOR_READ,
        kind="subject",
        run=subjects.list_subjects,
        principals=ADMIN,
        mode=Mode.READS,
    ),
    ops.SubjectState: Rule(
        action=ActionType.OPERATOR_AGENT,
        kind="subject",
        run=subjects.set_subject_state,
        principals=ADMIN,
        target="subject",
        current=subjects.show_subject,
    ),
    ops.GrantsSet: Rule(
        action=ActionType.GRANT,
        kind="subject",
        run=subjects.set_grants,
        principals=ADMIN,
        target="subject",
        current=subjects.grants_object,
    ),
    ops.KeyCreate: Rule(
        action=ActionType.OPERATOR_KEY,
        kind="subject",
        run=credentials.create_key,
        principals=ADMIN,
        target="subject",
        secret=True,
    ),
    ops.KeyList: Rule(
        action=ActionType.OPERATOR_READ, kind="key", run=credentials.list_keys, principals=EITHER, mode=Mode.READS
    ),
    ops.TokenCreate: Rule(
        action=ActionType.OPERATOR_TOKEN,
        kind="subject",
        run=tokens.create_token,
        principals=ANYONE,
        target="subject",
        mode=Mode.ISSUES,
        secret=True,
    ),
    ops.TokenEnd: Rule(
        action=ActionType.OPERATOR_TOKEN,
        kind="subject",
        run=revocation.end_own_token,
        principals=ANYONE,
        target="subject",
    ),
    ops.Revoke: Rule(
        action=ActionType.OPERATOR_REVOKE,
        kind="credential",
        run=revocation.revoke,
        principals=EITHER,
        target="credential",
    ),
    ops.PolicyActivate: Rule(
        action=ActionType.OPERATOR_POLICY,
        kind="policy",
        run=policies.activate_policy,
        principals=ADMIN,
        current=policies.show_policy,
    ),
    ops.PolicyShow: Rule(
        action=ActionType.OPERATOR_READ, kind="policy", run=policies.show_policy, principals=ADMIN, mode=Mode.READS
    ),
    ops.PolicyRollback: Rule(
        action=ActionType.OPERATOR_POLICY,
        kind="policy",
        run=policies.roll_back_policy,
        principals=ADMIN,
        current=policies.show_policy,
    ),
    ops.ServerRegister: Rule(
        action=ActionType.OPERATOR_SERVER, kind="server", run=servers.register_server, principals=ADMIN
    ),
    ops.ServerList: Rule(
        action=ActionType.OPERATOR_READ, kind="server", run=servers.list_servers, principals=ADMIN, mode=Mode.READS
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


async def prevalidate(operation: ops.Operation) -> object:
    """Check what is slow to check before any transaction begins, and return what was found. Raises: Malformed."""
    if isinstance(operation, ops.DraftCreate | ops.DraftReplace):
        return await policies.find_findings(operation.module)
    if isinstance(operation, ops.PolicyActivate):
        await policies.validate_policy(operation.module)
    elif isinstance(operation, ops.ServerRegister):
        await asyncio.to_thread(servers.check_schemas, operation.tools)
    return None
