"""One evaluation: the answer of the road for a subject of the caller's own cell, without taking the road.

The decision is `Decider.decide` on the same facts, with the resource that the provider's own `prepare` would name.
What is not in the cell (a subject, a resource, an action, a type, a neighbour's or nobody's) is answered alike to the
byte. Source: attacks.md AZ-1, docs/adr/0014-authzen.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from partywall.decision.action import Action, Resource, class_of
from partywall.decision.decide import Decider
from partywall.decision.envelope import Envelope
from partywall.decision.facts import SubjectFacts, TenantFacts
from partywall.decision.labels import Label
from partywall.decision.permit import PermitClaims
from partywall.decision.ports import Clock, Located, Locates, Provider
from partywall.decision.principal import Principal
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Verdict
from partywall.errors import Malformed, NotFound
from partywall.providers.decisions.naming import Asked, asked_of, find_subject, label_of, principal_of
from partywall.wire.authzen import Evaluation, Unreadable

NOT_FOUND: Final = "not-found"
_ADVICE: Final = "Send on_behalf_of as a user's id, scopes as a list of actions, label as classification and trust."


class Answered(msgspec.Struct, frozen=True):
    """An evaluation's answer. verdict: None for what is not there. subject, asked: resolved, for the record."""

    verdict: Verdict | None
    revision: str
    subject: str = ""
    action: str = ""
    resource: str = ""
    error: str = ""

    @property
    def permitted(self) -> bool:
        """Whether it is a yes."""
        return isinstance(self.verdict, Allow)

    @property
    def word(self) -> str:
        """The verdict in one word and its reason, for the record."""
        if isinstance(self.verdict, Allow):
            return "allow"
        if isinstance(self.verdict, NeedsApproval):
            return "needs-approval"
        if self.verdict is None:
            return f"deny {NOT_FOUND}"
        return f"deny {self.verdict.reason}"

    def reply(self) -> dict[str, Any]:
        """Return AuthZEN's decision with its context."""
        return {"decision": self.permitted, "context": self._context()}

    def _context(self) -> dict[str, Any]:
        context: dict[str, Any] = {"policy_revision": self.revision}
        if self.error:
            return context | {"reason": "bad-request", "error": {"status": 400, "message": self.error}}
        verdict = self.verdict
        if isinstance(verdict, Allow):
            return context | ({"obligations": msgspec.to_builtins(verdict.obligations)} if verdict.obligations else {})
        if isinstance(verdict, NeedsApproval):
            return context | {"reason": verdict.reason, "approval": {"digest": verdict.digest}}
        if verdict is None or verdict.conceal:
            return context | {"reason": NOT_FOUND}
        return context | {"reason": verdict.reason} | ({"advice": verdict.advice} if verdict.advice else {})


class Evaluator:
    """Answers for one worker. decider: its own, so that no question evicts what the road remembers.

    providers: the road's, by resource kind; those that are no `Locates` have nothing that can be asked about.
    """

    def __init__(self, decider: Decider, providers: Mapping[str, Provider], *, clock: Clock) -> None:
        self._decider = decider
        self._located: dict[str, Locates] = {
            kind: provider for kind, provider in providers.items() if isinstance(provider, Locates)
        }
        self._providers = providers
        self._clock = clock
        self.kinds = frozenset(self._located)

    def provider(self, kind: str) -> tuple[Provider, Locates]:
        """Return the provider of a kind in `kinds`."""
        return self._providers[kind], self._located[kind]

    def evaluate(self, evaluation: Evaluation | Unreadable, asker: PermitClaims, facts: TenantFacts) -> Answered:
        """Return the answer. facts: the asker's tenant's.

        An asker that asks about itself is judged with the credential that it asks with, whatever it says of itself.
        """
        revision = facts.policy.revision
        if isinstance(evaluation, Unreadable):
            return Answered(None, revision, error=evaluation.message)
        subject, asked = find_subject(evaluation.subject, facts), asked_of(evaluation, self.kinds, facts)
        if subject is None or asked is None:
            return Answered(None, revision, "" if subject is None else subject.id)
        located = self._locate(asked, facts)
        try:
            principal = self._principal(subject, evaluation, asker, facts)
            label = label_of(evaluation.context, facts)
            action = Action(asked.action, _resource(asked, located, facts))
            envelope = self._envelope(principal, action, label, asker, facts)
            verdict = self._decide(envelope, asked, located, facts)
        except NotFound:
            return Answered(None, revision, subject.id)
        except Malformed as fault:
            verdict = Deny(fault.code, revision, _ADVICE)
        hidden = isinstance(verdict, Deny) and verdict.conceal
        named = "" if hidden or located is None else f"{located.resource.kind}/{located.resource.id}"
        return Answered(None if hidden else verdict, revision, subject.id, asked.action.value, named)

    def _principal(
        self, subject: SubjectFacts, evaluation: Evaluation, asker: PermitClaims, facts: TenantFacts
    ) -> Principal:
        if subject.id == asker.principal.id:
            return asker.principal
        return principal_of(subject, evaluation.subject.properties, facts, now_s=self._clock())

    def _envelope(
        self, principal: Principal, action: Action, label: Label | None, asker: PermitClaims, facts: TenantFacts
    ) -> Envelope:
        """Return the envelope that the pipeline would make for a call that has no parent."""
        return Envelope(
            act=asker.act,
            principal=principal,
            action=action,
            tenant=facts.id,
            trace_id=asker.trace_id,
            received_at_s=self._clock(),
            deadline_s=asker.expires_at_s,
            label=label,
        )

    def _decide(self, envelope: Envelope, asked: Asked, located: Located | None, facts: TenantFacts) -> Verdict:
        return self._decider.decide(
            envelope,
            facts,
            payload=asked.payload,
            class_=class_of(asked.action, hosted=located is not None and located.hosted),
            known=located is not None,
            approved=False,
            now_s=envelope.received_at_s,
        )

    def _locate(self, asked: Asked, facts: TenantFacts) -> Located | None:
        provider, locates = self.provider(asked.kind)
        if asked.action not in provider.actions:
            return None
        try:
            return locates.locate(asked.action, asked.name, facts)
        except NotFound:
            return None


def _resource(asked: Asked, located: Located | None, facts: TenantFacts) -> Resource:
    """Return what is asked about; what is not there has a stand-in, as on the road."""
    return Resource(facts.region, facts.id, asked.kind, "~") if located is None else located.resource
