"""PURE. What a reader may ask of its own log: filters, order and page, as the door, the gateway and the ledger know it.

Every filter narrows; all of them must hold of a leaf. Ranges are half open: `since_us <= time < until_us`,
`from_seq <= seq < to_seq`.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

SEARCH_LIMIT: Final = 500
"""Leaves a page of a search."""
EXTRACT_LIMIT: Final = 250
"""Leaves a page of a filtered export: each comes with its proof."""

Order = Literal["newest", "oldest"]
Count = Annotated[int, Meta(ge=0, le=2**53)]
_Id = Annotated[str, Meta(pattern=r"^[a-z]{3}_[a-z2-7]{26}\Z")]
_Principal = Annotated[str, Meta(pattern=r"^([a-z]{3}_[a-z2-7]{26}|system:[a-z-]{1,32})\Z")]
_Resource = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_./~*:-]{1,300}\Z")]
_Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a leaf must say. user: on whose behalf; resource: its whole name, or `<kind>/<id>` of one's own."""

    action: Annotated[str, Meta(pattern=r"^[a-z]+(\.[a-z]+)?\Z", max_length=64)] | None = None
    action_prefix: Annotated[str, Meta(pattern=r"^[a-z]+(\.[a-z]*)?\Z", max_length=64)] | None = None
    phase: Literal["intent", "outcome", "denial"] | None = None
    verdict: Literal["allow", "deny", "needs-approval"] | None = None
    result: Literal["complete", "failed", "cancelled", "cut", "denied-midway", "unknown"] | None = None
    principal: _Principal | None = None
    user: _Id | None = None
    resource: _Resource | None = None
    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z-]{0,31}\Z")] | None = None
    trace_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")] | None = None
    act: _Id | None = None
    parent: _Id | None = None
    reason: _Text | None = None
    policy_revision: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")] | None = None
    since_us: Count | None = None
    until_us: Count | None = None
    from_seq: Count = 0
    to_seq: Count | None = None


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One page of what the filters find. cursor: from the page before, with the same filters and order."""

    filters: Filters = Filters()
    order: Order = "newest"
    limit: Annotated[int, Meta(ge=1, le=SEARCH_LIMIT)] = 100
    cursor: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}\Z")] | None = None
