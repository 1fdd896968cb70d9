"""API keys and the end of credentials. A secret leaves once, in the reply that made it; its SHA-256 stays.

Source: ADR-0007, attacks.md ID-3 and ID-5.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from typing import Final

from partywall.control.narrowing import narrow_scopes
from partywall.control.paging import paged, position_of
from partywall.control.subjects import lock_active_subject
from partywall.control.work import Reply, Work, new_id, not_found, require_room
from partywall.decision.action import ActionType
from partywall.decision.facts import State
from partywall.decision.principal import Kind
from partywall.errors import Conflict, Malformed
from partywall.wire.operations import KeyCreate, KeyDelete, KeyList, KeyShow, OperatorKeyCreate

KEYS_LIMIT: Final = 5_000
SECRET_BYTES: Final = 32
_COUNT: Final = """
    select count(*) from control.api_key
    where tenant is not distinct from $1 and revoked_at_s is null and expires_at_s > extract(epoch from now())"""
_KEYS: Final = """
    select id, subject, scopes, on_behalf_of, created_at_s, expires_at_s, revoked_at_s is not null as revoked
    from control.api_key where tenant is not distinct from $1"""
_INSERT: Final = """
    insert into control.api_key
        (id, tenant, subject, secret_sha256, scopes, on_behalf_of, created_at_s, expires_at_s, revision)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""


async def create_key(work: Work, operation: KeyCreate) -> Reply:
    """Return a new key of a subject of the tenant, with its secret; an admin's carries at most the caller's scopes.

    Raises: NotFound, Conflict, Malformed, Denied.
    """
    subject = await lock_active_subject(work, operation.subject)
    if operation.on_behalf_of is not None:
        await lock_delegator(work, subject["kind"], operation.on_behalf_of)
    scopes = operation.scopes
    if subject["kind"] == Kind.TENANT_ADMIN and work.credential is not None:
        scopes = narrow_scopes(scopes, work.credential)
    return await issue_key(
        work,
        tenant=work.tenant,
        subject=operation.subject,
        scopes=scopes,
        life_s=operation.life_s,
        on_behalf_of=operation.on_behalf_of,
    )


async def list_keys(work: Work, operation: KeyList) -> Reply:
    """Return a page of the keys of the caller's tenant (an operator: of the operators), oldest first, no secrets."""
    after = position_of(work, operation) or (None, None)
    rows = await work.connection.fetch(
        _KEYS
        + """ and ($2::double precision is null or (created_at_s, id) > ($2, $3::text))
              order by created_at_s, id limit $4""",
        work.scope,
        *after,
        operation.limit + 1,
    )
    page, following = paged(work, operation, rows, lambda row: (row["created_at_s"], row["id"]))
    return {"keys": [dict(row) for row in page], "next_cursor": following}


async def show_key(work: Work, operation: KeyShow | KeyDelete) -> Reply:
    """Return a key of the caller's tenant (an operator: of the operators) without its secret. Raises: NotFound."""
    row = await work.connection.fetchrow(_KEYS + " and id = $2", work.scope, operation.key)
    if row is None:
        raise not_found("key")
    return dict(row)


async def create_operator_key(work: Work, operation: OperatorKeyCreate) -> Reply:
    """Return a key of the operator of that slug, who is made when missing. Raises: Conflict when suspended."""
    operator = await ensure_operator(work, operation.slug)
    return await issue_key(work, tenant=None, subject=operator, life_s=operation.life_s)


async def ensure_operator(work: Work, slug: str) -> str:
    """Return the id of the operator of that slug, made when missing. Raises: Conflict when suspended."""
    row = await work.connection.fetchrow(
        "select id, state from control.subject where tenant is null and slug = $1 and state <> 'deleted'", slug
    )
    if row is not None:
        if row["state"] != State.ACTIVE:
            raise Conflict("the operator is suspended", code="suspended")
        return str(row["id"])
    operator = new_id("usr")
    await work.connection.execute(
        "insert into control.subject (id, slug, kind, created_at_s) values ($1, $2, $3, $4)",
        operator,
        slug,
        Kind.PLATFORM_OPERATOR,
        work.now_s,
    )
    return operator


async def issue_key(
    work: Work,
    *,
    tenant: str | None,
    subject: str,
    scopes: Sequence[str] | None = None,
    life_s: float | None = None,
    on_behalf_of: str | None = None,
) -> Reply:
    """Return the key object with `secret`: `pw_<26 characters of the id>_<43 of base64url>`, shown once."""
    limit_s = work.settings.api_key_s
    if life_s is not None and not 0 < life_s <= limit_s:
        raise Malformed(f"life_s is above 0 and at most {limit_s:.0f}")
    await require_room(work, _COUNT, tenant, KEYS_LIMIT, "live keys a tenant")
    key = new_id("key")
    secret = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).decode().rstrip("=")
    digest = hashlib.sha256(secret.encode("ascii")).digest()
    carried = checked_scopes(scopes)
    expires_at_s = work.now_s + (limit_s if life_s is None else life_s)
    await work.connection.execute(
        _INSERT, key, tenant, subject, digest, carried, on_behalf_of, work.now_s, expires_at_s, work.revision
    )
    reply = {
        "id": key,
        "subject": subject,
        "expires_at_s": expires_at_s,
        "scopes": carried,
        "secret": f"pw_{key.removeprefix('key_')}_{secret}",
    }
    return reply if on_behalf_of is None else reply | {"on_behalf_of": on_behalf_of}


async def lock_delegator(work: Work, kind: str, user: str) -> int:
    """Return the clearance of the user for whom an agent acts. Raises: Malformed, NotFound, Conflict."""
    if kind != Kind.AGENT:
        raise Malformed("only an agent acts for a user", code="bad-delegation")
    row = await lock_active_subject(work, user)
    if row["kind"] not in {Kind.USER, Kind.TENANT_ADMIN}:
        raise not_found("user")
    return int(row["clearance"])


def checked_scopes(scopes: Sequence[str] | None) -> list[str] | None:
    """Return the scopes, each once and in order. Raises: Malformed for what is no action."""
    if scopes is None:
        return None
    known = {action.value for action in ActionType}
    if unknown := next((scope for scope in scopes if scope not in known), None):
        raise Malformed(f"there is no action {unknown}", code="no-such-action")
    return sorted(set(scopes))
