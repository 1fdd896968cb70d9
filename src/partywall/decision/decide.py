"""The decision: may this principal do this to that resource now. Deny is the meaning of every missing rule.

First the table of `checks`, then the policy's `grant`, cached on exactly what it sees, then its `arguments`, each time.
Pure: facts and time are arguments; the caches only remember what the same arguments gave. Source: ADR-0004.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from partywall.decision.action import PLATFORM, ActionClass, ActionType, Resource
from partywall.decision.checks import CHECKS, Case, case_of
from partywall.decision.envelope import Envelope
from partywall.decision.facts import TenantFacts
from partywall.decision.inputs import arguments_input, grant_inputs, live_grants
from partywall.decision.labels import Classification
from partywall.decision.manifest import canonical_json
from partywall.decision.policy import Answer, Policy, PolicyFailed
from partywall.decision.principal import Kind
from partywall.decision.rego import EnginePanicked
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Verdict
from partywall.wire.ids import TenantId

BASE_REVISION: Final = "base"
GRANTS_LIMIT: Final = 1_024
TENANTS_LIMIT: Final = 256
POLICIES_LIMIT: Final = 128
MENDING: Final = frozenset({ActionType.OPERATOR_POLICY})
"""Judged by the base policy alone: a tenant's policy that denies, or breaks on, its own replacement could never be
mended by anybody."""
_POLICY_ERROR: Final = "policy-error"
_Reply = TypeVar("_Reply")

_Key = tuple[
    Kind, str, TenantId | None, frozenset[ActionType] | None, Classification, str | None, ActionType, str, str, Resource
]


class _Grant(msgspec.Struct, frozen=True):
    """A remembered answer, true from when it was asked until the earliest expiry of what it rests on.

    arguments_prefix: JSON, left open. asks_arguments: the policy wants to see them too.
    """

    verdict: Allow | Deny
    from_s: float
    until_s: float
    arguments_prefix: str = ""
    asks_arguments: bool = False


class _Cell:
    """What is remembered of one snapshot of one tenant's facts; another snapshot starts anew."""

    __slots__ = ("facts", "grants", "revision")

    def __init__(self, facts: TenantFacts | None) -> None:
        self.facts = facts
        self.revision = BASE_REVISION if facts is None else facts.policy.revision
        self.grants: OrderedDict[_Key, _Grant] = OrderedDict()


