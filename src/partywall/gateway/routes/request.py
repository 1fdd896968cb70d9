"""What a route is asked, and the checks that every kind of route shares. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from partywall.errors import Malformed


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One request, parsed but not judged. path: the values of the pattern's names; body: None without one."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any] | None
    trace_id: str


def refuse_unknown(query: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raises: Malformed when the query has a parameter that the route does not know."""
    if any(name not in known for name in query):
        raise Malformed("an unknown query parameter", code="unknown-parameter")


def refuse_body(asked: Asked) -> None:
    """Raises: Malformed when there is a body."""
    if asked.body is not None:
        raise Malformed("this request takes no body", code="bad-request")


def number(name: str, text: str) -> int:
    """Return the number that a parameter is. Raises: Malformed."""
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Malformed(f"{name} is a number", code="bad-request")
    return int(text)
