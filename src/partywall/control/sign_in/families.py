"""Refresh tokens: each good once, in families that last for hours and end whole when one of them comes twice.

A client asks for them (`offline_access`) and the person sees that on the page. Every renewal asks on the tenant's road
again, so suspension, a removed binding and the tenant's policy hold at once. Source: RFC 6749 6, RFC 9700 4.14.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

import asyncpg

from partywall.control.sign_in.credentials import end_given, give_credential, refusal, still_bound
from partywall.control.work import Reply, new_id
from partywall.wire.sign_in import Refresh

LIVE_LIMIT: Final = 100
"""Sign-ins of one person that last; one more ends the oldest."""
_OLDEST: Final = """
    select id from control.refresh_family where subject = $1 and expires_at_s > $2 and ended_at_s is null
    order by expires_at_s desc, id offset $3 for update"""
_INSERT: Final = """
    insert into control.refresh_family
        (id, tenant, subject, client, scopes, resource, ancestors, secret_sha256, expires_at_s)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""
_FIND: Final = """
    select f.*, s.kind from control.refresh_family f join control.subject s on s.id = f.subject
    where f.id = $1 and f.ended_at_s is null and f.expires_at_s > $2 for update of f"""
_TURN: Final = "update control.refresh_family set secret_sha256 = $2 where id = $1"


async def begin_family(
    connection: asyncpg.Connection, code: asyncpg.Record, *, now_s: float, lasting_s: float
) -> tuple[str, str]:
    """Return (family, its first refresh token) for a code's row."""
    for row in await connection.fetch(_OLDEST, code["subject"], now_s, LIVE_LIMIT - 1):
        await end_given(connection, row["id"], now_s)
    family, secret = new_id("rft"), _secret()
    await connection.execute(
        _INSERT,
        family,
        code["tenant"],
        code["subject"],
        code["client"],
        code["scopes"],
        code["resource"],
        code["ancestors"],
        _sha256(secret),
        now_s + lasting_s,
    )
    return family, _token(family, secret)


async def renew(
    connection: asyncpg.Connection,
    step: Refresh,
    *,
    resource: str | None,
    scopes: Sequence[str] | None,
    now_s: float,
    life_s: float,
) -> Reply:
    """Return what `give_credential` does and the next "refresh_token", or {"error"}; commit either.

    scopes: narrower ones that are asked for this time; None for the family's.
    """
    family, secret = _parts(step.refresh_token)
    row = await connection.fetchrow(_FIND, family, now_s)
    if row is None:
        return refusal()
    if not fits(row["secret_sha256"], secret):  # one that was used already: a thief's, or its victim's
        await end_given(connection, family, now_s)
        return refusal()
    if step.client_id != row["client"] or (step.resource is not None and resource != row["resource"]):
        return refusal()
    if scopes is not None and row["scopes"] is not None and not set(scopes) <= set(row["scopes"]):
        return {"error": "invalid_scope"}
    if not await still_bound(connection, row["ancestors"]):
        await end_given(connection, family, now_s)
        return refusal()
    following = _secret()
    await connection.execute(_TURN, family, _sha256(following))
    given = await give_credential(
        connection,
        row,
        ancestors=[*row["ancestors"], family],
        scopes=row["scopes"] if scopes is None else scopes,
        ends_at_s=min(now_s + life_s, row["expires_at_s"]),
    )
    return given | {"refresh_token": _token(family, following)}


async def end_family(connection: asyncpg.Connection, refresh_token: str, now_s: float) -> None:
    """End the family of a refresh token, whichever of its tokens it is; nothing for one that has ended."""
    family = _parts(refresh_token)[0]
    if await connection.fetchrow(_FIND, family, now_s) is not None:
        await end_given(connection, family, now_s)


def fits(secret_sha256: bytes, secret: str) -> bool:
    """Whether a secret is the family's present one."""
    return hmac.compare_digest(secret_sha256, _sha256(secret))


def _secret() -> str:
    return secrets.token_urlsafe(32)


def _token(family: str, secret: str) -> str:
    return f"pwr_{family.removeprefix('rft_')}_{secret}"


def _parts(refresh_token: str) -> tuple[str, str]:
    return f"rft_{refresh_token[4:30]}", refresh_token[31:]


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
