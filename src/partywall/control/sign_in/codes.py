"""Authorization codes: one use, one minute, for one client, redirect URI, challenge and resource. Only a hash is kept.

A code is the first thing of a sign-in that costs a row, so a person must have signed in for it. A code that comes twice
ends all that its first use gave. Source: RFC 6749 4.1.2 and 10.5, RFC 7636 4.6, RFC 9700 2.1.1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

import asyncpg

from partywall.control.sign_in.credentials import end_given, give_credential, refusal, still_bound
from partywall.control.sign_in.families import begin_family
from partywall.control.sign_in.request import Asked
from partywall.control.work import Reply
from partywall.errors import LimitExceeded, Malformed
from partywall.wire.sign_in import VERIFIER, Redeem

LIFE_S: Final = 60.0
LIVE_LIMIT: Final = 100
_COUNT: Final = "select count(*) from control.authorization_code where subject = $1 and expires_at_s > $2"
_INSERT: Final = """
    insert into control.authorization_code (code_sha256, attempt, tenant, subject, client, redirect_uri, challenge,
        scopes, resource, ancestors, lasting, expires_at_s)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing returning true"""
_FIND: Final = """
    select c.*, s.kind from control.authorization_code c join control.subject s on s.id = c.subject
    where c.code_sha256 = $1 for update of c"""
_USE: Final = "update control.authorization_code set used_at_s = $2, given = $3 where code_sha256 = $1"


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
        asked.lasting,
        now_s + LIFE_S,
    )
    if not made:
        raise Malformed("this sign-in has been finished already: begin anew", code="bad-sign-in")
    return code


async def redeem_code(
    connection: asyncpg.Connection,
    step: Redeem,
    *,
    resource: str | None,
    now_s: float,
    life_s: float,
    lasting_s: float,
) -> Reply:
    """Return what `give_credential` does, maybe with a "refresh_token"; {"error"} for whatever is wrong with the code.

    What was changed must be committed in either case.
    """
    row = await connection.fetchrow(_FIND, _sha256(step.code))
    if row is None:
        return refusal()
    if row["used_at_s"] is not None:  # one of its two users was not the client
        if row["given"] is not None:
            await end_given(connection, row["given"], now_s)
        return refusal()
    if not (_fits(row, step, resource) and now_s < row["expires_at_s"]):
        await connection.execute(_USE, row["code_sha256"], now_s, None)
        return refusal()
    if not await still_bound(connection, row["ancestors"]):
        return refusal()
    more: Reply = {}
    ancestors, family = row["ancestors"], None
    if row["lasting"]:
        family, more["refresh_token"] = await begin_family(connection, row, now_s=now_s, lasting_s=lasting_s)
        ancestors = [*ancestors, family]
    given = await give_credential(connection, row, ancestors=ancestors, scopes=row["scopes"], ends_at_s=now_s + life_s)
    await connection.execute(_USE, row["code_sha256"], now_s, family or given["credential"])
    return given | more


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


def _sha256(code: str) -> bytes:
    return hashlib.sha256(code.encode()).digest()
