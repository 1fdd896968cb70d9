"""The only road: everything that happens for anyone passes `Pipeline.submit`, top to bottom, or not at all.

    facts -> prepare -> decide -> permit -> intent -> perform -> obligations -> outcome -> reply

No intent record, no effect; no intent without an outcome (the ledger's sweeper closes what a dead worker left). What is
out of reach means no. Source: ADR-0001, ADR-0003, docs/request-path.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from partywall.cell import Cell
from partywall.decision.action import PLATFORM, Action, ActionClass, ActionType, Resource, class_of
from partywall.decision.decide import Decider
from partywall.decision.envelope import MAX_DEPTH, Envelope
from partywall.decision.facts import State, TenantFacts
from partywall.decision.mint import mint
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Delta, Directory, Effect, Ledger, Prepared, Provider
from partywall.decision.principal import Principal
from partywall.decision.record import Phase, Record, Result
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Verdict
from partywall.errors import (
    ApprovalRequired,
    Bug,
    CallerFault,
    Denied,
    LimitExceeded,
    NotFound,
    PartywallError,
    ProviderTimeout,
    Unauthenticated,
    Unavailable,
)
from partywall.gateway.obligations import Shaper, shape_json
from partywall.gateway.stream import OpenStream, StreamRegistry
from partywall.settings import GatewaySettings
from partywall.telemetry.log import Log
from partywall.wire.ids import ActId, OrganisationId, PermitId, TenantId

CONTENT = frozenset(
    {
        ActionType.MODEL_REQUEST,
        ActionType.TOOL_CALL,
        ActionType.TOOL_LIST,
        ActionType.MEMORY,
        ActionType.RETRIEVAL_SEARCH,
        ActionType.QUERY,
    }
)
"""Actions whose reply is content: obligations apply, and our own credentials never come back in it."""


class _Journey(msgspec.Struct):
    """One action on the road, as far as it has come."""

    envelope: Envelope
    facts: TenantFacts
    call: Call
    action_class: ActionClass
    prepared: Prepared | None
    fault: CallerFault | None = None
    policy_revision: str = ""
    told: bool = False

    def record(self, phase: Phase, now_s: float, **what: object) -> Record:
        """Return the ledger's record of this action at this point."""
        envelope, principal = self.envelope, self.envelope.principal
        fields: dict[str, object] = {
            "phase": phase,
            "log": envelope.tenant,
            "act": envelope.act,
            "time_s": now_s,
            "action": envelope.action.type,
            "action_class": self.action_class,
            "resource": str(envelope.action.resource),
            "principal_kind": principal.kind.value,
            "principal_id": principal.id,
            "trace_id": envelope.trace_id,
            "region": principal.region,
            "agent_instance": principal.session,
            "user": principal.on_behalf_of,
            "credential": principal.credential,
            "parent": envelope.parent,
            "parameters": self.call.parameters,
            "policy_revision": self.policy_revision,
        }
        if envelope.label is not None:
            fields["classification"] = int(envelope.label.classification)
        fields.update(what)
        return Record(**fields)  # type: ignore[arg-type]

    def copy(self, record: Record) -> Record | None:
        """Return the record for the log of the tenant that this is done to from outside, without the credential."""
        also = None if self.prepared is None else self.prepared.also_log
        return None if also is None else msgspec.structs.replace(record, log=also, credential=None)


