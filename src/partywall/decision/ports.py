"""Protocols only: what the road needs from the world. Implementations live behind process or module walls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from partywall.decision.action import ActionType, Resource
from partywall.decision.facts import KeyFacts, TenantFacts
from partywall.decision.labels import Classification, Label
from partywall.decision.permit import Permit
from partywall.decision.principal import Principal
from partywall.decision.record import Record
from partywall.wire.ids import KeyId, TenantId


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a door parsed from bytes: nothing in it names a tenant.

    kind, name: the resource inside the caller's own cell, by slug or id (`model`, `smollm2`).
    payload: the parsed value (JSON types only); the provider's `prepare` turns it into canonical bytes.
    parameters: sanitized, for the record. trace_id: 32 lower-case hex digits. timeout_s: the caller's wish.
    """

    action: ActionType
    kind: str
    name: str
    payload: Any
    trace_id: str
    stream: bool = False
    timeout_s: float | None = None
    parameters: dict[str, Any] = {}


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A call made exact: the resource it names and the bytes that will be sent, before any decision.

    note: what `prepare` wants `perform` to know beside the bytes (`Permit.note`); it never leaves the process.
    also_log: a tenant that this is done to from outside: its own log gets the same records, before anything is done.
    """

    resource: Resource
    payload: bytes
    hosted: bool = False
    note: Any = None
    also_log: TenantId | None = None


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of a streamed answer: text (obligations apply across pieces), one event, or the final fault."""

    text: str = ""
    event: dict[str, Any] | None = None
    fault: str | None = None


def render_text(delta: Delta) -> bytes:
    """Return a delta's text: the rendering of streams that are text and nothing else."""
    return delta.text.encode()


class Effect(msgspec.Struct, kw_only=True):
    """A provider's answer. body: bytes, or an async iterator of `Delta`; the pipeline hands out rendered bytes.

    render: turns a delta into the bytes of the protocol (one whole SSE event).
    error: a provider-level failure that is still an answer (an MCP tool error): recorded as failed.
    parameters: sanitized, added to those of the outcome's record.
    """

    body: bytes | AsyncIterator[Any]
    render: Callable[[Delta], bytes] = render_text
    label: Label | None = None
    media_type: str = "application/json"
    usage: dict[str, int] = {}
    error: str | None = None
    headers: dict[str, str] = {}
    parameters: dict[str, Any] = {}


class Road(Protocol):
    """Bound to one permit: a provider's only way to cause another action. Source: ADR-0003."""

    async def submit(self, call: Call) -> Effect:
        """Run the whole road again for a child action. Raises: the same errors as the road."""
        ...


class Provider(Protocol):
    """Performs permitted actions of one kind for one cell, and nothing without a permit."""

    kind: str
    actions: frozenset[ActionType]

    def prepare(self, call: Call, facts: TenantFacts) -> Prepared:
        """Return the resource and canonical bytes. Pure and bounded. Raises: NotFound, Malformed."""
        ...

    async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
        """Redeem the permit, then do exactly what payload says. Raises: ProviderFault."""
        ...


class Located(msgspec.Struct, frozen=True):
    """A resource of a cell, as a provider's `prepare` would name it. hosted: as `Prepared.hosted`."""

    resource: Resource
    hosted: bool = False


@runtime_checkable
class Locates(Protocol):
    """A provider whose resources can be asked about without being used: `prepare` without a payload."""

    def locate(self, action: ActionType, name: str, facts: TenantFacts) -> Located:
        """Return what `prepare` would name for this action and name. Pure. Raises: NotFound."""
        ...

    def names(self, action: ActionType, facts: TenantFacts) -> Iterable[str]:
        """Return the name of everything in the cell that the action can be on, in a fixed order. Pure."""
        ...


class Directory(Protocol):
    """The control database's facts as this worker last saw them."""

    @property
    def revision(self) -> int:
        """The newest revision loaded."""
        ...

    def age_s(self) -> float:
        """Seconds since the database last confirmed the revision."""
        ...

    def tenant(self, tenant: TenantId) -> TenantFacts | None:
        """The facts of a tenant of this region."""
        ...

    def key(self, key: KeyId) -> KeyFacts | None:
        """An API key that is neither revoked nor unknown."""
        ...

    def is_revoked(self, credential: str) -> bool:
        """Whether a token id, key id, session or subject was revoked."""
        ...

    def verification_keys(self) -> Mapping[str, bytes]:
        """Public Ed25519 keys of access tokens by key id (raw, 32 bytes), retired ones while tokens live."""
        ...

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back (in the event loop) after each new revision was loaded."""
        ...


class Ledger(Protocol):
    """The tenant's append-only log."""

    async def append(self, record: Record, *, durable: bool) -> None:
        """Return once the record is written; with `durable`, once it is on disk (fdatasync).

        Invariant: a record that was handed over is written even when its caller is cancelled meanwhile.
        Raises: Unavailable (also when there is no space to reserve for the outcome).
        """
        ...


class Clock(Protocol):
    """Unix seconds."""

    def __call__(self) -> float: ...


class Approvals(Protocol):
    """Approvals that bind a digest, once. Until a later issue fills it, none exist."""

    def consume(self, principal: Principal, digest: str) -> bool: ...


class Keys(Protocol):
    """Data keys of one purpose per tenant; the key-encryption key stays behind this port.

    purpose: `ledger`, `data`, `derivative`. A data key is 32 bytes. Raises: Unavailable, NotFound (shredded).
    """

    async def data_key(self, tenant: TenantId, purpose: str, version: int | None = None) -> tuple[int, bytes]:
        """Return (version, key): the newest, made on first use, or that version."""
        ...

    async def rotate(self, tenant: TenantId, purpose: str) -> int:
        """Make a new version and return its number; older ones still open what they sealed."""
        ...

    async def destroy(self, tenant: TenantId) -> None:
        """Destroy every key of the tenant. What they sealed is gone."""
        ...


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a subject's memory. value: canonical JSON; empty in a listing."""

    key: str
    value: bytes
    label: Label
    updated_at_s: float


class Memory(Protocol):
    """One subject's memory in one tenant: a handle that names nothing else. Entries above `clearance` do not exist."""

    async def get(self, key: str) -> Remembered | None:
        """Return the entry, or None. Raises: Unavailable."""
        ...

    async def put(self, key: str, value: bytes, label: Label) -> None:
        """Write or replace the entry with its label. Raises: LimitExceeded, Conflict, Unavailable."""
        ...

    async def delete(self, key: str) -> bool:
        """Remove the entry and tell whether there was one. Raises: Unavailable."""
        ...

    async def list(self, after: str = "", limit: int = 2_000) -> Sequence[Remembered]:
        """Return up to limit entries by key, those after a key, without values. Raises: Unavailable."""
        ...


class Memories(Protocol):
    """Hands out memories; the permit says whose."""

    def of(self, tenant: TenantId, subject: str, clearance: Classification) -> Memory:
        """Return the handle of one subject's memory, for a reader of this clearance."""
        ...
