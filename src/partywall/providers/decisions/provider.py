"""The decision provider: other systems ask what the wall would answer, for subjects of their own tenant.

Who may ask: a tenant-admin; a subject granted `decision.evaluate` or `decision.search` on `decision/*`; and anybody
about itself, which is the resource `decision/<own id>`. Asking takes the road and is recorded with whom it was about
and what the answer was. Source: docs/adr/0014-authzen.md, attacks.md AZ-1.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.decide import Decider
from partywall.decision.facts import TenantFacts
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Clock, Directory, Effect, Prepared, Provider, Road
from partywall.errors import Bug, Malformed, NotFound
from partywall.providers.decisions.evaluate import Answered, Evaluator
from partywall.providers.decisions.naming import SUBJECT_TYPES, find_subject
from partywall.providers.decisions.search import candidates
from partywall.wire.authzen import Entity, Evaluation, Evaluations, Question, Search, next_token

WORK_LIMIT: Final = 100
"""Candidates that one search looks at; it goes on with the page's token."""
CPU_LIMIT_S: Final = 0.25
"""Processor time of one request: a slow policy is the tenant's own, and its neighbours on this worker do not wait."""
BREATH_S: Final = 0.002
"""After so much of it the others get their turn."""
RECORDED_LIMIT: Final = 12
TOO_SLOW: Final = {
    "reason": "too-slow",
    "error": {"status": 503, "message": "the policy took too long for this many at once: ask for fewer"},
}
_encode = msgspec.json.Encoder(order="deterministic").encode


class DecisionProvider:
    """Kind `decision`. Resource ids: `*`, or a subject's own id when it asks about nobody but itself.

    directory: the facts, read for the permit's tenant only. decider: of its own. providers: the road's, as they will be
    when the first question comes. cpu: seconds of processor time of this thread.
    """

    kind = "decision"
    actions = frozenset({ActionType.DECISION_EVALUATE, ActionType.DECISION_SEARCH})

    def __init__(
        self,
        directory: Directory,
        decider: Decider,
        providers: Callable[[], Mapping[str, Provider]],
        *,
        clock: Clock,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._directory = directory
        self._decider = decider
        self._providers = providers
        self._clock = clock
        self._cpu = cpu
        self._evaluator: Evaluator | None = None

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the question's canonical bytes. call.name: the id of who asks; call.payload: a `Question`.

        Raises: Malformed for a payload that is none, or of the other action.
        """
        question = call.payload
        asked = ActionType.DECISION_SEARCH if isinstance(question, Search) else ActionType.DECISION_EVALUATE
        if not isinstance(question, (Evaluations, Search)) or asked is not call.action:
            raise Malformed("not a question that is asked here", code="bad-request")
        own = _only_about(question, call.name, facts)
        resource = Resource(facts.region, facts.id, self.kind, call.name if own else "*")
        return Prepared(resource=resource, payload=_encode(question), note=question)

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Answer the question. Raises: NotFound when the tenant has gone meanwhile."""
        claims = permit.redeem(permit.claims.action.type, payload, self._clock())
        facts = self._facts(claims)
        if isinstance(permit.note, Evaluations):
            return await self._evaluate(permit.note, claims, facts)
        if isinstance(permit.note, Search):
            return await self._search(permit.note, claims, facts)
        raise Bug("a permit of another provider", private=claims.id)

    def _facts(self, claims: PermitClaims) -> TenantFacts:
        facts = self._directory.tenant(claims.tenant)
        if facts is None:
            raise NotFound("there is no such thing here")
        return facts

    async def _evaluate(self, asked: Evaluations, claims: PermitClaims, facts: TenantFacts) -> Effect:
        evaluator, turns = self._ready(), _Turns(self._cpu)
        answers: list[Answered] = []
        replies: list[dict[str, Any]] = []
        for item in asked.items:
            if await turns.over():
                replies += [{"decision": False, "context": TOO_SLOW}] * (len(asked.items) - len(replies))
                break
            answers.append(evaluator.evaluate(item, claims, facts))
            replies.append(answers[-1].reply())
            if _ends(asked, permitted=answers[-1].permitted):
                break
        body = replies[0] if asked.single else {"evaluations": replies}
        return Effect(body=_encode(body), parameters=_recorded(answers))

    async def _search(self, search: Search, claims: PermitClaims, facts: TenantFacts) -> Effect:
        evaluator, turns = self._ready(), _Turns(self._cpu)
        found = candidates(search, evaluator, facts)
        results: list[dict[str, Any]] = []
        at = search.start
        while at < min(len(found), search.start + WORK_LIMIT) and len(results) < search.limit:
            if at > search.start and await turns.over():
                break
            if evaluator.evaluate(found[at].evaluation, claims, facts).permitted:
                results.append(found[at].result)
            at += 1
        page = {"next_token": next_token(search, at) if at < len(found) else "", "count": len(results)}
        looked = {"wanted": search.wanted, "type": _type(search, evaluator), "looked_at": at - search.start}
        about = {} if search.wanted == "subject" else {"subject": _id(search.subject, facts)}
        return Effect(
            body=_encode({"page": page, "results": results}),
            parameters=looked | about | {"results": len(results)},
        )

    def _ready(self) -> Evaluator:
        if self._evaluator is None:
            self._evaluator = Evaluator(self._decider, self._providers(), clock=self._clock)
        return self._evaluator


class _Turns:
    """Counts the processor time of one request, and lets others have their turn."""

    def __init__(self, cpu: Callable[[], float]) -> None:
        self._cpu = cpu
        self._used_s = 0.0
        self._since_s = cpu()

    async def over(self) -> bool:
        """Tell whether the request has used all that it may."""
        turn_s = self._cpu() - self._since_s
        if turn_s >= BREATH_S:
            self._used_s += turn_s
            await asyncio.sleep(0)
            self._since_s = self._cpu()
        return self._used_s >= CPU_LIMIT_S


def _only_about(question: Question, asker: str, facts: TenantFacts) -> bool:
    """Tell whether a question is about nobody but its asker."""
    if isinstance(question, Search):
        return isinstance(question.subject, Entity) and _id(question.subject, facts) == asker
    about = {_id(item.subject, facts) for item in question.items if isinstance(item, Evaluation)}
    return about == {asker}


def _id(subject: Any, facts: TenantFacts) -> str:
    found = find_subject(subject, facts) if isinstance(subject, Entity) else None
    return "" if found is None else found.id


def _type(search: Search, evaluator: Evaluator) -> str:
    """Return the type that was searched for, when it is a word of ours: a caller's text is not recorded."""
    type_ = search.subject.type if search.wanted == "subject" else search.resource.type
    return type_ if type_ in SUBJECT_TYPES or type_ in evaluator.kinds else "application"


def _ends(asked: Evaluations, *, permitted: bool) -> bool:
    return (asked.semantic == "deny_on_first_deny" and not permitted) or (
        asked.semantic == "permit_on_first_permit" and permitted
    )


def _recorded(answers: list[Answered]) -> dict[str, Any]:
    """Return what the record says: each question and answer in ids and our own words, the first few in full."""
    first = answers[:RECORDED_LIMIT]
    return {
        "evaluated": len(answers),
        "permitted": "".join("1" if answer.permitted else "0" for answer in answers),
        "decisions": [
            {"subject": one.subject, "action": one.action, "resource": one.resource, "verdict": one.word}
            for one in first
        ],
    }
