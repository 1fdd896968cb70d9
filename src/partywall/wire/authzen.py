"""AuthZEN Authorization API 1.0 as the wall speaks it: bodies in, replies out. Pure.

| of a body | pass | strip | refuse |
|---|---|---|---|
| evaluation | subject, action, resource, context | unknown members, as it asks | missing or mistyped ones |
| evaluations | the same as defaults, evaluations, options | unknown options | over 100, or too long; another semantic |
| search | what is not searched for, page | the id or name of what is searched for | a token of another query |

Source: AuthZEN Authorization API 1.0, sections 5 to 9 and 11; docs/adr/0014-authzen.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from partywall.errors import Malformed

EVALUATIONS_LIMIT: Final = 100
INHERITED_LIMIT_BYTES: Final = 2_097_152
"""Of the defaults of one request, as often as its evaluations take them: a body of 1 MiB would become 100."""
PAGE_LIMIT: Final = 100
EVALUATION_PATH: Final = "/access/v1/evaluation"
EVALUATIONS_PATH: Final = "/access/v1/evaluations"
SEARCH_PATHS: Final[dict[str, Literal["subject", "resource", "action"]]] = {
    "/access/v1/search/subject": "subject",
    "/access/v1/search/resource": "resource",
    "/access/v1/search/action": "action",
}
CONFIGURATION_PATH: Final = "/.well-known/authzen-configuration"

Word = Annotated[str, Meta(min_length=1, max_length=256)]
Properties = dict[str, Any] | None
Semantic = Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
_encode = msgspec.json.Encoder(order="sorted").encode


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """A subject or a resource. properties: what the asking system says of it; nobody here vouches for that."""

    type: Word
    id: Word
    properties: Properties = None


class Sort(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is searched for: a subject's or resource's type. Its id, when given, is not read."""

    type: Word
    properties: Properties = None


class Verb(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action. properties: its parameters."""

    name: Word
    properties: Properties = None


class Evaluation(msgspec.Struct, frozen=True, omit_defaults=True):
    """May this subject do this to that resource."""

    subject: Entity
    action: Verb
    resource: Entity
    context: Properties = None


class Unreadable(msgspec.Struct, frozen=True, tag="unreadable", tag_field="unreadable"):
    """One of several evaluations that is none. message: what is wrong with it."""

    message: str


class Evaluations(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one request asks. single: it is answered as one decision and not as a list."""

    items: tuple[Evaluation | Unreadable, ...]
    semantic: Semantic = "execute_all"
    single: bool = False


class Search(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which subjects, resources or actions. The one that is searched for has no id. start: from which candidate on."""

    wanted: Literal["subject", "resource", "action"]
    subject: Entity | Sort
    resource: Entity | Sort
    action: Verb | None = None
    context: Properties = None
    limit: int = PAGE_LIMIT
    start: int = 0
    query: str = ""


Question = Evaluations | Search


class _Options(msgspec.Struct, frozen=True):
    evaluations_semantic: Semantic = "execute_all"


class _Several(msgspec.Struct, frozen=True):
    evaluations: list[dict[str, Any]] = []
    options: _Options | None = None


class _Page(msgspec.Struct, frozen=True):
    token: Annotated[str, Meta(max_length=256)] = ""
    limit: Annotated[int, Meta(ge=0)] | None = None


class _SubjectSearch(msgspec.Struct, frozen=True, kw_only=True):
    subject: Sort
    action: Verb
    resource: Entity
    context: Properties = None
    page: _Page | None = None


class _ResourceSearch(msgspec.Struct, frozen=True, kw_only=True):
    subject: Entity
    action: Verb
    resource: Sort
    context: Properties = None
    page: _Page | None = None


class _ActionSearch(msgspec.Struct, frozen=True, kw_only=True):
    subject: Entity
    resource: Entity
    context: Properties = None
    page: _Page | None = None


_Token = tuple[Annotated[int, Meta(ge=0, le=1_000_000)], Annotated[int, Meta(ge=0, le=PAGE_LIMIT)], str]
_SEARCHES: Final[dict[str, Any]] = {"subject": _SubjectSearch, "resource": _ResourceSearch, "action": _ActionSearch}
_token: Final = msgspec.json.Decoder(_Token)


def parse_evaluation(value: dict[str, Any]) -> Evaluations:
    """Return the one evaluation of a body. Raises: Malformed."""
    return Evaluations((_read(value, Evaluation),), single=True)


def parse_evaluations(value: dict[str, Any]) -> Evaluations:
    """Return the evaluations of a body, defaults filled in; without any it is the single one. Raises: Malformed.

    One that is incomplete among several is no fault of the request: it is answered, with no.
    """
    asked = _read(value, _Several)
    if not asked.evaluations:
        return parse_evaluation(value)
    if len(asked.evaluations) > EVALUATIONS_LIMIT:
        raise Malformed(f"at most {EVALUATIONS_LIMIT} evaluations a request", code="too-many-evaluations")
    defaults = {name: value[name] for name in Evaluation.__struct_fields__ if name in value}
    if _inherited_bytes(defaults, asked.evaluations) > INHERITED_LIMIT_BYTES:
        raise Malformed("the defaults are too long for that many evaluations", code="too-many-evaluations")
    semantic = (asked.options or _Options()).evaluations_semantic
    return Evaluations(tuple(_one(defaults | item) for item in asked.evaluations), semantic)


def _inherited_bytes(defaults: dict[str, Any], items: list[dict[str, Any]]) -> int:
    return sum(len(_encode(value)) * sum(name not in item for item in items) for name, value in defaults.items())


def _one(value: dict[str, Any]) -> Evaluation | Unreadable:
    try:
        return msgspec.convert(value, Evaluation)
    except msgspec.ValidationError as error:
        return Unreadable(str(error))


def parse_search(value: dict[str, Any], wanted: Literal["subject", "resource", "action"]) -> Search:
    """Return the search of a body, with the place where it goes on. Raises: Malformed."""
    asked = _read(value, _SEARCHES[wanted])
    page = asked.page or _Page()
    search = Search(wanted, asked.subject, asked.resource, getattr(asked, "action", None), asked.context)
    query = hashlib.sha256(_encode(search)).hexdigest()[:32]
    limit = PAGE_LIMIT if page.limit is None else min(page.limit, PAGE_LIMIT)
    start = 0
    if page.token:
        start, first_limit, of = _opened(page.token)
        if of != query or (page.limit is not None and limit != first_limit):
            raise Malformed("the page token is of another search", code="bad-page-token")
        limit = first_limit
    return msgspec.structs.replace(search, limit=limit, start=start, query=query)


def _opened(token: str) -> _Token:
    try:
        opened: _Token = _token.decode(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("not a page token of this search", code="bad-page-token") from error
    return opened


def next_token(search: Search, start: int) -> str:
    """Return the token with which the same search goes on at start: it names a place, and nothing that is there."""
    return base64.urlsafe_b64encode(_encode((start, search.limit, search.query))).decode()


def _read(value: dict[str, Any], shape: Any) -> Any:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a valid request: {error}", code="bad-request") from error


def configuration(base_url: str) -> dict[str, Any]:
    """Return the metadata of this decision point. base_url: as its callers reach it, without a path."""
    return {
        "policy_decision_point": base_url,
        "access_evaluation_endpoint": base_url + EVALUATION_PATH,
        "access_evaluations_endpoint": base_url + EVALUATIONS_PATH,
        **{f"search_{wanted}_endpoint": base_url + path for path, wanted in SEARCH_PATHS.items()},
    }
