"""Foreign tokens as proofs: whom of which tenant a token stands for, verified before any transaction begins.

The gateway asks first (`Identify`), so that the road can decide and record as that principal; when the permit comes
back, the token is verified again, because the gateway is not believed. An assertion is used up with what it gave, in
one transaction. Source: RFC 8693, RFC 7523 section 3, ADR-0011.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Final

import asyncpg
import msgspec

from partywall.control.caller import Credential, find_credential, lock_lineage
from partywall.control.database import Database
from partywall.control.federation.bindings import Candidates, choose, find_candidates
from partywall.control.federation.identity import ExternalIdentity, refused
from partywall.control.federation.recent import Recent
from partywall.control.federation.token import ReadToken, audiences_of, read_token, trust_domain_of
from partywall.control.federation.verifier import Verifier
from partywall.decision.ports import Clock
from partywall.errors import Unauthenticated
from partywall.gateway.access_token import VerifiedToken, verify_access_token
from partywall.wire.control import Identified, Unidentified
from partywall.wire.ids import is_id
from partywall.wire.operations import TokenExchange

_KEYS: Final = "select id, public_key from control.verification_key where not_after_s is null or not_after_s > $1"
_USE: Final = """
    insert into control.used_assertion (id, forget_at_s) values ($1, $2) on conflict (id) do nothing returning true"""
_HOLD: Final = """
    select s.kind, s.clearance
    from (select pg_advisory_xact_lock_shared(hashtextextended($1, 0))) as queue
    cross join control.identity_binding b
    join control.tenant t on t.id = b.tenant and t.state = 'active'
    join control.subject s on s.id = b.subject and s.tenant = b.tenant and s.state = 'active'
    where b.id = $1 and b.subject = $2 and b.tenant = $3 for share of b, s"""
RECENT_S: Final = 2.0
"""Only this process changes bindings, and forgets then; this bounds what a restored database may leave."""
FORGET_S: Final = 60.0
"""How long after its end a used assertion is remembered: longer than clocks differ."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """A foreign token and whom it stands for. binding: by which it does."""

    identity: ExternalIdentity
    tenant: str
    subject: str
    kind: str
    binding: str
    scopes: list[str] | None

    def credential(self) -> Credential:
        """Return what its bearer came with. What it gives ends with the provider, the binding or the token."""
        provider, assertion = self.identity.provider.id, self.identity.assertion
        return Credential(
            id=assertion,
            scopes=self.scopes,
            on_behalf_of=None,
            session=None,
            expires_at_s=self.identity.expires_at_s,
            lineage=(provider, self.binding, assertion),
        )


class Proofs(msgspec.Struct, frozen=True, kw_only=True):
    """What an exchange rests on. caller: None when it came with a credential of ours. user: None without one."""

    caller: Proof | None = None
    user: Proof | VerifiedToken | None = None


class _Keys(msgspec.Struct, frozen=True):
    keys: Mapping[str, bytes]

    def verification_keys(self) -> Mapping[str, bytes]:
        return self.keys


class _Unbound(Exception):
    """A token that a trusted provider signed and that means nobody here."""

    def __init__(self, reason: str, tenant: str, identity: ExternalIdentity) -> None:
        super().__init__(reason)
        self.reason, self.tenant, self.identity = reason, tenant, identity


class Prover:
    """Verifies for one issuer. Every answer holds for one moment: what must last is locked when it is used."""

    def __init__(self, control: Database, verifier: Verifier, *, region: str, clock: Clock) -> None:
        self._control = control
        self._verifier = verifier
        self._region = region
        self._clock = clock
        self._proved: Recent[tuple[bytes, str], Proof] = Recent(clock, life_s=RECENT_S)
        self._candidates: Recent[tuple[str, str, str], Candidates] = Recent(clock, life_s=RECENT_S)

    def forget(self) -> None:
        """Prove everything anew."""
        self._proved.forget()
        self._candidates.forget()

    async def identify(self, raw_token: str, tenant: str | None) -> Identified | Unidentified:
        """Answer a gateway. Raises: Unavailable when the provider or the database is out of reach."""
        try:
            proof = await self._prove(raw_token, tenant)
        except _Unbound as unbound:
            identity = unbound.identity
            return Unidentified(unbound.reason, unbound.tenant, identity.provider.id, identity.subject)
        except Unauthenticated as error:
            return Unidentified(error.code)
        return Identified(
            proof.tenant,
            proof.identity.provider.id,
            proof.subject,
            proof.kind,
            proof.identity.assertion,
            proof.identity.expires_at_s,
            proof.scopes,
        )

    async def prove(self, operation: TokenExchange, tenant: str) -> Proofs:
        """Return the proofs of an exchange in a tenant. Raises: Unauthenticated, Unavailable."""
        caller = None if operation.token is None else await self._bound(operation.token, tenant)
        user = None if operation.user_token is None else await self._user(operation.user_token, tenant)
        return Proofs(caller=caller, user=user)

    async def _user(self, raw_token: str, tenant: str) -> Proof | VerifiedToken:
        token = read_token(raw_token)
        if token.type != "at+jwt" or token.claims.get("iss") != f"partywall/{self._region}":
            return await self._bound(raw_token, tenant)
        now_s = self._clock()
        keys = {row["id"]: row["public_key"] for row in await self._control.fetch(_KEYS, now_s)}
        verified = verify_access_token(raw_token, _Keys(keys), region=self._region, now_s=now_s)
        if verified.claims.act is not None or verified.claims.res is not None or verified.claims.ten != tenant:
            raise refused("delegated")  # a user who is not there in person, or for one resource only, delegates nothing
        return verified

    async def _bound(self, raw_token: str, tenant: str) -> Proof:
        try:
            return await self._prove(raw_token, tenant)
        except _Unbound as unbound:
            raise Unauthenticated("the token is not accepted", code=unbound.reason) from unbound

    async def _prove(self, raw_token: str, named: str | None) -> Proof:
        """Return the proof. named: the tenant, when the request said one. Raises: Unauthenticated, _Unbound.

        What was proved a moment ago is not proved again: the gateway asks, and then comes back with a permit.
        """
        token = read_token(raw_token)
        tenant = named or self._tenant_of(token)
        digest = hashlib.sha256(raw_token.encode()).digest()
        return await self._proved.get((digest, tenant), functools.partial(self._prove_anew, token, tenant))

    async def _prove_anew(self, token: ReadToken, tenant: str) -> Proof:
        issuer, subject = _claimed(token)

        look = functools.partial(
            find_candidates, self._control, tenant=tenant, issuer=issuer, subject=subject, region=self._region
        )
        candidates = await self._candidates.get((tenant, issuer, subject), look)
        identity = await self._verifier.verify_read(candidates.provider, token)
        try:
            binding = choose(identity, candidates.bindings)
        except Unauthenticated as error:
            raise _Unbound(error.code, tenant, identity) from error
        return Proof(
            identity=identity,
            tenant=tenant,
            subject=binding.subject,
            kind=str(binding.kind),
            binding=binding.id,
            scopes=binding.scopes,
        )

    def _tenant_of(self, token: ReadToken) -> str:
        """Return the tenant that the token's own audience names. Raises: Unauthenticated."""
        prefix = f"pw:{self._region}:"
        named = {name.removeprefix(prefix) for name in audiences_of(token.claims) if name.startswith(prefix)}
        if len(named) != 1 or not is_id(tenant := named.pop(), "ten"):
            raise refused("tenant")
        return tenant


