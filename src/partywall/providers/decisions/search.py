"""Searches: every candidate of the cell, asked one by one, so that a result is exactly what an evaluation would permit.

Candidates are the tenant's own subjects, the names that its providers know, and the actions of a kind: nothing of any
other tenant is ever among them. An application's own resources are those that its tools' schemas list as the `enum` of
`id`; others are not known here. Source: AuthZEN Authorization API 1.0 section 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.facts import State, TenantFacts, ToolFacts
from partywall.providers.decisions.evaluate import Evaluator
from partywall.providers.decisions.naming import SUBJECT_TYPES, action_named, application_of
from partywall.wire.authzen import Entity, Evaluation, Search, Verb


class Candidate(msgspec.Struct, frozen=True):
    """One evaluation, and what stands in the results when it is a yes."""

    evaluation: Evaluation
    result: dict[str, Any]


def candidates(search: Search, evaluator: Evaluator, facts: TenantFacts) -> list[Candidate]:
    """Return all candidates in a fixed order: at most the tenant's own subjects, resources or actions."""
    if search.wanted == "subject":
        return list(_subjects(search, facts))
    if search.wanted == "resource":
        return list(_resources(search, evaluator, facts))
    return list(_actions(search, evaluator, facts))


def _subjects(search: Search, facts: TenantFacts) -> Iterator[Candidate]:
    kinds = SUBJECT_TYPES.get(search.subject.type, frozenset())
    for subject in sorted(facts.subjects.values(), key=lambda subject: subject.slug):
        if subject.kind not in kinds or subject.state is State.DELETED:
            continue
        asked = _evaluation(search, subject=Entity(search.subject.type, subject.id, search.subject.properties))
        result = {"type": search.subject.type, "id": subject.slug, "properties": {"id": subject.id}}
        yield Candidate(asked, result)


def _resources(search: Search, evaluator: Evaluator, facts: TenantFacts) -> Iterator[Candidate]:
    kind = search.resource.type
    for name in _names(kind, "" if search.action is None else search.action.name, evaluator, facts):
        asked = _evaluation(search, resource=Entity(kind, name, search.resource.properties))
        yield Candidate(asked, {"type": kind, "id": name})


def _names(kind: str, word: str, evaluator: Evaluator, facts: TenantFacts) -> list[str]:
    if kind in evaluator.kinds:
        provider, locates = evaluator.provider(kind)
        action = action_named(word, kind)
        return [] if action is None or action not in provider.actions else list(locates.names(action, facts))
    server = application_of(kind, evaluator.kinds, facts)
    tool = None if server is None else server.tools.get(word)
    return [] if tool is None else _listed(tool)


def _listed(tool: ToolFacts) -> list[str]:
    """Return the ids that a tool's approved schema lists."""
    properties = msgspec.json.decode(tool.schema).get("properties")
    described = properties.get("id") if isinstance(properties, dict) else None
    ids = described.get("enum") if isinstance(described, dict) else None
    return sorted(id_ for id_ in ids if isinstance(id_, str) and id_) if isinstance(ids, list) else []


def _actions(search: Search, evaluator: Evaluator, facts: TenantFacts) -> Iterator[Candidate]:
    kind = search.resource.type
    if kind in evaluator.kinds:
        provider, _locates = evaluator.provider(kind)
        names = [action.value for action in ActionType if action in provider.actions]
    else:
        server = application_of(kind, evaluator.kinds, facts)
        names = [] if server is None else sorted(server.tools)
    for name in names:
        yield Candidate(_evaluation(search, action=Verb(name)), {"name": name})


def _evaluation(search: Search, **found: Any) -> Evaluation:
    said = {"subject": search.subject, "action": search.action, "resource": search.resource, "context": search.context}
    return Evaluation(**(said | found))
