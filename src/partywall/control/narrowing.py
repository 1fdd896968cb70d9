"""A credential never gives its holder more than it carries: not wider, not longer, not for somebody else.

Pure. Source: attacks.md MCP-2, `decision/principal.py` (delegation only narrows).
"""

from __future__ import annotations

from typing import Any

import msgspec

from partywall.control.caller import Credential
from partywall.errors import Denied
from partywall.wire.operations import TokenCreate


def narrow_token(operation: TokenCreate, credential: Credential) -> TokenCreate:
    """Return what a holder gets for itself: scopes, session and user of its own credential, or less.

    Raises: Denied for scopes it lacks, another session than its credential's, or a user that it was not given.
    """
    return msgspec.structs.replace(
        operation,
        scopes=narrow_scopes(operation.scopes, credential),
        session=_same(operation.session, credential.session, "session", free=credential.session is None),
        on_behalf_of=_same(operation.on_behalf_of, credential.on_behalf_of, "user", free=False),
        resource=_same(operation.resource, credential.resource, "resource", free=credential.resource is None),
    )


def narrow_scopes(wanted: list[Any] | None, credential: Credential) -> list[Any] | None:
    """Return the scopes; without a wish, the credential's own. Raises: Denied for one that the credential lacks."""
    if credential.scopes is None:
        return wanted
    if wanted is None:
        return list(credential.scopes)
    if wider := next((scope for scope in wanted if scope not in credential.scopes), None):
        raise Denied(f"your credential does not carry {wider}", code="denied")
    return wanted


def narrow_exchange(
    wanted: list[Any] | None, acting: Credential, user: Credential | None, *, limit_s: float
) -> tuple[list[Any] | None, float]:
    """Return (scopes, end in Unix seconds) of what is given for one credential, or for an agent's and its user's.

    limit_s: the latest end of all. Invariant: no scope that either lacks, no end after either's.
    Raises: Denied for a scope that either lacks.
    """
    scopes, ends_at_s = narrow_scopes(wanted, acting), min(limit_s, acting.expires_at_s)
    if user is None:
        return scopes, ends_at_s
    if wanted is None and scopes is not None and user.scopes is not None:
        scopes = [scope for scope in scopes if scope in user.scopes]
    return narrow_scopes(scopes, user), min(ends_at_s, user.expires_at_s)


def _same(wanted: str | None, own: str | None, what: str, *, free: bool) -> str | None:
    if wanted is None:
        return own
    if wanted != own and not free:
        raise Denied(f"your credential is for another {what}", code="denied")
    return wanted
