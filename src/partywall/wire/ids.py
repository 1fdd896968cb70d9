"""Identifiers, frozen from the first record: `<prefix>_` + 128 random bits in lower-case base32.

Never reused, never time-ordered. Randomness is an argument: this zone is pure. Source: ADR-0002.
"""

from __future__ import annotations

import base64
import re
from typing import Final, NewType

from partywall.errors import Malformed

OrganisationId = NewType("OrganisationId", str)
TenantId = NewType("TenantId", str)
UserId = NewType("UserId", str)
AgentId = NewType("AgentId", str)
SessionId = NewType("SessionId", str)
KeyId = NewType("KeyId", str)
ActId = NewType("ActId", str)
PermitId = NewType("PermitId", str)
ServerId = NewType("ServerId", str)
ModelId = NewType("ModelId", str)
PolicyId = NewType("PolicyId", str)
TokenId = NewType("TokenId", str)
CollectionId = NewType("CollectionId", str)

PREFIXES: Final = {
    OrganisationId: "org",
    TenantId: "ten",
    UserId: "usr",
    AgentId: "agt",
    SessionId: "ses",
    KeyId: "key",
    ActId: "act",
    PermitId: "prm",
    ServerId: "mcp",
    ModelId: "mdl",
    PolicyId: "pol",
    TokenId: "tok",
    CollectionId: "col",
}
ID_BYTES: Final = 16
_SHAPE: Final = re.compile(r"[a-z]{3}_[a-z2-7]{26}", re.ASCII)


def format_id(prefix: str, random_bytes: bytes) -> str:
    """Return an id. random_bytes: exactly 16, from a cryptographic source."""
    if len(random_bytes) != ID_BYTES:
        raise ValueError("an id takes 16 random bytes")
    return f"{prefix}_{base64.b32encode(random_bytes).decode().rstrip('=').lower()}"


def parse_id(text: str, prefix: str) -> str:
    """Return text when it is a well-formed id of that prefix. Raises: Malformed."""
    if not _SHAPE.fullmatch(text) or not text.startswith(prefix + "_"):
        raise Malformed(f"not a {prefix}_ id", code="malformed-id")
    return text


def is_id(text: str, prefix: str) -> bool:
    """Tell whether text has the shape of an id of that prefix."""
    return text.startswith(prefix + "_") and _SHAPE.fullmatch(text) is not None
