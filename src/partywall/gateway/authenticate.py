"""Credentials become principals here: API keys and access tokens, cached by digest, refused without a reason.

Every refusal has the same text, code and cost class, so a caller learns nothing about which part was wrong. A cached
answer holds while the directory's revision does; at a new revision it is checked again against the directory, without
the signature. Source: architecture.md "Principals, tokens, permits", attacks.md ID-3, ID-5, ID-8, ID-9.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from typing import Final

import msgspec

from partywall.decision.facts import KeyFacts, State, TenantFacts
from partywall.decision.labels import Classification
from partywall.decision.ports import Clock, Directory
from partywall.decision.principal import Kind, Principal
from partywall.errors import Unauthenticated, Unavailable
from partywall.gateway.access_token import VerifiedToken, principal_of, verify_access_token
from partywall.wire.ids import KeyId, TenantId, UserId, is_id

MAX_CREDENTIAL_BYTES: Final = 4096
CACHE_LIMIT: Final = 16_384
_API_KEY: Final = re.compile(r"pw_([a-z2-7]{26})_([A-Za-z0-9_-]{43})", re.ASCII)
_NOBODY: Final = bytes(32)

_PREFIXES: Final = {Kind.AGENT: "agt", Kind.USER: "usr", Kind.TENANT_ADMIN: "usr", Kind.PLATFORM_OPERATOR: "usr"}
"""Kinds that a credential may be of, with the prefix of their ids: the system itself holds none."""


class _Entry(msgspec.Struct):
    """One verified credential. revision, changes: the directory that it was checked against; proof: to check again."""

    revision: int
    changes: int
    expires_at_s: float
    principal: Principal
    proof: VerifiedToken | tuple[KeyId, bytes]


class Authenticator:
    """Resolves credentials of one worker. Bound to the event loop's thread; never blocks."""

    def __init__(self, directory: Directory, *, region: str, clock: Clock, facts_limit_age_s: float = 5.0) -> None:
        self._directory = directory
        self._region = region
        self._clock = clock
        self._limit_age_s = facts_limit_age_s
        self._cache: OrderedDict[bytes, _Entry] = OrderedDict()
        self._changes = 0
        directory.on_change(self._changed)

    def _changed(self) -> None:
        # Counted apart from the revision: a restored database may bring other facts under the same number.
        self._changes += 1

    def authenticate(self, raw_credential: str | None, *, resource: str | None = None) -> Principal:
        """Return the principal of an API key or access token (the text after `Bearer `, at most 4 KiB).

        resource: the URL of what is asked here; a token that was made for another one is refused, and where none is
        named, every token that was made for one.
        Raises: Unauthenticated, always with the same text; Unavailable when the facts are older than the limit.
        Invariant: no answer outlives the credential, or the directory's knowledge that it was revoked.
        """
        principal = self.holder(raw_credential)
        if principal.resource is not None and principal.resource != resource:
            raise _refusal("resource")
        return principal

    def holder(self, raw_credential: str | None) -> Principal:
        """Return whose credential it is, whatever it was made for: to end it, and nothing else. Raises: as above."""
        directory = self._directory
        if directory.age_s() > self._limit_age_s:
            raise Unavailable("the control database is out of reach", code="facts-stale", retry_after_s=1.0)
        if not raw_credential or len(raw_credential) > MAX_CREDENTIAL_BYTES or not raw_credential.isascii():
            raise _refusal("shape")
        digest = hashlib.sha256(raw_credential.encode()).digest()
        entry = self._cache.get(digest)
        if entry is None:
            return self._admit(raw_credential, digest)
        same = entry.revision == directory.revision and entry.changes == self._changes
        if not same or self._clock() >= entry.expires_at_s:
            return self._check_again(digest, entry)
        self._cache.move_to_end(digest)
        return entry.principal

    def _admit(self, raw_credential: str, digest: bytes) -> Principal:
        proof: VerifiedToken | tuple[KeyId, bytes]
        try:
            if raw_credential.startswith("pw_"):
                proof = _split_key(raw_credential)
            else:
                proof = verify_access_token(raw_credential, self._directory, region=self._region, now_s=self._clock())
            principal = self._resolve(proof)
        except Unauthenticated as error:
            raise _refusal(error.private) from None
        self._cache[digest] = _Entry(self._directory.revision, self._changes, principal.expires_at_s, principal, proof)
        if len(self._cache) > CACHE_LIMIT:
            self._cache.popitem(last=False)
        return principal

    def _check_again(self, digest: bytes, entry: _Entry) -> Principal:
        try:
            entry.principal = self._resolve(entry.proof)
        except Unauthenticated as error:
            del self._cache[digest]
            raise _refusal(error.private) from None
        entry.revision, entry.changes = self._directory.revision, self._changes
        entry.expires_at_s = entry.principal.expires_at_s
        self._cache.move_to_end(digest)
        return entry.principal

    def _resolve(self, proof: VerifiedToken | tuple[KeyId, bytes]) -> Principal:
        """Return the principal of a proof under today's facts. Raises: Unauthenticated."""
        if isinstance(proof, VerifiedToken):
            claims = proof.claims
            if self._clock() >= claims.exp:
                raise Unauthenticated("not a token", private="expired")
            facts = self._active(TenantId(claims.ten))
            people = (claims.sub,) if claims.act is None else (claims.act.sub, claims.sub)
            return principal_of(proof, self._directory, clearance=_clearance(facts, people))
        return self._resolve_key(*proof)

    def _resolve_key(self, key_id: KeyId, secret_sha256: bytes) -> Principal:
        key = self._directory.key(key_id)
        # An unknown id costs the same comparison as a known one.
        same = hmac.compare_digest(secret_sha256, _NOBODY if key is None else key.secret_sha256)
        if key is None or not same or self._clock() >= key.expires_at_s:
            raise Unauthenticated("not a key", private="key")
        if any(self._directory.is_revoked(name) for name in filter(None, (key.id, key.subject, key.on_behalf_of))):
            raise Unauthenticated("not a key", private="revoked")
        if not _well_formed(key):
            raise Unauthenticated("not a key", private="record")
        clearance = Classification.RESTRICTED
        if key.tenant is not None:
            clearance = _clearance(self._active(key.tenant), tuple(filter(None, (key.subject, key.on_behalf_of))))
        return Principal(
            kind=key.kind,
            id=key.subject,
            region=self._region,
            tenant=key.tenant,
            credential=key.id,
            expires_at_s=key.expires_at_s,
            scopes=key.scopes,
            clearance=clearance,
            on_behalf_of=None if key.on_behalf_of is None else UserId(key.on_behalf_of),
        )

    def _active(self, tenant: TenantId) -> TenantFacts:
        facts = self._directory.tenant(tenant)
        if facts is None or facts.state is not State.ACTIVE or facts.region != self._region:
            raise Unauthenticated("not active here", private="tenant")
        return facts


def _refusal(cause: str) -> Unauthenticated:
    return Unauthenticated("a valid API key or access token is required", private=cause)


def _split_key(raw_key: str) -> tuple[KeyId, bytes]:
    match = _API_KEY.fullmatch(raw_key)
    if match is None:
        raise Unauthenticated("not a key", private="shape")
    return KeyId(f"key_{match[1]}"), hashlib.sha256(match[2].encode()).digest()


def _well_formed(key: KeyFacts) -> bool:
    """Whether a stored key is one that may exist: a bad record gives no power to anyone."""
    prefix = _PREFIXES.get(key.kind)
    if prefix is None or not is_id(key.subject, prefix):
        return False
    if (key.tenant is None) != (key.kind is Kind.PLATFORM_OPERATOR):
        return False
    return key.on_behalf_of is None or (key.kind is Kind.AGENT and is_id(key.on_behalf_of, "usr"))


def _clearance(facts: TenantFacts, people: tuple[str, ...]) -> Classification:
    """Return the least clearance of everyone who acts; someone unknown has the least there is."""
    known = (facts.subjects.get(person) for person in people)
    return min(Classification.PUBLIC if subject is None else subject.clearance for subject in known)