class Pipeline:
    """The road of one worker. providers: by resource kind, e.g. `model`, `tool`, `memory`, `audit`."""

    def __init__(
        self,
        *,
        directory: Directory,
        ledger: Ledger,
        decider: Decider,
        providers: Mapping[str, Provider],
        settings: GatewaySettings,
        region: str,
        clock: Clock,
        new_id: Callable[[str], str],
        log: Log,
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._decider = decider
        self._providers = providers
        self._settings = settings
        self._region = region
        self._clock = clock
        self._new_id = new_id
        self._log = log
        self.streams = StreamRegistry(self._still_allowed, recheck_s=settings.stream_recheck_s)
        directory.on_change(self.streams.recheck)
        self._recording: set[asyncio.Future[None]] = set()

    async def submit(self, principal: Principal, call: Call, *, parent: PermitClaims | None = None) -> Effect:
        """Take one action down the road and return its effect.

        Raises: Denied, ApprovalRequired, NotFound, Malformed, LimitExceeded; Unavailable (nothing happened, unless its
        code is `outcome-unrecorded`); ProviderFault (the intent is recorded, and so is the failure).
        """
        cell = Cell(self._facts_of(principal), self._providers)
        provider = cell.providers.get(call.kind)
        journey = self._prepare(principal, call, cell.facts, provider, parent)
        verdict = self._decide(journey)
        if not isinstance(verdict, Allow):
            raise await self._refuse(journey, verdict)
        if journey.fault is not None:
            await self._record_refusal(journey, "deny", journey.fault.code)
            raise journey.fault
        assert provider is not None
        assert journey.prepared is not None
        payload, note = journey.prepared.payload, journey.prepared.note
        permit_id = PermitId(self._new_id("prm"))
        permit = mint(journey.envelope, verdict, payload, permit_id=permit_id, now_s=self._clock(), note=note)
        await self._record_intent(journey, permit)
        effect = await self._perform(journey, provider, permit, payload)
        return await self._deliver(journey, effect, Shaper(verdict.obligations))

    # --- before the decision ------------------------------------------------------------------------------------------

    def _facts_of(self, principal: Principal) -> TenantFacts:
        """Return the facts of the principal's tenant, and of no other. Raises: Unavailable when they are old."""
        if self._directory.age_s() > self._settings.facts_limit_age_s:
            raise Unavailable("the control database is out of reach", code="facts-stale", retry_after_s=1.0)
        if principal.tenant is None:
            return TenantFacts(
                id=PLATFORM,
                slug="platform",
                organisation=OrganisationId(""),
                region=self._region,
                state=State.ACTIVE,
                revision=self._directory.revision,
            )
        facts = self._directory.tenant(principal.tenant)
        if facts is None:
            raise Unauthenticated("not authenticated")
        return facts

    def _prepare(
        self,
        principal: Principal,
        call: Call,
        facts: TenantFacts,
        provider: Provider | None,
        parent: PermitClaims | None,
    ) -> _Journey:
        """Make the call exact: what it names inside this cell, and the bytes that would be sent."""
        now_s = self._clock()
        prepared: Prepared | None = None
        fault: CallerFault | None = None
        try:
            if provider is not None and call.action in provider.actions:
                prepared = provider.prepare(call, facts)
        except NotFound:
            prepared = None
        except CallerFault as error:
            if not isinstance(error.about, Resource):
                raise
            fault = error
        resource = self._named(facts, call, prepared, fault)
        timeout_s = min(call.timeout_s or self._settings.request_timeout_s, self._settings.request_timeout_s)
        deadline_s = now_s + timeout_s
        envelope = Envelope(
            act=ActId(self._new_id("act")),
            principal=principal,
            action=Action(call.action, resource),
            tenant=facts.id,
            trace_id=call.trace_id,
            received_at_s=now_s,
            deadline_s=deadline_s if parent is None else min(deadline_s, parent.expires_at_s),
            parent=None if parent is None else parent.act,
            depth=0 if parent is None else parent.depth + 1,
        )
        hosted = prepared is not None and prepared.hosted
        return _Journey(envelope, facts, call, class_of(call.action, hosted=hosted), prepared, fault)

    def _named(self, facts: TenantFacts, call: Call, prepared: Prepared | None, fault: CallerFault | None) -> Resource:
        if prepared is not None:
            return prepared.resource
        if fault is not None and isinstance(fault.about, Resource):
            return fault.about
        return _unknown(self._region, facts.id, call)

    def _decide(self, journey: _Journey) -> Verdict:
        envelope = journey.envelope
        if envelope.depth > MAX_DEPTH:
            return Deny("too-deep", "base", "Nested actions go at most 8 deep.")
        if journey.fault is not None:  # there are no arguments to judge: may the caller know of this thing at all?
            verdict = self._decider.redecide(envelope, journey.facts, self._clock())
            journey.policy_revision = verdict.policy_revision
            return verdict
        verdict = self._decider.decide(
            envelope,
            journey.facts,
            payload=journey.call.payload,
            class_=journey.action_class,
            known=journey.prepared is not None,
            approved=False,
            now_s=self._clock(),
        )
        journey.policy_revision = verdict.policy_revision
        return verdict

    async def _refuse(self, journey: _Journey, verdict: Deny | NeedsApproval) -> PartywallError:
        """Put the refusal on disk, then return what the caller is told."""
        word = "deny" if isinstance(verdict, Deny) else "needs-approval"
        await self._record_refusal(journey, word, verdict.reason)
        if isinstance(verdict, NeedsApproval):
            return ApprovalRequired(f"this call needs an approval that binds {verdict.digest}")
        if verdict.conceal:
            return NotFound("there is no such thing here")
        advice = f" {verdict.advice}" if verdict.advice else ""
        return Denied(f"denied by policy: {verdict.reason}.{advice}", code=f"denied-{verdict.reason}")

    async def _record_refusal(self, journey: _Journey, word: str, reason: str) -> None:
        record = journey.record(Phase.DENIAL, self._clock(), verdict=word, reason=reason)
        await self._append(record, durable=True)

    # --- the effect ---------------------------------------------------------------------------------------------------

    async def _record_intent(self, journey: _Journey, permit: Permit) -> None:
        durable = journey.action_class is not ActionClass.INTERNAL_READ
        record = journey.record(Phase.INTENT, self._clock(), payload_sha256=permit.claims.payload_sha256)
        try:
            await self._append(record, durable=durable)
        except asyncio.CancelledError:  # it is written all the same (`Ledger.append`), and nothing follows it
            await asyncio.shield(self._close_failed(journey, Result.CANCELLED, reason="cancelled"))
            raise
        copy = journey.copy(record)
        if copy is not None:
            await self._tell(journey, copy)

    async def _tell(self, journey: _Journey, intent: Record) -> None:
        """Have the log of the tenant that this is done to say so too, on disk, before it is done."""
        telling = asyncio.ensure_future(self._told(journey, intent))
        try:
            await asyncio.shield(telling)
        except asyncio.CancelledError:
            await asyncio.shield(self._untold(journey, telling))
            raise

    async def _told(self, journey: _Journey, intent: Record) -> None:
        try:
            await self._append(intent, durable=True)
        except Unavailable:
            await self._close_failed(journey, Result.FAILED, reason="tenant-not-told")
            raise
        journey.told = True

    async def _untold(self, journey: _Journey, telling: asyncio.Future[None]) -> None:
        """Close what was begun when its caller went away while the tenant was told."""
        await asyncio.wait((telling,))
        if telling.exception() is None:
            await self._close_failed(journey, Result.CANCELLED, reason="cancelled")

    async def _append(self, record: Record, *, durable: bool) -> None:
        try:
            await self._ledger.append(record, durable=durable)
        except Unavailable:
            raise
        except PartywallError as error:
            raise Unavailable("the ledger refused", private=error.code, retry_after_s=1.0) from error

    async def _perform(self, journey: _Journey, provider: Provider, permit: Permit, payload: bytes) -> Effect:
        """Let the provider act once; whatever it does wrong ends as an outcome."""
        deadline = _Deadline(journey.envelope.deadline_s - self._clock())
        try:
            return await provider.perform(permit, payload, BoundRoad(self, permit.claims))
        except asyncio.CancelledError:
            if deadline.passed():
                await self._close_failed(journey, Result.UNKNOWN, reason="timeout")
                raise ProviderTimeout("the provider did not answer in time") from None
            await asyncio.shield(self._close_failed(journey, Result.CANCELLED, reason="cancelled"))
            raise
        except PartywallError as error:
            result = Result.UNKNOWN if isinstance(error, ProviderTimeout) else Result.FAILED
            await self._close_failed(journey, result, reason=error.code)
            raise
        except Exception as error:
            self._log.error("provider.crashed", error, action=journey.envelope.action.type.value)
            await self._close_failed(journey, Result.UNKNOWN, reason="internal")
            raise Bug("internal error") from error
        finally:
            deadline.stop()

    async def _deliver(self, journey: _Journey, effect: Effect, shaper: Shaper) -> Effect:
        """Apply the obligations, record the outcome, and return what the caller receives."""
        effect.label = shaper.label(effect.label)
        if not isinstance(effect.body, bytes):
            effect.body = self._open_stream(journey, effect, effect.body, shaper)
            return effect
        if journey.call.action in CONTENT:
            effect.body = await self._shaped(journey, effect.body, shaper)
        if len(effect.body) > self._settings.reply_limit_bytes:
            await self._close(journey, Result.CUT, reason="reply-too-large", usage=effect.usage)
            raise LimitExceeded("the reply is too large", code="reply-too-large")
        await self._close(
            journey,
            Result.COMPLETE if effect.error is None else Result.FAILED,
            reason=effect.error or "",
            usage=effect.usage,
            emitted_bytes=len(effect.body),
            emitted_sha256=hashlib.sha256(effect.body).digest(),
            **({"parameters": journey.call.parameters | effect.parameters} if effect.parameters else {}),
        )
        return effect

    async def _shaped(self, journey: _Journey, body: bytes, shaper: Shaper) -> bytes:
        try:
            return shape_json(body, shaper)
        except Exception as error:  # not JSON, or too deep to look into: nobody may see it
            self._log.error("reply.unshapable", error, action=journey.call.action.value)
            await self._close_failed(journey, Result.FAILED, reason="internal")
            raise Bug("internal error") from error

    def _open_stream(
        self, journey: _Journey, effect: Effect, deltas: AsyncIterator[Delta], shaper: Shaper
    ) -> AsyncIterator[bytes]:
        async def closed(stream: OpenStream) -> None:
            if stream.bug is not None:
                self._log.error("stream.broke", stream.bug, act=journey.envelope.act)
            await self._close_failed(  # what was sent cannot be withheld any more
                journey,
                Result.FAILED if effect.error is not None and stream.result is Result.COMPLETE else stream.result,
                reason=stream.reason or effect.error or "",
                usage=effect.usage,
                emitted_bytes=stream.emitted_bytes,
                emitted_sha256=stream.emitted_sha256,
            )

        stream = OpenStream(
            deltas,
            shaper,
            render=effect.render,
            envelope=journey.envelope,
            reply_limit_bytes=self._settings.reply_limit_bytes,
            closed=closed,
        )
        return self.streams.open(stream, seconds_left=journey.envelope.deadline_s - self._clock())

    async def _close(self, journey: _Journey, result: Result, *, reason: str = "", **what: object) -> None:
        """Record the outcome. Raises: Unavailable(`outcome-unrecorded`): the effect happened, its record did not."""
        record = journey.record(Phase.OUTCOME, self._clock(), result=result, reason=reason, **what)
        copy = journey.copy(record) if journey.told else None
        try:
            if copy is None:
                await self._ledger.append(record, durable=False)
            else:
                await self._append_both(copy, record)
        except PartywallError as error:
            self._log.error("outcome.unrecorded", error, act=journey.envelope.act, result=result.value)
            raise Unavailable(
                "the action was carried out, but its outcome could not be recorded",
                code="outcome-unrecorded",
                retry_after_s=5.0,
            ) from error

    async def _append_both(self, copy: Record, record: Record) -> None:
        """Record an outcome in both logs, though the caller goes away between them. Raises: PartywallError."""

        async def both() -> None:
            await self._ledger.append(copy, durable=False)
            await self._ledger.append(record, durable=False)

        recording = asyncio.ensure_future(both())
        self._recording.add(recording)
        recording.add_done_callback(self._recorded)
        await asyncio.shield(recording)

    def _recorded(self, recording: asyncio.Future[None]) -> None:
        self._recording.discard(recording)
        if not recording.cancelled() and (error := recording.exception()) is not None:
            self._log.error("outcome.unrecorded", error)

    async def _close_failed(self, journey: _Journey, result: Result, *, reason: str, **what: object) -> None:
        """Record the outcome of what failed or was sent already: the caller hears that, whether or not this works."""
        with contextlib.suppress(Unavailable):
            await self._close(journey, result, reason=reason, **what)

    # --- open streams -------------------------------------------------------------------------------------------------

    def _still_allowed(self, envelope: Envelope) -> str | None:
        """Return why a stream must end now, or None."""
        principal = envelope.principal
        try:
            facts = self._facts_of(principal)
        except PartywallError as error:
            return error.code
        credentials = (principal.credential, principal.id, principal.session, principal.on_behalf_of)
        if any(one is not None and self._directory.is_revoked(one) for one in credentials):
            return "revoked"
        verdict = self._decider.redecide(envelope, facts, self._clock())
        return None if isinstance(verdict, Allow) else verdict.reason


class _Deadline:
    """Cancels the current task when the time is over; what `asyncio.timeout` does, for once in a task's life."""

    __slots__ = ("_handle", "_passed", "_task")

    def __init__(self, seconds: float) -> None:
        self._passed = False
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._end)

    def passed(self) -> bool:
        """Whether it was this deadline that cancelled, and nobody else besides."""
        return self._passed and self._task is not None and self._task.uncancel() == 0

    def stop(self) -> None:
        """The work is over."""
        self._handle.cancel()

    def _end(self) -> None:
        self._passed = True
        if self._task is not None:
            self._task.cancel()


class BoundRoad:
    """A provider's way to cause another action: the same road, one level deeper. Source: ADR-0003."""

    __slots__ = ("_claims", "_pipeline")

    def __init__(self, pipeline: Pipeline, claims: PermitClaims) -> None:
        self._pipeline = pipeline
        self._claims = claims

    async def submit(self, call: Call) -> Effect:
        """Run the whole road for a child action of this permit's principal."""
        return await self._pipeline.submit(self._claims.principal, call, parent=self._claims)


def _unknown(region: str, tenant: TenantId, call: Call) -> Resource:
    """Return a stand-in for what the call names: a digest, so that no caller's text becomes a resource name."""
    digest = hashlib.sha256(call.name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Resource(region, tenant, call.kind, f"~{digest}")
