"""Transaction tokens: what a request is about and for whom, for the services behind the caller, for a minute at most.

They are for services inside the trust domain, which verify them with our published keys. No door of ours takes one: its
type is not that of an access token. Source: draft-ietf-oauth-transaction-tokens, ADR-0011.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from partywall.control.caller import Credential
from partywall.control.credentials import checked_scopes
from partywall.control.federation.exchange import spiffe_id
from partywall.control.narrowing import narrow_scopes
from partywall.control.tokens import sign_token
from partywall.control.work import Reply, Work, new_id, not_found
from partywall.errors import CallerFault, Denied, Malformed
from partywall.wire.operations import TransactionCreate

TYPE: Final = "txntoken+jwt"
TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:txn_token"  # noqa: S105 - a name of the draft
LIFE_S: Final = 60.0
CONTEXT_LIMIT_BYTES: Final = 2_048
_GRANTED: Final = """
    select action from control.subject_grant
    where tenant = $1 and subject = $2 and (expires_at_s is null or expires_at_s > $3)"""


async def create_transaction(work: Work, operation: TransactionCreate) -> Reply:
    """Return a transaction token of the caller. Raises: Denied for a scope that it (or its user) lacks; Malformed."""
    credential = work.credential
    if credential is None or operation.subject != work.principal:
        raise not_found("subject")
    for given in (operation.details, operation.context):
        if len(msgspec.json.encode(given)) > CONTEXT_LIMIT_BYTES:
            raise Malformed(f"a context has at most {CONTEXT_LIMIT_BYTES} bytes", code="bad-request")
    scopes = _scopes(operation, credential)
    for holder in filter(None, (operation.subject, credential.on_behalf_of)):
        held = {row["action"] for row in await work.connection.fetch(_GRANTED, work.tenant, holder, work.now_s)}
        if lacking := next((scope for scope in scopes if scope not in held), None):
            raise Denied(f"{lacking} is not granted", code="invalid-scope")
    claims = _claims(work, operation, credential.on_behalf_of, scopes, credential.expires_at_s)
    return {
        "access_token": sign_token(claims, work.keyring.signing_key(work.now_s), type_=TYPE),
        "issued_token_type": TOKEN_TYPE,
        "token_type": "N_A",
        "expires_in": claims["exp"] - claims["iat"],
        "scope": " ".join(scopes),
    }


def _scopes(operation: TransactionCreate, credential: Credential) -> list[str]:
    try:
        return list(narrow_scopes(checked_scopes(operation.scopes), credential) or ())
    except CallerFault as fault:
        raise Denied(fault.public, code="invalid-scope") from fault


def _claims(
    work: Work, operation: TransactionCreate, user: str | None, scopes: list[str], limit_s: float
) -> dict[str, Any]:
    """Return the claims. The tenant stands in `tctx` beside, and never inside, what the caller says."""
    issued_at_s = int(work.now_s)
    claims: dict[str, Any] = {
        "iss": f"partywall/{work.region}",
        "aud": work.trust_domain,
        "iat": issued_at_s,
        "exp": int(min(work.now_s + LIFE_S, limit_s)),
        "txn": new_id("txn"),
        "sub": user or operation.subject,
        "scope": " ".join(scopes),
        "req_wl": spiffe_id(work, operation.subject),
        "tctx": {"tenant": work.tenant, "region": work.region, "details": operation.details},
        "rctx": {"context": operation.context},
    }
    if user is not None:
        claims["act"] = {"sub": operation.subject}
    return claims
