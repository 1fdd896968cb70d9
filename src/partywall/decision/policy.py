"""Policies: the base and one tenant's own, compiled together, asked at two entry points, answered in strict shapes.

A tenant's policy is one module, `package tenant`, of which these rules are read; none can allow anything:

| rule | sees | is asked |
|---|---|---|
| `deny_grant contains reason` | principal, action, resource, revision | once, then cached on exactly those |
| `obligations_grant contains obligation` | the same | the same |
| `deny contains reason` | the same, payload, context | each time |
| `approve contains reason` | the same, payload, context | each time |
| `obligations contains obligation` | the same, payload, context | each time |

reason: a string, or {"reason": kebab-case, "advice": sentence}. obligation: {"redact": [detector, …]},
{"truncate": bytes} or {"tag": classification}. Source: ADR-0004.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta

from partywall.decision.cost import Cost
from partywall.decision.hazards import Hazards
from partywall.decision.lint import inspect_module, validate_module
from partywall.decision.rego import BASE_MODULE, Evaluator, PolicyFailed, RegoEngine
from partywall.decision.scan import Finding
from partywall.decision.verdict import Obligation, Redact, Tag, Truncate

__all__ = ["Answer", "Finding", "Policy", "PolicyFailed", "validate_module"]

GRANT_RULES: Final = ("deny_grant", "obligations_grant")
ARGUMENTS_RULES: Final = ("deny", "approve", "obligations")
WORK_LIMIT: Final = 250_000
"""At most so many steps of one evaluation, by the bound that `lint` proves of the module."""

T = TypeVar("T")
_KEBAB: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+){0,15}", re.ASCII)
_Word = Annotated[str, Meta(max_length=64)]
_Sentence = Annotated[str, Meta(max_length=400)]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why not. reason: kebab-case, stable. advice: one sentence that tells an agent what to ask for."""

    reason: _Word
    advice: _Sentence = ""


class _Obliged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    redact: Annotated[list[_Word], Meta(min_length=1, max_length=32)] | None = None
    truncate: Annotated[int, Meta(ge=1)] | None = None
    tag: Annotated[int, Meta(ge=0, le=3)] | None = None


class _Base(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    allow: bool
    reason: _Word
    advice: _Sentence = ""


class _GrantAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    base: _Base
    deny_grant: list[_Sentence | Reason] = []
    obligations_grant: list[_Obliged] = []


class _ArgumentsAnswer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    deny: list[_Sentence | Reason] = []
    approve: list[_Sentence | Reason] = []
    obligations: list[_Obliged] = []


class Answer(msgspec.Struct, frozen=True):
    """One entry point's answer, deny first: `deny` set means no, whatever else is. approve: wants an approval."""

    deny: Reason | None = None
    approve: Reason | None = None
    obligations: tuple[Obligation, ...] = ()


NOTHING: Final = Answer()
_grant = msgspec.json.Decoder(_GrantAnswer)
_arguments = msgspec.json.Decoder(_ArgumentsAnswer)


class Policy:
    """The base and at most one tenant module, checked and compiled. Bound to its thread.

    Invariant: a tenant module only narrows: the base's refusal stands, its own rules deny, ask or oblige.
    """

    __slots__ = ("_cost", "_engine", "_hazards", "has_arguments")

    def __init__(
        self, module: str | None = None, engine: Callable[[Mapping[str, str]], Evaluator] = RegoEngine
    ) -> None:
        """Raises: PolicyFailed when the module has findings."""
        rules: frozenset[str] = frozenset()
        self._cost, self._hazards = Cost(), Hazards()
        modules = {"base.rego": BASE_MODULE}
        if module is not None:
            inspected = inspect_module(module)
            if inspected.findings:
                raise PolicyFailed(inspected.findings[0].message)
            rules, self._cost, self._hazards = inspected.rules, inspected.cost, inspected.hazards
            modules["tenant.rego"] = module
        self.has_arguments = not rules.isdisjoint(ARGUMENTS_RULES)
        modules["road.rego"] = road_module(rules)
        self._engine = engine(modules)

    def grant(self, document: str) -> Answer:
        """Ask whether the action may happen at all. document: JSON of principal, action, resource, revision.

        Raises: PolicyFailed, which denies.
        """
        self._afford(document)
        answer = _read(_grant, self._engine.evaluate("data.partywall.road.grant", document))
        if not answer.base.allow:
            return Answer(deny=Reason(answer.base.reason, answer.base.advice))
        return Answer(deny=_first(answer.deny_grant), obligations=_obligations(answer.obligations_grant))

    def arguments(self, document: str) -> Answer:
        """Ask about these arguments, now. document: JSON of the grant's input, payload and context.

        Raises: PolicyFailed, which denies.
        """
        if not self.has_arguments:
            return NOTHING
        self._afford(document)
        answer = _read(_arguments, self._engine.evaluate("data.partywall.road.arguments", document))
        return Answer(_first(answer.deny), _first(answer.approve), _obligations(answer.obligations))

    def _afford(self, document: str) -> None:
        if self._cost.work(document) > WORK_LIMIT:
            raise PolicyFailed("the input is too large for this policy")
        found = self._hazards.found_in(document)
        if found is not None:
            raise PolicyFailed(found)


def road_module(rules: frozenset[str]) -> str:
    """Return the module that asks each entry point in one evaluation, for the rules that the tenant defines."""
    grant = [f'"{name}": data.tenant.{name}' for name in GRANT_RULES if name in rules]
    arguments = [f'"{name}": data.tenant.{name}' for name in ARGUMENTS_RULES if name in rules]
    grant.insert(0, '"base": data.partywall.base.grant')
    objects = f"grant := {{{', '.join(grant)}}}", f"arguments := {{{', '.join(arguments)}}}"
    return "\n".join(("package partywall.road", *objects))


def _read(decoder: msgspec.json.Decoder[T], text: str) -> T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PolicyFailed(f"the policy's answer has another shape: {error}") from None


def _first(reasons: Iterable[str | Reason]) -> Reason | None:
    """Return the reason to give, the same for the same set; text that is no kebab-case word is advice."""
    found = [_reason(reason) for reason in reasons]
    return min(found, key=lambda reason: (reason.reason, reason.advice)) if found else None


def _reason(reason: str | Reason) -> Reason:
    if isinstance(reason, str):
        return Reason(reason) if _KEBAB.fullmatch(reason) else Reason("denied-by-policy", reason)
    if _KEBAB.fullmatch(reason.reason):
        return reason
    return Reason("denied-by-policy", reason.advice)


def _obligations(obliged: Iterable[_Obliged]) -> tuple[Obligation, ...]:
    """Return all obligations. Raises: PolicyFailed unless each says exactly one thing."""
    found: list[Obligation] = []
    for one in obliged:
        if (one.redact is not None) + (one.truncate is not None) + (one.tag is not None) != 1:
            raise PolicyFailed("an obligation is one of redact, truncate, tag")
        if one.redact is not None:
            found.append(Redact(tuple(sorted(one.redact))))
        elif one.truncate is not None:
            found.append(Truncate(one.truncate))
        elif one.tag is not None:
            found.append(Tag(one.tag))
    return tuple(found)
