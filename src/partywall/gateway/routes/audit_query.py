"""PURE. A search of the log as the query of a URL: every parameter a filter, times as RFC 3339 or Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_type_hints

import msgspec
from msgspec import Meta

from partywall.errors import Malformed
from partywall.wire.audit import Filters, Search

_TIMES: Final = {"since": "since_us", "until": "until_us"}
_COUNTS: Final = ("from_seq", "to_seq")
_FREE_TEXT: Final = frozenset({"reason"})
_YEAR_9999_S: Final = 253_402_300_799
FILTERS: Final = (
    *(name for name in Filters.__struct_fields__ if name not in {*_TIMES.values(), *_COUNTS}),
    *_TIMES,
    *_COUNTS,
)
PARAMETERS: Final = (*FILTERS, "order", "limit", "cursor")
"""Every query parameter of a search."""
_HINTS: Final = get_type_hints(Filters, include_extras=True) | get_type_hints(Search, include_extras=True)
TYPES: Final[dict[str, Any]] = {
    name: Annotated[str, Meta(max_length=40)] if name in _TIMES else _HINTS[name] for name in PARAMETERS
}
"""What each may be, for the document; a time is `2026-01-31T08:00:00Z` or Unix seconds."""


def parse_search(query: Mapping[str, str]) -> Search:
    """Return the search that a query of known parameters asks for. Raises: Malformed, naming the parameter."""
    filters: dict[str, Any] = {}
    search: dict[str, Any] = {"filters": filters}
    for name, text in query.items():
        if name in _TIMES:
            filters[_TIMES[name]] = _time_us(name, text)
        elif name in _COUNTS:
            filters[name] = _count(name, text)
        elif name == "limit":
            search[name] = _count(name, text)
        else:
            (filters if name in FILTERS else search)[name] = text
    try:
        return msgspec.convert(search, Search)
    except msgspec.ValidationError as error:
        raise Malformed(f"not a valid search: {error}", code="bad-request") from error


def parameters_of(mode: str, search: Search) -> dict[str, Any]:
    """Return what of a search is recorded: its filters and page; of free text, that it was there."""
    filters = msgspec.to_builtins(search.filters)
    filters |= dict.fromkeys(_FREE_TEXT & set(filters), "(text)")
    recorded = {"mode": mode, "order": search.order, "limit": search.limit, **filters}
    return recorded if search.cursor is None else recorded | {"continued": True}


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Malformed(f"{name} is a number", code="bad-request")
    return int(text)


def _time_us(name: str, text: str) -> int:
    """Return microseconds. text: `2026-01-31T08:00:00Z` with any offset, or Unix seconds, whole or not."""
    try:
        if text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit():
            seconds = float(text)
        else:
            when = datetime.fromisoformat(text)
            seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise Malformed(f"{name} is a time, as 2026-01-31T08:00:00Z or Unix seconds", code="bad-request") from error
    if not 0 <= seconds <= _YEAR_9999_S:
        raise Malformed(f"{name} lies outside of the years 1970 to 9999", code="bad-request")
    return round(seconds * 1_000_000)