class Decider:
    """Decides for one worker, on the thread that made it. All caches are bounded.

    Invariant: an answer is never taken from another snapshot of facts, another principal's rights, or past an expiry.
    """

    def __init__(self, compile_policy: Callable[[str | None], Policy] = Policy) -> None:
        """compile_policy: text of a tenant's module, or None for the base alone -> policy. Raises: PolicyFailed."""
        self._compile = compile_policy
        self._cells: OrderedDict[TenantId, _Cell] = OrderedDict()
        self._policies: OrderedDict[tuple[TenantId, str | None], Policy | None] = OrderedDict()

    def decide(
        self,
        envelope: Envelope,
        facts: TenantFacts | None,
        *,
        payload: Any,
        class_: ActionClass,
        known: bool,
        approved: bool,
        now_s: float,
    ) -> Verdict:
        """Return the verdict for one action.

        facts: the principal's tenant, one immutable snapshot; None (or those of `platform`) on the deployment's own
        resources. payload: parsed JSON or a msgspec struct. known: the cell holds the resource. approved: an approver
        bound this call's digest. now_s: Unix seconds.
        Raises: nothing; whatever fails denies. Invariant: adding a deny rule never widens. Source: ADR-0004.
        """
        cell = self._cell(facts)
        case = case_of(envelope, facts, now_s, known=known)
        refusal = refuse(case, cell.revision)
        if refusal is not None:
            return refusal
        grant = self._grant(cell, case)
        if isinstance(grant.verdict, Deny) or not grant.asks_arguments:
            return grant.verdict
        granted = grant.verdict

        def ask(policy: Policy) -> Verdict:
            answer = policy.arguments(arguments_input(grant.arguments_prefix, case, class_, payload))
            return _conclude(granted, answer, case, payload, approved=approved)

        return self._ask(cell, case, ask) or _policy_error(cell.revision)

    def redecide(self, envelope: Envelope, facts: TenantFacts | None, now_s: float) -> Verdict:
        """Return the verdict for an action already under way: everything again except its arguments."""
        cell = self._cell(facts)
        case = case_of(envelope, facts, now_s, known=True)
        return refuse(case, cell.revision) or self._grant(cell, case).verdict

    def _cell(self, facts: TenantFacts | None) -> _Cell:
        """Return the memory of exactly this snapshot: identity, so that no revision number can be mistaken."""
        if facts is None or facts.id == PLATFORM:
            facts = None
        tenant = PLATFORM if facts is None else facts.id
        cell = self._cells.get(tenant)
        if cell is None or cell.facts is not facts:
            cell = self._cells[tenant] = _Cell(facts)
            _bound(self._cells, TENANTS_LIMIT)
        self._cells.move_to_end(tenant)
        return cell

    def _grant(self, cell: _Cell, case: Case) -> _Grant:
        """Return the remembered answer, or ask. An error is not remembered."""
        key = _key(case)
        found = cell.grants.get(key)
        if found is not None and found.from_s <= case.now_s < found.until_s:
            cell.grants.move_to_end(key)
            return found

        def ask(policy: Policy) -> _Grant:
            held = live_grants(case)
            document, prefix = grant_inputs(case, cell.revision, held)
            answer, until_s = policy.grant(document), held.valid_until_s()
            if answer.deny is not None:
                return _Grant(Deny(answer.deny.reason, cell.revision, answer.deny.advice), case.now_s, until_s)
            allow = Allow(cell.revision, answer.obligations)
            return _Grant(allow, case.now_s, until_s, prefix, policy.has_arguments)

        grant = self._ask(cell, case, ask)
        if grant is None:
            return _Grant(_policy_error(cell.revision), case.now_s, case.now_s)
        cell.grants[key] = grant
        cell.grants.move_to_end(key)
        _bound(cell.grants, GRANTS_LIMIT)
        return grant

    def _ask(self, cell: _Cell, case: Case, question: Callable[[Policy], _Reply]) -> _Reply | None:
        """Return what the cell's policy answers; None, which denies, whatever goes wrong."""
        mends = case.envelope.action.type in MENDING
        module = None if cell.facts is None or mends else cell.facts.policy.module
        key = (PLATFORM if cell.facts is None or module is None else cell.facts.id, module)
        try:
            return question(self._policy(key))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the engine is no Exception
            if not isinstance(error, Exception) or isinstance(error, EnginePanicked):
                self._policies.pop(key, None)  # what a panic left inside is unknown
            return None

    def _policy(self, key: tuple[TenantId, str | None]) -> Policy:
        """Return the compiled policy. Raises: PolicyFailed, remembered too: compiling is dear."""
        if key not in self._policies:
            try:
                policy = self._compile(key[1])
            except PolicyFailed:
                policy = None
            self._policies[key] = policy
            _bound(self._policies, POLICIES_LIMIT)
        self._policies.move_to_end(key)
        found = self._policies[key]
        if found is None:
            raise PolicyFailed("it does not compile")
        return found


def refuse(case: Case, revision: str) -> Deny | None:
    """Return the first check's refusal, or None when all hold."""
    for check in CHECKS:
        if not check.holds(case):
            return Deny(check.reason, revision, check.advice, check.conceal)
    return None


def approval_digest(case: Case, payload: Any) -> str:
    """Return what an approver binds: SHA-256 (hex) of the canonical JSON of [action, resource, payload]."""
    action = case.envelope.action
    return hashlib.sha256(canonical_json([action.type, str(action.resource), payload])).hexdigest()


def _conclude(granted: Allow, answer: Answer, case: Case, payload: Any, *, approved: bool) -> Verdict:
    """Deny wins over approval, approval over allow; obligations add up."""
    revision = granted.policy_revision
    if answer.deny is not None:
        return Deny(answer.deny.reason, revision, answer.deny.advice)
    if answer.approve is not None and not approved:
        return NeedsApproval(approval_digest(case, payload), revision, answer.approve.reason)
    if not answer.obligations:
        return granted
    return Allow(revision, granted.obligations + answer.obligations)


def _key(case: Case) -> _Key:
    principal, action = case.principal, case.envelope.action
    return (
        principal.kind,
        principal.id,
        principal.tenant,
        principal.scopes,
        principal.clearance,
        principal.on_behalf_of,
        action.type,
        action.resource.kind,
        action.resource.id,
        action.resource,
    )


def _policy_error(revision: str) -> Deny:
    return Deny(_POLICY_ERROR, revision, "The policy could not be evaluated; a tenant administrator must mend it.")


def _bound(cache: OrderedDict[Any, Any], limit: int) -> None:
    while len(cache) > limit:
        cache.popitem(last=False)
