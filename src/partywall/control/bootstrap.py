"""The one-time token for the first operator's key. Only its hash is in the database; the file goes when it is used.

A new one is made at a start without any operator who holds a live key: at first, and after the last key ended.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Final

from partywall.control.credentials import ensure_operator, issue_key
from partywall.control.database import Database
from partywall.control.keyring import write_secret
from partywall.control.work import Reply, Work
from partywall.errors import Unauthenticated

FILE: Final = "bootstrap-token"
FIRST_OPERATOR: Final = "operator"
_PENDING: Final = "select token_sha256 from control.bootstrap where used_at_s is null and expires_at_s > $1"
_OPERATED: Final = """
    select exists (select from control.api_key k join control.subject s on s.id = k.subject
                   where k.tenant is null and s.state = 'active' and k.revoked_at_s is null and k.expires_at_s > $1)"""


async def offer_bootstrap(database: Database, folder: Path, *, life_s: float, now_s: float) -> None:
    """Have a token waiting in folder/bootstrap-token when, and only when, nobody can operate the deployment."""
    path = folder / FILE
    async with database.transaction() as connection:
        operated = await connection.fetchval(_OPERATED, now_s)
        pending = [row["token_sha256"] for row in await connection.fetch(_PENDING, now_s)]
        if not operated and path.is_file() and _sha256(path.read_text().strip()) in pending:
            return
        await connection.execute("delete from control.bootstrap where used_at_s is null")
        if operated:
            path.unlink(missing_ok=True)
            return
        token = "pwb_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        await connection.execute(
            "insert into control.bootstrap (token_sha256, expires_at_s) values ($1, $2)", _sha256(token), now_s + life_s
        )
        write_secret(path, token.encode())


async def withdraw_expired(database: Database, folder: Path, now_s: float) -> None:
    """Remove the file once its token can no longer be used."""
    if not (folder / FILE).exists():
        return
    async with database.transaction() as connection:
        pending = await connection.fetchval(_PENDING + " limit 1", now_s)
    if pending is None:
        (folder / FILE).unlink(missing_ok=True)


async def bootstrap(work: Work, token: str) -> Reply:
    """Return {"key": the first operator's key with its secret}, once. Raises: Unauthenticated."""
    given = _sha256(token)
    match: bytes | None = None
    for row in await work.connection.fetch(_PENDING, work.now_s):
        if hmac.compare_digest(row["token_sha256"], given):
            match = row["token_sha256"]
    if match is None:
        raise Unauthenticated("not a bootstrap token that can still be used", code="bad-bootstrap-token")
    await work.connection.execute(
        "update control.bootstrap set used_at_s = $2 where token_sha256 = $1", match, work.now_s
    )
    operator = await ensure_operator(work, FIRST_OPERATOR)
    return {"key": await issue_key(work, tenant=None, subject=operator)}


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
