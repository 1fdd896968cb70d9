"""Authorization codes: one use, one minute, for one client, redirect URI, challenge and resource. Only a hash is kept.

A code is the first thing of a sign-in that costs a row, so a person must have signed in for it. A code that comes twice
ends all that its first use gave. Source: RFC 6749 4.1.2 and 10.5, RFC 7636 4.6, RFC 9700 2.1.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any, Final

import asyncpg

from partywall.control.database import next_revision
from partywall.control.keyring import SKEW_S
from partywall.control.sign_in.request import Asked
from partywall.control.work import Reply, new_id
from partywall.errors import LimitExceeded, Malformed
from partywall.wire.sign_in import VERIFIER, Redeem

LIFE_S: Final = 60.0
LIVE_LIMIT: Final = 100
_COUNT: Final = "select count(*) from control.authorization_code where subject = $1 and expires_at_s > $2"
_INSERT: Final = """
    insert into control.authorization_code (code_sha256, attempt, tenant, subject, client, redirect_uri, challenge,
        scopes, resource, ancestors, expires_at_s)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing returning true"""
_FIND: Final = """
    select c.*, s.kind from control.authorization_code c join control.subject s on s.id = c.subject
    where c.code_sha256 = $1 for update of c"""
_LOCK: Final = "select from control.access_token where id = $1 or ancestors @> array[$1] order by id for update"
_BOUND: Final = "select true from control.identity_binding where id = any($1::text[]) for share"
_REVOKE: Final = """
    insert into control.revocation (credential, revoked_at_s, forget_at_s, revision)
    select id, $2, expires_at_s + $3, $4 from control.access_token where id = $1 or ancestors @> array[$1]
    on conflict (credential) do nothing"""


async def issue_code(
    connection: asyncpg.Connection,
    *,
    attempt: str,
    asked: Asked,
    tenant: str,
    subject: str,
    ancestors: list[str],
    scopes: list[str] | None,
    now_s: float,
) -> str:
    """Return a fresh code; an attempt has one. ancestors: what its tokens end with.

    Raises: Malformed when the attempt had its code; LimitExceeded.
    """
    if await connection.fetchval(_COUNT, subject, now_s) >= LIVE_LIMIT:
        raise LimitExceeded("too many sign-ins at once", code="too-many-attempts", retry_after_s=LIFE_S)
    code = secrets.token_urlsafe(32)
    made = await connection.fetchval(
        _INSERT,
        _sha256(code),
        attempt,
        tenant,
        subject,
        asked.client,
        asked.redirect_uri,
        asked.challenge,
        scopes,
        asked.resource,
        ancestors,
        now_s + LIFE_S,
    )
    if not made:
        raise Malformed("this sign-in has been finished already: begin anew", code="bad-sign-in")
    return code


async def redeem_code(
    connection: asyncpg.Connection, step: Redeem, *, resource: str | None, now_s: float, life_s: float
) -> Reply:
    """Return {"tenant", "subject", "kind", "credential", "expires_at_s", "scopes", "resource"}, or {"error"} for
    whatever is wrong with the code: then what was changed must be committed all the same.
    """
    row = await connection.fetchrow(_FIND, _sha256(step.code))
    if row is None:
        return _refusal()
    if row["used_at_s"] is not None:
        await _revoke(connection, row["credential"], now_s)
        return _refusal()
    fits = _fits(row, step, resource) and now_s < row["expires_at_s"]
    # Asked last, and held: a binding that goes now waits, and then ends what is given here.
    fits = fits and await connection.fetchval(_BOUND, row["ancestors"]) is not None
    credential = new_id("tok") if fits else None
    await connection.execute(
        "update control.authorization_code set used_at_s = $2, credential = $3 where code_sha256 = $1",
        row["code_sha256"],
        now_s,
        credential,
    )
    if credential is None:
        return _refusal()
    return await _credential(connection, row, credential, now_s + life_s)


async def _credential(connection: asyncpg.Connection, row: asyncpg.Record, credential: str, ends_at_s: float) -> Reply:
    """Let the subject ask for its own token: an id that no token carries, and from which that token descends."""
    await connection.execute(
        """insert into control.access_token (id, tenant, subject, expires_at_s, scopes, resource, ancestors)
           values ($1, $2, $3, $4, $5, $6, $7)""",
        credential,
        row["tenant"],
        row["subject"],
        ends_at_s,
        row["scopes"],
        row["resource"],
        row["ancestors"],
    )
    named: dict[str, Any] = {name: row[name] for name in ("tenant", "subject", "kind", "scopes", "resource")}
    return {**named, "credential": credential, "expires_at_s": ends_at_s}


def _fits(row: asyncpg.Record, step: Redeem, resource: str | None) -> bool:
    """resource: what the token request names; what it does not name is as the authorization request said."""
    return (
        proves(step.code_verifier, row["challenge"])
        and (step.client_id, step.redirect_uri) == (row["client"], row["redirect_uri"])
        and (step.resource is None or resource == row["resource"])
    )


def proves(verifier: str, challenge: str) -> bool:
    """Whether a verifier is what a challenge was made of (RFC 7636, S256)."""
    if not VERIFIER.fullmatch(verifier):
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return hmac.compare_digest(made, challenge)


async def _revoke(connection: asyncpg.Connection, credential: str | None, now_s: float) -> None:
    """End what the first use of a code gave: one of its two users was not the client."""
    if credential is not None:
        revision = await next_revision(connection)
        await connection.execute(_LOCK, credential)  # whoever issues a token holds its parents
        await connection.execute(_REVOKE, credential, now_s, SKEW_S, revision)


def _refusal() -> Reply:
    return {"error": "invalid_grant"}


def _sha256(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
