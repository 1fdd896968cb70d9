"""What a caller makes a change depend on: the state that it saw (`If-Match`), and that it happens once.

They travel inside the operation, so the permit binds them. Pure. Source: RFC 9110 section 13,
draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from partywall.errors import Malformed

TAGS_LIMIT: Final = 16
ANY: Final = "*"
NO_TAG: Final = '""'
"""An entity tag that nothing has."""
_TAG: Final = re.compile(r'[ \t]*(W/)?("[!#-~]{0,128}")[ \t]*(,|\Z)', re.ASCII)
_KEY: Final = re.compile(r'(?P<quote>"?)(?P<key>[!#-~]{1,255})(?P=quote)', re.ASCII)

Tag = Annotated[str, Meta(pattern=r'^(\*|"[!#-~]{0,128}")\Z')]
IdempotencyKey = Annotated[str, Meta(pattern=r"^[!#-~]{1,255}\Z")]


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """if_match: entity tags, one of which must be the current one; `*`: it must exist. Both absent: no condition."""

    if_match: Annotated[list[Tag], Meta(min_length=1, max_length=TAGS_LIMIT)] | None = None
    idempotency_key: IdempotencyKey | None = None


def etag_of(representation: bytes) -> str:
    """Return the strong entity tag of these very bytes."""
    return f'"{base64.urlsafe_b64encode(hashlib.sha256(representation).digest()[:18]).decode()}"'


def parse_tags(header: str, *, weak: bool) -> list[str]:
    """Return the entity tags of If-Match or If-None-Match.

    weak: keep weak tags too, as the strong ones they compare equal to (If-None-Match); else they match nothing and
    are left out (If-Match). Raises: Malformed.
    """
    if header.strip() == ANY:
        return [ANY]
    tags: list[str] = []
    at = 0
    for _ in range(TAGS_LIMIT):
        match = _TAG.match(header, at)
        if match is None:
            raise Malformed('entity tags look like "…", as the ETag header gave them', code="bad-condition")
        if weak or match[1] is None:
            tags.append(match[2])
        at = match.end()
        if not match[3]:
            return tags
    raise Malformed(f"at most {TAGS_LIMIT} entity tags", code="bad-condition")


def parse_key(header: str) -> str:
    """Return the key of an Idempotency-Key header, quoted or not. Raises: Malformed."""
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise Malformed("an idempotency key has 1 to 255 visible ASCII characters", code="bad-idempotency-key")
    return match["key"]
