"""The token exchange (RFC 8693): an access token for what its bearer already is, or for an agent that acts for a user.

It only narrows: scopes, life and clearance are at most those of everything that was shown. Source: ADR-0011.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from partywall.control.caller import Credential
from partywall.control.credentials import checked_scopes, lock_delegator
from partywall.control.federation.identity import refused, told
from partywall.control.federation.proofs import Proof, Proofs, own_user, use_proof
from partywall.control.narrowing import narrow_exchange
from partywall.control.subjects import lock_active_subject
from partywall.control.tokens import LIFE_LIMIT_S, LINEAGE_LIMIT, issue_token, use_session
from partywall.control.work import Reply, Work, not_found
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.errors import CallerFault, Denied, LimitExceeded, Unauthenticated
from partywall.wire.operations import TokenCreate, TokenExchange

ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of RFC 8693


async def exchange_token(work: Work, operation: TokenExchange) -> Reply:
    """Return a token of the caller itself, or of it on behalf of the user whose proof came with it.

    Raises: Denied (also for a proof that does not hold, or was used), NotFound, Conflict, LimitExceeded.
    """
    acting, proofs = work.credential, work.checked
    if acting is None or not isinstance(proofs, Proofs) or operation.subject != work.principal:
        raise not_found("subject")
    if acting.on_behalf_of is not None:
        raise Denied("this credential already acts for a user", code="denied")
    with told():
        subject = await _subject(work, operation, proofs)
        user, clearance = await _user(work, operation, proofs)
    lineage = (*acting.lineage, *(() if user is None else user.lineage))
    if len(lineage) > LINEAGE_LIMIT:
        raise LimitExceeded(f"a token of a token of a token: at most {LINEAGE_LIMIT} deep")
    if acting.session is not None:
        await use_session(work, acting.session, operation.subject)
    limit_s = work.now_s + min(work.settings.access_token_s, LIFE_LIMIT_S)
    try:
        scopes, ends_at_s = narrow_exchange(checked_scopes(operation.scopes), acting, user, limit_s=limit_s)
    except CallerFault as fault:
        raise Denied(fault.public, code="invalid-scope") from fault
    token, claims = await issue_token(
        work,
        TokenCreate(
            subject=operation.subject,
            scopes=scopes,
            session=acting.session,
            on_behalf_of=operation.user,
            resource=acting.resource,
        ),
        kind=subject["kind"],
        clearance=min(int(subject["clearance"]), clearance),
        ends_at_s=ends_at_s,
        lineage=lineage,
    )
    return _reply(work, token, claims, subject["kind"])


def credential_of(proof: Proof, *, tenant: str, principal: str, kind: str, credential: str) -> Credential:
    """Return the credential of a caller who came with a foreign token. Raises: Unauthenticated unless it is theirs."""
    if (proof.tenant, proof.subject, proof.kind, proof.identity.assertion) != (tenant, principal, kind, credential):
        raise Unauthenticated("a permit for somebody else", code="bad-permit")
    return proof.credential()


async def _subject(work: Work, operation: TokenExchange, proofs: Proofs) -> asyncpg.Record:
    """Return (kind, clearance) of the caller, held as it is. Raises: Unauthenticated, NotFound, Conflict."""
    if proofs.caller is not None:
        return await use_proof(work.connection, proofs.caller, work.now_s)
    return await lock_active_subject(work, operation.subject)


async def _user(work: Work, operation: TokenExchange, proofs: Proofs) -> tuple[Credential | None, int]:
    """Return what the user came with, and the user's clearance; (None, the highest) when there is no user.

    Raises: Unauthenticated unless the proof is that user's; Denied, NotFound, Conflict.
    """
    if (operation.user is None) != (proofs.user is None):
        raise refused("user")
    if proofs.user is None or operation.user is None:
        return None, Classification.RESTRICTED
    if isinstance(proofs.user, Proof):
        _check_may_act(work, operation, proofs.user, proofs.caller)
        await use_proof(work.connection, proofs.user, work.now_s)
        named, credential = proofs.user.subject, proofs.user.credential()
    else:
        named, credential = await own_user(work.connection, proofs.user, work.now_s)
    if named != operation.user:
        raise refused("user")
    return credential, await lock_delegator(work, work.kind, operation.user)


def _check_may_act(work: Work, operation: TokenExchange, user: Proof, caller: Proof | None) -> None:
    """Raises: Unauthenticated when the user's token names who may act, and it is somebody else (RFC 8693 4.4)."""
    named = user.identity.claims.get("may_act")
    if named is None:
        return
    subject = named.get("sub") if isinstance(named, Mapping) else None
    issuer = named.get("iss", user.identity.provider.issuer) if isinstance(named, Mapping) else None
    ours = [operation.subject, spiffe_id(work, operation.subject)]
    theirs = None if caller is None else (caller.identity.provider.issuer, caller.identity.subject)
    if subject not in ours and (issuer, subject) != theirs:
        raise refused("may-act")


def _reply(work: Work, token: str, claims: dict[str, Any], kind: str) -> Reply:
    reply: Reply = {
        "access_token": token,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": claims["exp"] - claims["iat"],
        "id": claims["jti"],
    }
    if "scp" in claims:
        reply["scope"] = " ".join(claims["scp"])
    if kind == Kind.AGENT:
        agent = claims["act"]["sub"] if "act" in claims else claims["sub"]
        reply["spiffe_id"] = spiffe_id(work, agent)
    return reply


def spiffe_id(work: Work, subject: str) -> str:
    """Return the SPIFFE id of a tenant's agent (or user): `spiffe://<domain>/tenant/<tenant>/agent/<agent>`."""
    noun = "agent" if subject.startswith("agt_") else "user"
    return f"spiffe://{work.trust_domain}/tenant/{work.tenant}/{noun}/{subject}"
