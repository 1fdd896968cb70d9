"""Operator actions: checked against the caller's own cell, then handed to the issuer under a signed permit.

The gateway holds no right over the control database: it names the operation, signs the permit that the wall gave it,
and the issuer checks both again. Source: architecture.md "Processes", ADR-0003.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from partywall.decision.action import CLASSES, PLATFORM, ActionClass, ActionType, Resource
from partywall.decision.facts import TenantFacts
from partywall.decision.manifest import canonical_json
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Effect, Located, Prepared, Road
from partywall.errors import BadReply, Bug, NotFound, Unauthenticated, Unavailable
from partywall.ipc import Client
from partywall.providers.operator.table import RULES, Owner, Rule, actions_of, parse_operation, rules_of, target_of
from partywall.signing import PermitSigner
from partywall.wire.control import IssuerReply, Perform, Performed
from partywall.wire.ids import TenantId, is_id
from partywall.wire.operations import Operation

CALL_LIMIT_S: Final = 30.0
SETTLE_LIMIT_S: Final = 2.0
REPLAYED: Final = "idempotency-replayed"
"""Reply header: an earlier request of the same Idempotency-Key did this, and that was its reply."""
_SUBJECTS: Final = ("agt_", "usr_")
_encode = msgspec.msgpack.Encoder().encode
_reply = msgspec.msgpack.Decoder(IssuerReply)


Settled = Callable[[], Awaitable[None]]
"""Returns once this worker's directory has asked again (`ControlDirectory.refresh`)."""


async def _at_once() -> None:
    """Nothing to wait for."""


async def settle(settled: Settled) -> None:
    """Wait so that this worker's next request sees a change: bounded, and never cancelled.

    A slow database delays what this worker sees, never the answer.
    """
    await asyncio.wait([asyncio.ensure_future(settled())], timeout=SETTLE_LIMIT_S)


class OperatorProvider:
    """Operations on one kind of resource (`providers/operator/table.py`).

    audience: returns `issuer/<boot id>`. refused: told when the issuer did not take a permit (it restarted): enrol
    again. settled: awaited after a change, so that this worker's next request already sees it. is_tenant: whether there
    is such a tenant here.
    """

    def __init__(
        self,
        kind: str,
        issuer: Client,
        signer: PermitSigner,
        *,
        audience: Callable[[], str],
        clock: Clock,
        region: str,
        refused: Callable[[], None] = lambda: None,
        settled: Settled = _at_once,
        is_tenant: Callable[[TenantId], bool] = lambda _tenant: False,
    ) -> None:
        self.kind = kind
        self.actions = actions_of(kind)
        self._issuer = issuer
        self._signer = signer
        self._audience = audience
        self._clock = clock
        self._region = region
        self._refused = refused
        self._settled = settled
        self._is_tenant = is_tenant

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the resource in the caller's own cell (or the platform's) and the operation's canonical bytes.

        Raises: Malformed; NotFound for a subject that is not in the cell; Bug when the door misnamed the action.
        """
        operation = parse_operation(call.payload)
        rule = RULES[type(operation)]
        if (rule.action, rule.kind, target_of(operation)) != (call.action, call.kind, call.name):
            raise Bug("a door named another action than its operation", private=str(call.action))
        if rule.owner is Owner.TENANT and facts.id == PLATFORM:
            raise NotFound("there is no such thing here")
        _known(operation, facts)
        owner = PLATFORM if rule.owner is Owner.PLATFORM else facts.id
        resource = Resource(region=self._region, tenant=owner, kind=rule.kind, id=call.name)
        return Prepared(resource=resource, payload=canonical_json(operation), also_log=self._told(rule, operation))

    def _told(self, rule: Rule, operation: Operation) -> TenantId | None:
        """Return the tenant that must hear of this; what is no tenant here has no log, and the issuer will say so."""
        tenant = None if rule.tells is None else TenantId(getattr(operation, rule.tells))
        return tenant if tenant is not None and self._is_tenant(tenant) else None

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return what an operation of this action could be on: `*`, a subject of this cell, or a credential.

        Raises: NotFound. Keys and tokens are the issuer's to know: any id stands for one here, as in `prepare`.
        """
        for rule in rules_of(action, self.kind):
            found = _target(rule, name, facts)
            if found is not None:
                owner = PLATFORM if rule.owner is Owner.PLATFORM else facts.id
                return Located(Resource(region=self._region, tenant=owner, kind=self.kind, id=found))
        raise NotFound("there is no such thing here")

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return `*` and the slugs of subjects, as far as an operation of this action can be on them."""
        targets = {rule.target for rule in rules_of(action, self.kind) if rule.owner is not Owner.PLATFORM}
        subjects = sorted(subject.slug for subject in facts.subjects.values()) if "subject" in targets else []
        return (["*"] if None in targets else []) + subjects

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Have the issuer do it. Raises: its typed refusals; Unavailable; BadReply."""
        now_s = self._clock()
        action = RULES[type(parse_operation(msgspec.json.decode(payload)))].action
        claims = permit.redeem(action, payload, now_s)
        if claims.action.resource.kind != self.kind:
            raise Bug("a permit of another provider", private=claims.id)
        done = await self._hand_over(claims, payload, now_s)
        if (
            CLASSES[action] is ActionClass.EFFECT and action is not ActionType.OPERATOR_TOKEN
        ):  # no fact of the directory
            await settle(self._settled)
        return Effect(body=done.body, headers={REPLAYED: "true"} if done.replayed else {})

    async def _hand_over(self, claims: PermitClaims, payload: bytes, now_s: float) -> Performed:
        signed = self._signer.sign(claims, self._audience(), now_s)
        deadline_s = max(0.05, min(claims.expires_at_s - now_s, CALL_LIMIT_S))
        try:
            raw_reply = await self._issuer.call(_encode(Perform(signed, payload)), timeout_s=deadline_s)
        except Unauthenticated as error:
            # The issuer did not take this worker's word, not the caller's: its boot or our certificate has ended.
            self._refused()
            raise Unavailable("the issuer is out of reach", private=error.code, retry_after_s=1.0) from error
        return answered(raw_reply)


def _target(rule: Rule, name: str, facts: TenantFacts) -> str | None:
    """Return the id part of the resource that name means under a rule, or None."""
    if rule.target is None:
        return name if name == "*" else None
    if rule.target == "credential" and is_id(name, name[:3]) and not name.startswith(_SUBJECTS):
        return name
    if rule.target == "tenant":
        return name if is_id(name, "ten") else None
    return next((one.id for one in facts.subjects.values() if name in {one.id, one.slug}), None)


def _known(operation: Operation, facts: TenantFacts) -> None:
    """Raises: NotFound when a subject that the operation names is none of the cell (keys and tokens: the issuer's)."""
    for field in ("subject", "on_behalf_of", "credential"):
        named = getattr(operation, field, None)
        if named is None or not named.startswith(_SUBJECTS):
            continue
        if named not in facts.subjects:
            raise NotFound("there is no such subject")


def performed(raw_reply: bytes) -> bytes:
    """Return the body of the issuer's answer to Perform or Bootstrap. Raises: BadReply."""
    return answered(raw_reply).body


def answered(raw_reply: bytes) -> Performed:
    """Return the issuer's answer to Perform or Bootstrap. Raises: BadReply."""
    try:
        reply: Any = _reply.decode(raw_reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadReply("the issuer answered something else") from error
    if not isinstance(reply, Performed):
        raise BadReply("the issuer answered something else")
    return reply
