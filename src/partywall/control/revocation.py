"""The end of a credential before its time: a key or token with all that it issued, a session's tokens, a subject.

What is revoked stays revoked: doing it again answers the same. Source: attacks.md ID-3 and ID-5.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from partywall.control.keyring import SKEW_S
from partywall.control.work import Reply, Work, not_found
from partywall.errors import Conflict
from partywall.wire.operations import KeyDelete, Revoke, SubjectDelete, TokenEnd

_REVOKE: Final = """
    insert into control.revocation (credential, revoked_at_s, forget_at_s, revision) values ($1, $2, $3, $4)
    on conflict (credential) do nothing"""
_WAIT: Final = "select pg_advisory_xact_lock(hashtextextended(id, 0)) from control."
_WAIT_FOR_KEY: Final = _WAIT + "api_key where id = $1 and tenant is not distinct from $2"
_WAIT_FOR_TOKEN: Final = _WAIT + "access_token where id = $1 and tenant = $2"
_WAIT_FOR_KEYS: Final = (
    _WAIT
    + "api_key where (subject = $1 or on_behalf_of = $1) and revoked_at_s is null and tenant is not distinct from $2"
)
_WAIT_FOR_SESSION: Final = "select pg_advisory_xact_lock(hashtextextended($1::text || '/' || $2::text, 0))"
"""Queue behind those who are issuing, and before those who come later (`caller.lock_lineage`)."""
_DESCENDANTS: Final = "select from control.access_token where ancestors @> array[$1] order by id for update"
_REVOKE_TOKENS: Final = """
    insert into control.revocation (credential, revoked_at_s, forget_at_s, revision)
    select id, $2, expires_at_s + $3, $4 from control.access_token where {} on conflict (credential) do nothing"""
_WITH_ISSUE: Final = "{0} or ancestors && array(select id from control.access_token where {0})"
"""Tokens and all that descends from them."""


async def revoke(work: Work, operation: Revoke) -> Reply:
    """End one credential of the caller's tenant (an operator: of the operators). Raises: NotFound."""
    end = _ENDS.get(operation.credential[:3])
    if end is None or not await end(work, operation.credential):
        raise not_found("credential")
    return {"revoked": operation.credential}


async def delete_key(work: Work, operation: KeyDelete) -> Reply:
    """End a key of the caller's tenant (an operator: of the operators). Raises: NotFound."""
    if not await _key(work, operation.key):
        raise not_found("key")
    return {"revoked": operation.key}


async def delete_subject(work: Work, operation: SubjectDelete) -> Reply:
    """End a subject of the caller's tenant. Raises: NotFound."""
    if not await _subject(work, operation.subject):
        raise not_found("subject")
    return {"revoked": operation.subject}


async def end_own_token(work: Work, operation: TokenEnd) -> Reply:
    """End the access token that a member came with. Raises: NotFound for another's; Conflict for an API key."""
    if work.credential is None or operation.subject != work.principal:
        raise not_found("subject")
    if not await _token(work, work.credential.id):
        raise Conflict("an API key is revoked by a tenant administrator", code="not-a-token")
    return {"revoked": work.credential.id}


async def _key(work: Work, key: str) -> bool:
    await work.connection.execute(_WAIT_FOR_KEY, key, work.scope)
    expires_at_s = await work.connection.fetchval(
        """update control.api_key set revoked_at_s = coalesce(revoked_at_s, $3), revision = $4
           where id = $1 and tenant is not distinct from $2 returning expires_at_s""",
        key,
        work.scope,
        work.now_s,
        work.revision,
    )
    if expires_at_s is None:
        return False
    await _revoke_with_issue(work, key, expires_at_s)
    return True


async def _token(work: Work, token: str) -> bool:
    await work.connection.execute(_WAIT_FOR_TOKEN, token, work.scope)
    expires_at_s = await work.connection.fetchval(
        "select expires_at_s from control.access_token where id = $1 and tenant = $2 for update", token, work.scope
    )
    if expires_at_s is None:
        return False
    await _revoke_with_issue(work, token, expires_at_s)
    return True


async def revoke_issue(work: Work, ancestor: str) -> None:
    """End every live token that descends from ancestor: a key, a token, an identity provider or a binding to one.

    Whoever issues a token holds its parents: waiting for them here lets none slip past.
    """
    await work.connection.execute(_DESCENDANTS, ancestor)
    await work.connection.execute(
        _REVOKE_TOKENS.format("ancestors @> array[$1]"), ancestor, work.now_s, SKEW_S, work.revision
    )


async def _revoke_with_issue(work: Work, credential: str, expires_at_s: float) -> None:
    """End a key or token, whose row is locked, and every token that descends from it."""
    await work.connection.execute(_REVOKE, credential, work.now_s, expires_at_s + SKEW_S, work.revision)
    await revoke_issue(work, credential)


async def _session(work: Work, session: str) -> bool:
    await work.connection.execute(_WAIT_FOR_SESSION, work.scope, session)
    known = await work.connection.fetchval(
        """update control.session set revoked_at_s = coalesce(revoked_at_s, $3)
           where tenant = $1 and id = $2 returning true""",
        work.scope,
        session,
        work.now_s,
    )
    if known:
        await work.connection.execute(
            _REVOKE_TOKENS.format(_WITH_ISSUE.format("(tenant = $5 and session = $1)")),
            session,
            work.now_s,
            SKEW_S,
            work.revision,
            work.scope,
        )
    return bool(known)


async def _subject(work: Work, subject: str) -> bool:
    # Keys before their subject, as issuing a token takes them: two transactions that lock alike never wait in a ring.
    await work.connection.execute(_WAIT_FOR_KEYS, subject, work.scope)
    keys = await work.connection.fetch(
        """select id from control.api_key where (subject = $1 or on_behalf_of = $1) and revoked_at_s is null
           and tenant is not distinct from $2 order by id for update""",
        subject,
        work.scope,
    )
    known = await work.connection.fetchval(
        "update control.subject set state = 'deleted' where id = $1 and tenant is not distinct from $2 returning true",
        subject,
        work.scope,
    )
    if not known:
        return False
    await work.connection.execute(_REVOKE, subject, work.now_s, None, work.revision)
    await work.connection.execute(
        _REVOKE_TOKENS.format(_WITH_ISSUE.format("(subject = $1 or on_behalf_of = $1)")),
        subject,
        work.now_s,
        SKEW_S,
        work.revision,
    )
    for row in keys:
        await _key(work, row["id"])
    await work.touch(work.scope)
    return True


_ENDS: Final[dict[str, Callable[[Work, str], Awaitable[bool]]]] = {
    "key": _key,
    "tok": _token,
    "ses": _session,
    "usr": _subject,
    "agt": _subject,
}
