"""What a route is asked, and the checks that every kind of route shares. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from partywall.errors import Malformed
from partywall.wire.conditions import NO_TAG, Conditions, parse_key, parse_tags


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, parsed but not judged. path: the values of the pattern's names; body: None without one.

    conditions: of its headers; None when it makes none.
    """

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any] | None
    trace_id: str
    conditions: Conditions | None = None


def refuse_unknown(query: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raises: Malformed when the query has a parameter that the route does not know."""
    if any(name not in known for name in query):
        raise Malformed("an unknown query parameter", code="unknown-parameter")


def refuse_body(asked: Asked) -> None:
    """Raises: Malformed when there is a body."""
    if asked.body is not None:
        raise Malformed("this request takes no body", code="bad-request")


def conditions_of(
    method: str, if_match: str | None, key: str | None, *, conditional: bool, idempotent: bool
) -> Conditions | None:
    """Return what the headers If-Match and Idempotency-Key ask; None for nothing. conditional, idempotent: the route's.

    Raises: Malformed, also for a condition that the route does not look at: it may not be passed over. A key on what is
    the same the second time anyway (GET, DELETE) changes nothing.
    """
    if method in {"GET", "DELETE"} and not idempotent:
        key = None
    if if_match is not None and not conditional:
        raise Malformed("If-Match means nothing here", code="unsupported-condition")
    if key is not None and not idempotent:
        raise Malformed("Idempotency-Key means nothing here", code="unsupported-condition")
    if if_match is None and key is None:
        return None
    tags = None if if_match is None else parse_tags(if_match, weak=False) or [NO_TAG]
    return Conditions(if_match=tags, idempotency_key=None if key is None else parse_key(key))


def number(name: str, text: str) -> int:
    """Return the number that a parameter is. Raises: Malformed."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Malformed(f"{name} is a number", code="bad-request")
    return int(text)
