"""Access tokens: short-lived EdDSA JWTs that carry one tenant, one subject and its clearance, immutably.

Source: RFC 9068 (at+jwt), RFC 8693 (act), RFC 8037; attacks.md ID-3 and ID-8.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey

from partywall.control.credentials import checked_scopes, lock_delegator
from partywall.control.keyring import SigningKey
from partywall.control.narrowing import narrow_token
from partywall.control.subjects import lock_active_subject
from partywall.control.work import Reply, Work, new_id, not_found
from partywall.decision.principal import Kind
from partywall.errors import LimitExceeded
from partywall.wire.operations import TokenCreate

LIFE_LIMIT_S: Final = 900.0
LIVE_LIMIT: Final = 1_000
LINEAGE_LIMIT: Final = 8
AUDIENCE: Final = "partywall"
ALGORITHM: Final = "EdDSA"
_INSERT: Final = """
    insert into control.access_token
        (id, tenant, subject, session, on_behalf_of, expires_at_s, scopes, ancestors, resource)
    select $1, $2, $3, $4, $5, $6, $7, $8, $9
    where (select count(*) from control.access_token where subject = $3 and expires_at_s > $10) < $11
    returning true"""


async def create_token(work: Work, operation: TokenCreate) -> Reply:
    """Return a token of an active subject of the caller's tenant; an agent or user gets one for itself only.

    For itself (and for an admin) it is at most what the credential that asks is, and it ends when that is revoked.
    Raises: NotFound (also for anybody else's subject or session), Conflict, Malformed, Denied, LimitExceeded,
    Unavailable.
    """
    credential = work.credential
    if credential is None or (work.kind in {Kind.AGENT, Kind.USER} and operation.subject != work.principal):
        raise not_found("subject")
    if len(credential.lineage) > LINEAGE_LIMIT:
        raise LimitExceeded(f"a token of a token of a token: at most {LINEAGE_LIMIT} deep")
    subject = await lock_active_subject(work, operation.subject)
    ends_at_s = work.now_s + min(work.settings.access_token_s, LIFE_LIMIT_S)
    if operation.subject == work.principal or subject["kind"] == Kind.TENANT_ADMIN:
        operation = narrow_token(operation, credential)
        ends_at_s = min(ends_at_s, credential.expires_at_s)
    clearance = int(subject["clearance"])
    if operation.on_behalf_of is not None:
        clearance = min(clearance, await lock_delegator(work, subject["kind"], operation.on_behalf_of))
    if operation.session is not None:
        await use_session(work, operation.session, operation.subject)
    token, claims = await issue_token(
        work, operation, kind=subject["kind"], clearance=clearance, ends_at_s=ends_at_s, lineage=credential.lineage
    )
    return {
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": claims["exp"] - claims["iat"],
        "id": claims["jti"],
    }


async def issue_token(
    work: Work,
    operation: TokenCreate,
    *,
    kind: str,
    clearance: int,
    ends_at_s: float,
    lineage: Sequence[str],
) -> tuple[str, dict[str, Any]]:
    """Return a signed token and its claims, and keep what can be revoked of it. Nothing is narrowed here.

    kind: of the subject, which is active and locked. lineage: whatever it descends from; it ends with any of those.
    Raises: LimitExceeded, Malformed, Unavailable.
    """
    claims = token_claims(work, operation, kind=kind, clearance=clearance, ends_at_s=ends_at_s)
    kept = await work.connection.fetchval(
        _INSERT,
        claims["jti"],
        work.tenant,
        operation.subject,
        operation.session,
        operation.on_behalf_of,
        float(claims["exp"]),
        claims.get("scp"),
        list(lineage),
        operation.resource,
        work.now_s,
        LIVE_LIMIT,
    )
    if not kept:
        raise LimitExceeded(f"at most {LIVE_LIMIT} live tokens a subject", retry_after_s=60.0)
    return sign_token(claims, work.keyring.signing_key(work.now_s)), claims


async def use_session(work: Work, session: str, subject: str) -> None:
    """A session belongs to the subject that used it first. Raises: NotFound for another's, or a revoked one."""
    await work.connection.execute(
        """insert into control.session (tenant, id, subject, used_at_s) values ($1, $2, $3, $4)
           on conflict (tenant, id) do update set used_at_s = excluded.used_at_s
           where session.subject = excluded.subject""",
        work.tenant,
        session,
        subject,
        work.now_s,
    )
    row = await work.connection.fetchrow(
        "select subject, revoked_at_s from control.session where tenant = $1 and id = $2 for share",
        work.tenant,
        session,
    )
    if row is None or row["subject"] != subject or row["revoked_at_s"] is not None:
        raise not_found("session")


def token_claims(work: Work, operation: TokenCreate, *, kind: str, clearance: int, ends_at_s: float) -> dict[str, Any]:
    """Return the claims. For an agent that acts for a user: sub is the user, act.sub the agent, knd agent."""
    issued_at_s = int(work.now_s)
    claims: dict[str, Any] = {
        "iss": f"partywall/{work.region}",
        "aud": AUDIENCE,
        "sub": operation.subject,
        "iat": issued_at_s,
        "exp": int(ends_at_s),
        "jti": new_id("tok"),
        "region": work.region,
        "ten": work.tenant,
        "knd": kind,
        "clr": clearance,
    }
    if operation.on_behalf_of is not None:
        claims |= {"sub": operation.on_behalf_of, "act": {"sub": operation.subject}}
    if operation.scopes is not None:
        claims["scp"] = checked_scopes(operation.scopes)
    if operation.session is not None:
        claims["ses"] = operation.session
    if operation.resource is not None:
        claims["res"] = operation.resource
    return claims


def sign_token(claims: dict[str, Any], key: SigningKey, *, type_: str = "at+jwt") -> str:
    """Return the compact JWT. type_: says what it is good for; no verifier takes one for another."""
    header = {"alg": ALGORITHM, "kid": key.kid, "typ": type_}
    with warnings.catch_warnings():
        # RFC 9864 renames the algorithm to Ed25519; today's verifiers know EdDSA, and the curve is fixed by our keys.
        warnings.simplefilter("ignore", SecurityWarning)
        return jwt.encode(header, claims, _jwk(key.private), algorithms=[ALGORITHM])


@functools.lru_cache(maxsize=1)
def _jwk(private: Ed25519PrivateKey) -> OKPKey:
    """Return the key as the library wants it: of the one key whose turn it is."""
    return OKPKey.import_key(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
