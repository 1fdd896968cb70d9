"""AuthZEN's words as ours: subjects, actions and resources of one cell. What is not in the cell means nothing.

| AuthZEN | here |
|---|---|
| subject type `agent`, `user` | a subject of that kind (an admin is a user), by id or slug |
| subject properties `on_behalf_of`, `scopes` | the user it acts for; what its credential carries: both narrow |
| resource type | a resource kind (`model`, `tool`, …), its id a name in the cell |
| action name | an action type, or a usual word for it on that kind (`COMMON`), with or without `can_` |
| action properties | the payload that a policy's `arguments` rules see |
| context `label` | the label of the data at hand: `classification` 0 to 3, `trust`; it only narrows |

A type that is no kind here but the slug of a registered server is an *application's* own: its actions are the server's
tools, and the payload is {id, subject, action, resource, context}, the last four being what the asker says of them.
Source: AuthZEN Authorization API 1.0 section 5, docs/adr/0014-authzen.md.
"""

from __future__ import annotations

from types import NoneType
from typing import Any, Final

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.facts import ServerFacts, State, SubjectFacts, TenantFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.principal import Kind, Principal
from partywall.errors import Malformed, NotFound
from partywall.wire.authzen import Entity, Evaluation, Verb
from partywall.wire.ids import UserId

LIFE_S: Final = 60.0
UNREADABLE: Final = "unreadable-properties"
SUBJECT_TYPES: Final = {
    "agent": frozenset({Kind.AGENT}),
    "user": frozenset({Kind.USER, Kind.TENANT_ADMIN}),
}
_MEMORY: Final = {"read": "get", "get": "get", "write": "put", "create": "put", "update": "put", "put": "put"} | {
    "delete": "delete",
    "list": "list",
}
COMMON: Final[dict[str, dict[str, ActionType]]] = {
    "model": dict.fromkeys(("use", "invoke", "request", "execute"), ActionType.MODEL_REQUEST)
    | {"list": ActionType.MODEL_LIST},
    "tool": dict.fromkeys(("use", "invoke", "call", "execute"), ActionType.TOOL_CALL)
    | dict.fromkeys(("list", "read"), ActionType.TOOL_LIST),
    "memory": dict.fromkeys(_MEMORY, ActionType.MEMORY),
    "collection": dict.fromkeys(("read", "search", "query"), ActionType.RETRIEVAL_SEARCH)
    | dict.fromkeys(("write", "create", "update"), ActionType.INGEST),
    "audit": {"read": ActionType.AUDIT_READ},
}
"""Usual words for our actions, by kind of resource."""


class Asked(msgspec.Struct, frozen=True):
    """What an evaluation asks in our words. name: of the resource, as `Locates.locate` takes it."""

    action: ActionType
    kind: str
    name: str
    payload: dict[str, Any]


def find_subject(entity: Entity, facts: TenantFacts) -> SubjectFacts | None:
    """Return the subject of this cell that is meant, or None: also for one of another kind than its type says."""
    subject = facts.subjects.get(entity.id)
    if subject is None:
        subject = next((one for one in facts.subjects.values() if one.slug == entity.id), None)
    if subject is None or subject.state is State.DELETED:
        return None
    return subject if subject.kind in SUBJECT_TYPES.get(entity.type, frozenset()) else None


def principal_of(
    subject: SubjectFacts, properties: dict[str, Any] | None, facts: TenantFacts, *, now_s: float
) -> Principal:
    """Return the principal that a fresh credential of this subject would make.

    Raises: NotFound for a user who is not in the cell; Malformed for properties that cannot be read.
    Invariant: no property widens what the subject may do.
    """
    said = properties or {}
    named, scopes = said.get("on_behalf_of"), said.get("scopes")
    if not isinstance(named, (str, NoneType)) or not isinstance(scopes, (list, NoneType)):
        raise Malformed("on_behalf_of is a user, scopes a list", code=UNREADABLE)
    if not all(isinstance(scope, str) for scope in scopes or ()):
        raise Malformed("scopes is a list of actions", code=UNREADABLE)
    user = None if named is None else find_subject(Entity("user", named), facts)
    if named is not None and user is None:
        raise NotFound("there is no such user here")
    return Principal(
        kind=subject.kind,
        id=subject.id,
        region=facts.region,
        tenant=facts.id,
        credential="decision",
        expires_at_s=now_s + LIFE_S,
        scopes=None if scopes is None else frozenset(action for action in ActionType if action.value in scopes),
        clearance=subject.clearance if user is None else min(subject.clearance, user.clearance),
        on_behalf_of=None if user is None else UserId(user.id),
    )


def application_of(type_: str, kinds: frozenset[str], facts: TenantFacts) -> ServerFacts | None:
    """Return the registered server whose slug is a type that is no kind of ours, or None."""
    if type_ in kinds:
        return None
    return next((server for server in facts.servers.values() if server.slug == type_), None)


def asked_of(evaluation: Evaluation, kinds: frozenset[str], facts: TenantFacts) -> Asked | None:
    """Return what is asked, or None when it is nothing that anybody could do here."""
    kind, word = evaluation.resource.type, evaluation.action.name
    if kind in kinds:
        action = action_named(word, kind)
        if action is None:
            return None
        return Asked(action, kind, evaluation.resource.id, _payload(kind, word, evaluation.action))
    server = application_of(kind, kinds, facts)
    if server is None or word not in server.tools:
        return None
    return Asked(ActionType.TOOL_CALL, "tool", f"{server.id}/{word}", _described(evaluation))


def action_named(word: str, kind: str) -> ActionType | None:
    """Return the action type that a word means on a kind of resource, or None."""
    try:
        return ActionType(word)
    except ValueError:
        return COMMON.get(kind, {}).get(word.removeprefix("can_"))


def _payload(kind: str, word: str, action: Verb) -> dict[str, Any]:
    payload = action.properties or {}
    operation = _MEMORY.get(word.removeprefix("can_")) if kind == "memory" else None
    return payload if operation is None else {"operation": operation} | payload


def _described(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "id": evaluation.resource.id,
        "subject": evaluation.subject.properties or {},
        "action": evaluation.action.properties or {},
        "resource": evaluation.resource.properties or {},
        "context": evaluation.context or {},
    }


def label_of(context: dict[str, Any] | None, facts: TenantFacts) -> Label | None:
    """Return the label that the context says the data at hand has, None when it says none. Raises: Malformed."""
    said = (context or {}).get("label")
    if said is None:
        return None
    if not isinstance(said, dict):
        raise Malformed("a label is an object", code=UNREADABLE)
    level, trust = said.get("classification", 1), said.get("trust", "untrusted")
    if type(level) is not int or not 0 <= level <= 3 or trust not in {"trusted", "untrusted"}:
        raise Malformed("a label is a classification from 0 to 3 and a trust", code=UNREADABLE)
    return Label(tenant=facts.id, classification=Classification(level), trust=Trust[trust.upper()])
