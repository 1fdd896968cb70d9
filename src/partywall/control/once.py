"""An operation under its caller's conditions: on the state that it saw (If-Match), and once (Idempotency-Key).

Both are checked inside the operation's own transaction, so a condition that fails changes nothing, and a key is kept
exactly when the effect is. A failed request keeps no key: trying again does it. What a reply held of secrets is not
kept: repeating such a request is refused, with the ids of what it made. Source: RFC 9110 section 13.1.1,
draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET

from partywall.control.work import Reply, Work
from partywall.decision.manifest import canonical_json
from partywall.errors import Conflict, LimitExceeded, Malformed
from partywall.wire.conditions import ANY, Conditions, etag_of
from partywall.wire.operations import Operation

KEPT_S: Final = 86_400.0
KEYS_LIMIT: Final = 4_096
KEPT_LIMIT_BYTES: Final = 16_777_216
"""What one tenant's replies may take, and how many of them there may be."""

Run = Callable[[Work, Any], Awaitable[Reply]]

# An ended row is nobody's: it is taken over. One that is being written by another transaction is waited for.
_CLAIM: Final = """
    insert into control.idempotency as kept (realm, principal, key_sha256, payload_sha256, expires_at_s)
    values ($1, $2, $3, $4, $5)
    on conflict (realm, principal, key_sha256) do update
    set payload_sha256 = excluded.payload_sha256, reply = null, made = '', expires_at_s = excluded.expires_at_s
    where kept.expires_at_s <= $6
    returning true"""
_KEPT: Final = """
    select payload_sha256, reply, made from control.idempotency
    where realm = $1 and principal = $2 and key_sha256 = $3"""
_ROOM: Final = """
    select count(*) as keys, coalesce(sum(octet_length(reply)), 0) as bytes from control.idempotency where realm = $1"""
_KEEP: Final = """
    update control.idempotency set reply = $4, made = $5 where realm = $1 and principal = $2 and key_sha256 = $3"""


class Done(msgspec.Struct, frozen=True):
    """body: canonical JSON. replayed: it was done by an earlier request of the same key, and this is that reply."""

    body: bytes
    replayed: bool = False


async def perform(
    work: Work, operation: Operation, payload: bytes, run: Run, current: Run | None, *, secret: bool
) -> Done:
    """Do an operation under its conditions. payload: its canonical bytes. current: what If-Match is about.

    secret: whether its reply holds one. Raises: Conflict (`precondition-failed`, `idempotency-key-reused`,
    `secret-shown-once`); LimitExceeded; what run raises.
    """
    given = getattr(operation, "conditions", UNSET)
    conditions = given if isinstance(given, Conditions) else Conditions()
    once = None
    if conditions.idempotency_key is not None:
        once = _Once(work, conditions.idempotency_key, payload)
        kept = await once.claim()
        if kept is not None:
            return Done(kept, replayed=True)
    if conditions.if_match is not None:
        await _require_match(work, operation, conditions.if_match, current)
    reply = await run(work, operation)
    body = canonical_json(reply)
    if once is not None:
        await once.keep(None if secret else body, " ".join(_ids(reply)) if secret else "")
    return Done(body)


async def _require_match(work: Work, operation: Operation, tags: list[str], current: Run | None) -> None:
    if current is None:
        raise Malformed("this change takes no If-Match", code="unsupported-condition")
    representation = canonical_json(await current(work, operation))
    if tags != [ANY] and etag_of(representation) not in tags:
        raise Conflict("it has changed since you read it: read it again", code="precondition-failed")


def row_of(work: Work, key: str) -> tuple[str, str, bytes]:
    """Return where a key is kept: its tenant's, its principal's, and never in clear."""
    return str(work.tenant), work.principal, hashlib.sha256(key.encode()).digest()


class _Once:
    """One key of one principal in this transaction."""

    def __init__(self, work: Work, key: str, payload: bytes) -> None:
        self._work = work
        self._row = row_of(work, key)
        self._payload_sha256 = hashlib.sha256(payload).digest()

    async def claim(self) -> bytes | None:
        """Take the key; None when it is ours, or else the reply that was kept. Raises: Conflict, LimitExceeded."""
        connection, now_s = self._work.connection, self._work.now_s
        if await connection.fetchval(_CLAIM, *self._row, self._payload_sha256, now_s + KEPT_S, now_s):
            await self._require_room()
            return None
        kept = await connection.fetchrow(_KEPT, *self._row)
        if kept["payload_sha256"] != self._payload_sha256:
            raise Conflict("this idempotency key was used for another request", code="idempotency-key-reused")
        if kept["reply"] is None:
            raise Conflict(
                f"this was done already, and its secret was shown once: it made {kept['made']}; revoke the key or "
                "token and make another if you never saw it",
                code="secret-shown-once",
            )
        return bytes(kept["reply"])

    async def keep(self, reply: bytes | None, made: str) -> None:
        """Keep what is answered."""
        await self._work.connection.execute(_KEEP, *self._row, reply, made)

    async def _require_room(self) -> None:
        taken = await self._work.connection.fetchrow(_ROOM, self._row[0])
        if taken["keys"] > KEYS_LIMIT or taken["bytes"] > KEPT_LIMIT_BYTES:
            raise LimitExceeded(
                "too many idempotency keys in 24 hours: go on without one", code="too-many-idempotency-keys"
            )


def _ids(reply: Reply) -> list[str]:
    """Return the ids of what a reply with a secret is about."""
    found = [reply["id"]] if "id" in reply else []
    for value in reply.values():
        if isinstance(value, dict):
            found += _ids(value)
    return found