async def use_proof(connection: asyncpg.Connection, proof: Proof, now_s: float) -> asyncpg.Record:
    """Return (kind, clearance) of whom a proof stands for; use the token up if it is good once.

    The binding and its subject stay as they are until this transaction ends.
    Raises: Unauthenticated when either has ended, or the token has, or was used.
    """
    held = await connection.fetchrow(_HOLD, proof.binding, proof.subject, proof.tenant)
    if held is None:
        raise refused("not-bound")
    if now_s >= proof.identity.expires_at_s:
        raise refused("expired")
    if proof.identity.provider.single_use:
        forget_at_s = proof.identity.expires_at_s + FORGET_S
        if not await connection.fetchval(_USE, proof.identity.assertion, forget_at_s):
            raise refused("replayed")
    return held


async def own_user(connection: asyncpg.Connection, token: VerifiedToken, now_s: float) -> tuple[str, Credential]:
    """Return (user, credential) of an access token of ours, alive and kept so. Raises: Unauthenticated, Denied."""
    claims = token.claims
    found = await find_credential(connection, claims.jti, claims.sub, claims.ten, now_s)
    if found is None:
        raise refused("ended")
    await lock_lineage(connection, found, claims.sub)
    return claims.sub, found


def _claimed(token: ReadToken) -> tuple[str, str]:
    """Return (issuer, subject) as the token says; a SPIFFE id names its own trust domain."""
    subject, issuer = token.claims.get("sub"), token.claims.get("iss")
    if not isinstance(subject, str) or "\0" in subject:
        raise refused("subject")
    issuer = trust_domain_of(subject) or issuer
    if not isinstance(issuer, str) or "\0" in issuer:
        raise refused("issuer")
    return issuer, subject
