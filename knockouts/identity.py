"""Gateways without one control of identity each. Source: attacks.md, ID-*."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar

import msgspec

from knockouts.knocked import REQUEST, Knocked, Remembering, swap
from partywall.decision.facts import KeyFacts, State, TenantFacts
from partywall.decision.principal import Principal
from partywall.gateway import authenticate
from partywall.gateway.access_token import Claims, VerifiedToken
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.pipeline import Pipeline
from partywall.store.directory import ControlDirectory
from partywall.wire.ids import KeyId, TenantId


class TokenUnverified(Knocked):
    """Believes what a token says."""

    name = "token-unverified"

    def make_authenticator(self) -> Authenticator:
        def believe(raw_token: str, directory: Any, *, region: str, now_s: float) -> VerifiedToken:
            _head, body, _signature = raw_token.split(".")
            claims = msgspec.convert(json.loads(base64.urlsafe_b64decode(body + "==")), Claims)
            return VerifiedToken(next(iter(directory.verification_keys())), claims)

        swap(authenticate, "verify_access_token", believe)
        return super().make_authenticator()


class OldDirectory(ControlDirectory):
    """Never forgets a key, and never hears of a revocation."""

    _seen: ClassVar[dict[KeyId, KeyFacts]] = {}

    def key(self, key: KeyId) -> KeyFacts | None:
        found = super().key(key)
        if found is not None:
            self._seen[key] = found
        return found or self._seen.get(key)

    def is_revoked(self, credential: str) -> bool:
        return False


class RevocationIgnored(Knocked):
    """Serves whoever was once let in."""

    name = "revocation-ignored"

    def make_directory(self, dsn: str) -> ControlDirectory:
        return OldDirectory(dsn, self.log, region=self.region)


class _Unsuspended(OldDirectory):
    def tenant(self, tenant: TenantId) -> TenantFacts | None:
        facts = super().tenant(tenant)
        if facts is None:
            return None
        awake = {name: msgspec.structs.replace(subject, state=State.ACTIVE) for name, subject in facts.subjects.items()}
        return msgspec.structs.replace(facts, subjects=awake)


class SuspensionIgnored(Knocked):
    """Takes every subject for active."""

    name = "suspension-ignored"

    def make_directory(self, dsn: str) -> ControlDirectory:
        return _Unsuspended(dsn, self.log, region=self.region)


class StreamUnchecked(Knocked):
    """Decides once, when a stream opens."""

    name = "stream-unchecked"

    def make_pipeline(self) -> Pipeline:
        pipeline = super().make_pipeline()
        pipeline.streams._still_allowed = lambda _envelope: None  # noqa: SLF001  # that is the knock-out
        return pipeline


class ResourceIgnored(Knocked):
    """Takes a token that was made for another server."""

    name = "resource-ignored"

    def make_authenticator(self) -> Authenticator:
        class Careless(Authenticator):
            def authenticate(self, raw_credential: str | None, *, resource: str | None = None) -> Principal:
                return self.holder(raw_credential)

        return Careless(self.directory, region=self.region, clock=self.clock)


class TenantHeader(Remembering):
    """Lets a header say whose the request is."""

    name = "tenant-header"

    def make_authenticator(self) -> Authenticator:
        directory = self.directory

        class Trusting(Authenticator):
            def authenticate(self, raw_credential: str | None, *, resource: str | None = None) -> Principal:
                principal = super().authenticate(raw_credential, resource=resource)
                request = REQUEST.get()
                named = request.header("x-tenant-id") if request is not None else None
                facts = directory.tenant(TenantId(named)) if named else None
                if facts is None:
                    return principal
                agent = next(s.id for s in facts.subjects.values() if s.grants)
                return msgspec.structs.replace(principal, tenant=facts.id, id=agent)

        return Trusting(directory, region=self.region, clock=self.clock)
