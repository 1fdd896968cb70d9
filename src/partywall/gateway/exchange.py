"""The token exchange at the door (RFC 8693): who asks is found out first, then that principal asks on its own road.

A credential of ours is resolved here, as at every door. A foreign token is resolved by the issuer, which alone verifies
those, and will verify it again before it signs anything. What is refused before anybody is known takes the road as
`system:federation`, so that it is on record: in the log of the tenant whose provider signed the token, when one did,
else in the platform's. Source: ADR-0011, docs/request-path.md.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NoReturn, Protocol

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Clock, Directory
from partywall.decision.principal import Kind, Principal
from partywall.errors import Bug, Denied, Malformed, Unauthenticated, Unavailable
from partywall.gateway.asking import Asking
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.http import Request
from partywall.gateway.oauth_errors import NOT_ACCEPTED
from partywall.gateway.rest import Allowance, Submitter
from partywall.providers.operator import table
from partywall.providers.operator.federation import KIND
from partywall.wire import operations as ops
from partywall.wire.control import Identified, Unidentified
from partywall.wire.ids import TenantId
from partywall.wire.oauth import (
    TRANSACTION_TOKEN,
    ExchangeRequest,
    ShownToken,
    audience_tenant,
    issuer_of,
    parse_exchange,
)

REFUSALS_BURST: Final = 60
REFUSALS_REFILL_S: Final = 0.2
TENANTS_LIMIT: Final = 1_024
"""Of whose refusals are counted apart."""
_builtins = msgspec.to_builtins
_MEMBERS: Final = frozenset({Kind.AGENT, Kind.USER, Kind.TENANT_ADMIN})


class Identifier(Protocol):
    """The issuer, asked whom a foreign token stands for (`providers/operator/federation.py`)."""

    async def identify(self, raw_token: str, tenant: str | None) -> Identified | Unidentified: ...


class Shown(msgspec.Struct, frozen=True):
    """A principal, and the foreign token that stands for it: None when it came with a credential of ours."""

    principal: Principal
    raw: str | None
    provider: str | None = None


class TokenExchange:
    """The grant `token-exchange` of one worker."""

    def __init__(
        self,
        pipeline: Submitter,
        authenticator: Authenticator,
        directory: Directory,
        identifier: Identifier,
        *,
        region: str,
        trust_domain: str,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._directory = directory
        self._identifier = identifier
        self._region = region
        self._trust_domain = trust_domain
        self._clock = clock
        self._refusals: OrderedDict[str | None, Allowance] = OrderedDict()
        self._asking = Asking()

    async def __call__(self, request: Request, form: Mapping[str, str]) -> bytes:
        """Return the token reply. Raises: as the road and the issuer do; Denied for what is not accepted."""
        asked = parse_exchange(form, region=self._region)
        if asked.requested == TRANSACTION_TOKEN:
            return await self._transaction(request, asked)
        acting = await self._who(request, asked.actor or asked.subject, asked.tenant)
        request.of(acting.principal.tenant)
        user = await self._user(request, asked, acting.principal)
        operation = ops.TokenExchange(
            subject=acting.principal.id,
            token=acting.raw,
            user=None if user is None else user.principal.id,
            user_token=None if user is None else asked.subject.raw,
            scopes=_actions(asked.scopes),
        )
        given = {"idp": acting.provider, "user_idp": None if user is None else user.provider}
        noted = {name: value for name, value in given.items() if value is not None}
        return await self._submit(request, acting.principal, operation, noted)

    async def _transaction(self, request: Request, asked: ExchangeRequest) -> bytes:
        if asked.actor is not None or not asked.scopes:
            raise Malformed("a transaction token takes a scope, and no actor_token", code="invalid-request")
        if asked.audience not in {None, self._trust_domain}:
            raise Malformed(f"audience is {self._trust_domain}", code="invalid-target")
        principal = await self._own(request, asked.subject)
        request.of(principal.tenant)
        operation = ops.TransactionCreate(
            subject=principal.id, scopes=_actions(asked.scopes) or [], details=asked.details, context=asked.context
        )
        return await self._submit(request, principal, operation, {})

    async def _submit(
        self, request: Request, principal: Principal, operation: ops.Operation, noted: Mapping[str, Any]
    ) -> bytes:
        rule = table.RULES[type(operation)]
        call = Call(
            action=rule.action,
            kind=rule.kind,
            name=table.target_of(operation),
            payload=_builtins(operation),
            trace_id=request.trace_id,
            parameters=table.parameters_of(operation) | dict(noted),
        )
        effect = await self._pipeline.submit(principal, call)
        if not isinstance(effect.body, bytes):
            raise Bug("a token is a stream")
        return effect.body

    # --- who asks -----------------------------------------------------------------------------------------------------

    async def _user(self, request: Request, asked: ExchangeRequest, acting: Principal) -> Shown | None:
        """Return for whom the actor acts. Raises: Denied, also for one who could not let anybody act."""
        if asked.actor is None:
            return None
        user = await self._who(request, asked.subject, acting.tenant)
        mine = user.principal
        if acting.kind is not Kind.AGENT or mine.kind is Kind.AGENT or mine.credential.startswith("key_"):
            raise Malformed("an agent acts (actor_token) for a user's token (subject_token)", code="invalid-request")
        return user

    async def _who(self, request: Request, shown: ShownToken, tenant: str | None) -> Shown:
        if shown.raw.startswith("pw_") or issuer_of(shown.raw) == f"partywall/{self._region}":
            principal = await self._own(request, shown)
            if tenant is not None and principal.tenant != tenant:
                await self._refuse(request, "assertion-tenant")
            return Shown(principal, None)
        try:
            with self._asking.turn(tenant or audience_tenant(shown.raw, region=self._region)):
                found = await self._identifier.identify(shown.raw, tenant)
        except Unavailable as error:  # nobody's keys, nobody's word: a refusal like any other
            await self._record(request, error.code)
            raise
        if isinstance(found, Unidentified):
            await self._refuse(request, found.reason, found)
        return Shown(self._principal(found), shown.raw, found.provider)

    async def _own(self, request: Request, shown: ShownToken) -> Principal:
        try:
            principal = self._authenticator.authenticate(shown.raw)
        except Unauthenticated:
            await self._refuse(request, "assertion-credential")
        if principal.kind not in _MEMBERS:
            await self._refuse(request, "assertion-kind")
        return principal

    def _principal(self, found: Identified) -> Principal:
        """Return who a foreign token stands for, as far as the road needs it: the issuer looks again."""
        scopes = None if found.scopes is None else frozenset(ActionType(scope) for scope in found.scopes)
        return Principal(
            kind=Kind(found.kind),
            id=found.subject,
            region=self._region,
            tenant=TenantId(found.tenant),
            credential=found.credential,
            expires_at_s=found.expires_at_s,
            # Scopes bound what the token will carry; asking for the token itself needs none of them.
            scopes=None if scopes is None else scopes | {ActionType.OPERATOR_TOKEN},
        )

    # --- who is refused -----------------------------------------------------------------------------------------------

    async def _refuse(self, request: Request, reason: str, found: Unidentified | None = None) -> NoReturn:
        """Raises: Denied, once it is on record; LimitExceeded when there are too many to record."""
        await self._record(request, reason, found)
        raise Denied(NOT_ACCEPTED, code=reason)

    async def _record(self, request: Request, reason: str, found: Unidentified | None = None) -> None:
        """Put a refusal on record. Raises: LimitExceeded, Unavailable."""
        tenant = None if found is None else found.tenant
        if tenant is not None and self._directory.tenant(TenantId(tenant)) is None:
            tenant = None
        self._allowance(tenant).take()
        parameters: dict[str, Any] = {"operation": "token.exchange", "refused": reason}
        if tenant is not None and found is not None:
            parameters |= {"idp": found.provider, "external_subject": found.subject}
        call = Call(
            action=ActionType.OPERATOR_TOKEN,
            kind=KIND,
            name="*",
            payload={"reason": reason},
            trace_id=request.trace_id,
            parameters=parameters,
        )
        with contextlib.suppress(Denied):
            await self._pipeline.submit(self._system(tenant), call)

    def _allowance(self, tenant: str | None) -> Allowance:
        allowance = self._refusals.get(tenant)
        if allowance is None:
            allowance = Allowance(self._clock, burst=REFUSALS_BURST, refill_s=REFUSALS_REFILL_S)
            self._refusals[tenant] = allowance
            if len(self._refusals) > TENANTS_LIMIT:
                self._refusals.popitem(last=False)
        self._refusals.move_to_end(tenant)
        return allowance

    def _system(self, tenant: str | None) -> Principal:
        return Principal(
            kind=Kind.SYSTEM,
            id="system:federation",
            region=self._region,
            tenant=None if tenant is None else TenantId(tenant),
            credential="federation",
            expires_at_s=self._clock() + 60.0,
            scopes=frozenset({ActionType.OPERATOR_TOKEN}),
        )


def _actions(scopes: list[str] | None) -> list[str] | None:
    """Return the scopes. Raises: Malformed (`invalid-scope`) for what is no action."""
    known = {action.value for action in ActionType}
    if unknown := next((scope for scope in scopes or () if scope not in known), None):
        raise Malformed(f"there is no action {unknown[:64]}", code="invalid-scope")
    return scopes
