"""Reads the caller's own log from the ledger process, under a signed permit.

Which log is never a parameter: it is the cell's. Source: architecture.md "The ledger", attacks.md AU-2.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Protocol

import msgspec
from msgspec import Meta

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import TenantFacts
from partywall.decision.manifest import canonical_json
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Effect, Located, Prepared, Road
from partywall.errors import CallerFault, Malformed, NotFound, Unauthenticated, Unavailable
from partywall.signing import PermitSigner
from partywall.wire.audit import Search

SHOW_LIMIT: Final = 1_000
EXPORT_LIMIT: Final = 50_000
NEXT_START: Final = "partywall-next-start"
"""Reply header: where the next page starts; absent at the end of the log."""


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller may ask of its log. start: first sequence number; limit: leaves a page.

    search: with the modes `search` and `extract` (a filtered export), which it replaces start and limit of.
    """

    mode: Literal["show", "export", "checkpoint", "search", "extract"] = "show"
    start: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Annotated[int, Meta(ge=1, le=EXPORT_LIMIT)] = 100
    search: Search | None = None


class Page(Protocol):
    """One page of a log. body: canonical JSON; next_start: None at the end."""

    @property
    def body(self) -> bytes: ...
    @property
    def next_start(self) -> int | None: ...


class LogStatus(Protocol):
    """boot: the audience suffix of permits for the ledger process as it now runs."""

    @property
    def boot(self) -> str: ...


class LogReader(Protocol):
    """The ledger process, as `ledger.client.LedgerClient` reaches it."""

    async def read(self, permit: bytes, payload: bytes) -> Page: ...
    async def status(self) -> LogStatus: ...


class AuditProvider:
    """`audit.read` on `audit/*` of the caller's own cell."""

    kind = "audit"
    actions = frozenset({ActionType.AUDIT_READ})

    def __init__(self, ledger: LogReader, signer: PermitSigner, *, clock: Clock, region: str) -> None:
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        self._region = region
        self._boot: str | None = None

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the query of this cell's log. Raises: Malformed, about that log."""
        resource = Resource(region=self._region, tenant=facts.id, kind=self.kind, id="*")
        try:
            query = _parse(call.payload)
        except CallerFault as fault:
            fault.about = resource
            raise
        asked: dict[str, Any] = {"log": facts.id, "mode": query.mode}
        if query.search is None:
            asked |= {"start": query.start, "limit": query.limit}
        else:
            asked["search"] = _of_cell(query.search, f"pw:{self._region}:{facts.id}:")
        return Prepared(resource=resource, payload=canonical_json(asked))

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return this cell's own log, `*`. Raises: NotFound."""
        if name != "*":
            raise NotFound("there is no such thing here")
        return Located(Resource(region=self._region, tenant=facts.id, kind=self.kind, id="*"))

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return `*`: there is one log."""
        return ["*"]

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Return the page. Raises: the ledger's typed refusals; Unavailable."""
        now_s = self._clock()
        claims = permit.redeem(ActionType.AUDIT_READ, payload, now_s)
        try:
            page = await self._read(claims, payload, now_s)
        except Unauthenticated:
            # The ledger process restarted: its permits name another boot. This one was not taken, so it is not spent.
            self._boot = None
            page = await self._read_again(claims, payload, now_s)
        headers = {} if page.next_start is None else {NEXT_START: str(page.next_start)}
        return Effect(body=page.body, headers=headers)

    async def _read(self, claims: PermitClaims, payload: bytes, now_s: float) -> Page:
        if self._boot is None:
            self._boot = (await self._ledger.status()).boot
        return await self._ledger.read(self._signer.sign(claims, f"ledger/{self._boot}", now_s), payload)

    async def _read_again(self, claims: PermitClaims, payload: bytes, now_s: float) -> Page:
        try:
            return await self._read(claims, payload, now_s)
        except Unauthenticated as error:
            raise Unavailable("the ledger is out of reach", private=error.code, retry_after_s=1.0) from error


def _parse(payload: object) -> AuditQuery:
    try:
        query = msgspec.convert(payload, AuditQuery)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a valid request: {error}", code="bad-request") from error
    if query.mode == "show" and query.limit > SHOW_LIMIT:
        raise Malformed(f"at most {SHOW_LIMIT} leaves a page", code="bad-request")
    if (query.mode in {"search", "extract"}) != (query.search is not None):
        raise Malformed("filters go with a search or a filtered export", code="bad-request")
    return query


def _of_cell(search: Search, prefix: str) -> Search:
    """Return the search with a resource's whole name where `<kind>/<id>` was given."""
    resource = search.filters.resource
    if resource is None or resource.startswith("pw:"):
        return search
    return msgspec.structs.replace(search, filters=msgspec.structs.replace(search.filters, resource=prefix + resource))
