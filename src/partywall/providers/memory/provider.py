"""Memory of a subject: get, put, delete, list. The resource is `memory/<subject id>`, whoever asks.

A subject's own memory needs a grant like any other, and another's a grant on that other's. Each value keeps the label
that it was written with: what an agent wrote comes back untrusted, since nobody knows what it had read before.
Source: attacks.md PI-2, architecture.md "Principals".
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import State, TenantFacts
from partywall.decision.labels import Classification, Label, Trust
from partywall.decision.permit import Permit
from partywall.decision.ports import Call, Clock, Effect, Located, Memories, Memory, Prepared, Remembered, Road
from partywall.decision.principal import Kind, Principal
from partywall.errors import Bug, CallerFault, LimitExceeded, Malformed, NotFound
from partywall.providers.memory.pages import after_of, cursor_of

VALUE_LIMIT_BYTES: Final = 65_536
DEPTH_LIMIT: Final = 64
Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:~-]{0,127}\Z")]
Level = Annotated[int, Meta(ge=0, le=3)]
PageLimit = Annotated[int, Meta(ge=1, le=200)]
Cursor = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,512}\Z")]


class _Operation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="operation"):
    owner: str | None = None


class Get(_Operation, frozen=True, tag="get"):
    """Reply: {key, value, classification, trust, updated_at_s}, or not found."""

    key: Key


class Put(_Operation, frozen=True, tag="put"):
    """value: any JSON, at most 64 KiB. Reply: {key, classification, trust}."""

    key: Key
    value: Any
    classification: Level = int(Classification.INTERNAL)


class Delete(_Operation, frozen=True, tag="delete"):
    """Reply: {key, deleted}."""

    key: Key


class List(_Operation, frozen=True, tag="list"):
    """Reply: {entries: [{key, classification, trust, updated_at_s}], next_cursor}, by key."""

    limit: PageLimit = 50
    cursor: Cursor | None = None


Operation = Get | Put | Delete | List
_canonical = msgspec.json.Encoder(order="sorted").encode
_decoder: Final = msgspec.json.Decoder(Operation)


class MemoryProvider:
    """Memories of one region's tenants. clock: Unix seconds."""

    kind = "memory"
    actions = frozenset({ActionType.MEMORY})

    def __init__(self, memories: Memories, *, clock: Clock) -> None:
        self._memories = memories
        self._clock = clock

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return whose memory it is and the operation's canonical bytes.

        The payload's `owner`, or else the call's name, is the id or slug of a subject of this cell.
        Raises: NotFound; Malformed or LimitExceeded, about that subject's memory.
        """
        subject = _subject(_owner(call.payload) or call.name, facts)
        resource = Resource(region=facts.region, tenant=facts.id, kind=self.kind, id=subject)
        try:
            return Prepared(resource=resource, payload=_exact(call.payload, resource))
        except CallerFault as fault:
            fault.about = resource
            raise

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return the memory of a subject of this cell. Raises: NotFound."""
        return Located(Resource(region=facts.region, tenant=facts.id, kind=self.kind, id=_subject(name, facts)))

    def names(self, action: ActionType, facts: TenantFacts) -> list[str]:
        """Return the slug of every subject of this cell."""
        return sorted(subject.slug for subject in facts.subjects.values() if subject.state is not State.DELETED)

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Do it in the memory that the permit names. Raises: NotFound, LimitExceeded, Conflict, Unavailable."""
        claims = permit.redeem(ActionType.MEMORY, payload, self._clock())
        resource = claims.action.resource
        if resource.kind != self.kind or resource.tenant != claims.tenant:
            raise Bug("a permit of another provider", private=claims.id)
        memory = self._memories.of(claims.tenant, resource.id, claims.principal.clearance)
        operation, label = _decoder.decode(payload), Label(tenant=claims.tenant)
        if isinstance(operation, List):
            return await _list(memory, operation, resource, label)
        return await _do(memory, operation, claims.principal, label)


async def _do(memory: Memory, operation: Get | Put | Delete, principal: Principal, label: Label) -> Effect:
    if isinstance(operation, Get):
        entry = await memory.get(operation.key)
        if entry is None:
            raise NotFound("there is no such thing here")
        return Effect(body=_canonical(_describe(entry) | {"value": msgspec.Raw(entry.value)}), label=entry.label)
    if isinstance(operation, Put):
        written = written_label(label, operation.classification, principal)
        await memory.put(operation.key, _canonical(operation.value), written)
        return Effect(body=_canonical({"key": operation.key, **_levels(written)}), label=written)
    return Effect(body=_canonical({"key": operation.key, "deleted": await memory.delete(operation.key)}), label=label)


async def _list(memory: Memory, operation: List, resource: Resource, label: Label) -> Effect:
    found = await memory.list(after_of(resource, operation.cursor), operation.limit + 1)
    page = found[: operation.limit]
    for entry in page:
        label = label.join(entry.label)
    following = cursor_of(resource, page[-1].key) if len(found) > len(page) else None
    return Effect(
        body=_canonical({"entries": [_describe(entry) for entry in page], "next_cursor": following}), label=label
    )


def written_label(label: Label, classification: int, principal: Principal) -> Label:
    """Return the label of what this principal writes: trusted only from a user's own hand.

    Raises: Malformed above the writer's own clearance.
    """
    if classification > principal.clearance:
        raise Malformed("the classification is above your clearance", code="above-clearance")
    own_hand = principal.kind in {Kind.USER, Kind.TENANT_ADMIN}
    return msgspec.structs.replace(
        label,
        classification=Classification(classification),
        trust=Trust.TRUSTED if own_hand else Trust.UNTRUSTED,
    )


def _levels(label: Label) -> dict[str, str]:
    return {"classification": label.classification.name.lower(), "trust": label.trust.name.lower()}


def _describe(entry: Remembered) -> dict[str, Any]:
    return {"key": entry.key, "updated_at_s": round(entry.updated_at_s, 3), **_levels(entry.label)}


def _owner(payload: Any) -> str | None:
    """Return whom a payload names, however malformed it is elsewhere."""
    owner = payload.get("owner") if isinstance(payload, dict) else None
    return owner if isinstance(owner, str) else None


def _exact(payload: Any, resource: Resource) -> bytes:
    """Return the operation's canonical bytes, without the owner. Raises: Malformed, LimitExceeded."""
    operation = _parse(payload)
    if isinstance(operation, List):
        after_of(resource, operation.cursor)
    if isinstance(operation, Put) and len(_canonical(operation.value)) > VALUE_LIMIT_BYTES:
        raise LimitExceeded(f"a value has at most {VALUE_LIMIT_BYTES} bytes", code="value-too-large")
    return _canonical(msgspec.structs.replace(operation, owner=None))


def _parse(payload: Any) -> Operation:
    _bounded(payload, DEPTH_LIMIT)
    try:
        parsed: Operation = msgspec.convert(payload, Operation)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a memory operation: {error}", code="bad-request") from error
    return parsed


def _bounded(value: Any, depth: int) -> None:
    """Raises: Malformed for what is nested too deep, or holds text that is no UTF-8, or numbers that are no JSON."""
    if depth == 0:
        raise Malformed("nested too deep", code="bad-request")
    if isinstance(value, dict):
        for name, item in value.items():
            _bounded(name, depth - 1)
            _bounded(item, depth - 1)
    elif isinstance(value, list):
        for item in value:
            _bounded(item, depth - 1)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Malformed("text that is no UTF-8", code="bad-request") from None
    elif (isinstance(value, float) and value - value != 0) or (isinstance(value, int) and abs(value) >= 2**63):
        raise Malformed("a number that is no JSON", code="bad-request")


def _subject(name: str, facts: TenantFacts) -> str:
    found = facts.subjects.get(name)
    if found is None:
        found = next((subject for subject in facts.subjects.values() if subject.slug == name), None)
    if found is None or found.state is State.DELETED:
        raise NotFound("there is no such thing here")
    return found.id
