"""What the OpenAPI document says of a route: every door carries its routes as data, and this is their one form.

Pure. `gateway/openapi.py` makes the document of them; tests/conformance/test_openapi.py calls every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from partywall.decision.principal import Kind

OPERATOR: Final = (Kind.PLATFORM_OPERATOR,)
ADMIN: Final = (Kind.TENANT_ADMIN,)
EITHER: Final = (Kind.PLATFORM_OPERATOR, Kind.TENANT_ADMIN)
MEMBERS: Final = (Kind.TENANT_ADMIN, Kind.USER, Kind.AGENT)
EVERYONE: Final = (Kind.PLATFORM_OPERATOR, *MEMBERS)
PUBLIC: Final = ()
"""Who may call. The wall decides; this is what it says by itself, before any grant or policy."""

BINARY: Final = "application/octet-stream"


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """What a reply gives to another route. to: `METHOD pattern`; path: its path names -> JSON pointers into the reply.

    A value `request.path.<name>` is the request's own. body: members of its body, likewise.
    Example: Link(to="GET /v1/tenants/{tenant}", path={"tenant": "/id"}).
    """

    to: str
    path: Mapping[str, str]
    body: Mapping[str, str] = {}


class Doc(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a caller must know of one route.

    summary: one line, imperative. tag: the noun it is listed under. who: kinds that may call; empty asks no credential.
    reply, request: structs (`wire/replies.py`, `wire/operations.py`), None for no body. query: parameter -> its type.
    errors: status -> codes, beside those that every route may answer (`gateway/openapi.py`). headers: of the reply,
    name -> what it says. example: a request body. media_type: of the reply. openai: its problems take OpenAI's form.
    faults: other forms of its problems, media type -> struct. etag: its reply has one. conditional: takes If-Match.
    idempotent: takes Idempotency-Key. request_media_type: of the body. also: other successes, status -> what it says.
    event_stream: the reply may be server-sent events instead.
    """

    summary: str
    tag: str
    who: tuple[Kind, ...]
    reply: Any
    request: Any = None
    query: Mapping[str, Any] = {}
    errors: Mapping[int, tuple[str, ...]] = {}
    headers: Mapping[str, str] = {}
    links: tuple[Link, ...] = ()
    example: Mapping[str, Any] | None = None
    media_type: str = "application/json"
    request_media_type: str = "application/json"
    openai: bool = False
    faults: Mapping[str, Any] = {}
    also: Mapping[int, str] = {}
    event_stream: bool = False
    etag: bool = False
    conditional: bool = False
    idempotent: bool = False


class Documented(Protocol):
    """Any route of any door. path_types: the path's names -> their types."""

    @property
    def method(self) -> str: ...
    @property
    def pattern(self) -> str: ...
    @property
    def doc(self) -> Doc: ...
    @property
    def path_types(self) -> Mapping[str, Any]: ...


class Described(msgspec.Struct, frozen=True):
    """A route of a door that finds its way by itself, for the document alone. path_types: missing names are text."""

    method: str
    pattern: str
    doc: Doc
    path_types: Mapping[str, Any] = {}
