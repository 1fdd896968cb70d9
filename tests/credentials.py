"""A directory in memory, an issuer's key, a tenant with people, and credentials for them; signed by joserfc."""

import hashlib
import secrets

import joserfc.jws
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from partywall.decision.facts import KeyFacts, State, SubjectFacts, TenantFacts
from partywall.decision.labels import Classification
from partywall.decision.principal import Kind
from partywall.errors import Unauthenticated
from partywall.gateway.authenticate import Authenticator
from partywall.wire.ids import format_id

NOW = 1_800_000_000.0


def new(prefix):
    return format_id(prefix, secrets.token_bytes(16))


class Facts:
    """A directory in memory: what it knows changes only through `change`, which is a new revision."""

    def __init__(self):
        self.revision, self.age = 1, 0.0
        self.tenants, self.keys, self.revoked, self.public = {}, {}, set(), {}
        self.callbacks = []

    def age_s(self):
        return self.age

    def tenant(self, tenant):
        return self.tenants.get(tenant)

    def key(self, key):
        return None if key in self.revoked else self.keys.get(key)

    def is_revoked(self, credential):
        return credential in self.revoked

    def verification_keys(self):
        return self.public

    def on_change(self, callback):
        self.callbacks.append(callback)

    def restored(self):
        """Other facts under the same number."""
        for callback in self.callbacks:
            callback()

    def revoke(self, credential):
        self.revoked.add(credential)
        self.revision += 1


class World:
    """One tenant with an agent, a user and an admin; an issuer's key; a clock."""

    def __init__(self):
        self.now = NOW
        self.facts = Facts()
        self.signing = Ed25519PrivateKey.generate()
        self.facts.public["k1"] = self.signing.public_key().public_bytes_raw()
        self.tenant, self.agent, self.user, self.admin = new("ten"), new("agt"), new("usr"), new("usr")
        self.set_tenant()
        self.door = Authenticator(self.facts, region="local", clock=lambda: self.now)

    def set_tenant(self, **changes):
        subjects = {
            self.agent: SubjectFacts(id=self.agent, slug="a", kind=Kind.AGENT, clearance=Classification.CONFIDENTIAL),
            self.user: SubjectFacts(id=self.user, slug="u", kind=Kind.USER, clearance=Classification.INTERNAL),
            self.admin: SubjectFacts(id=self.admin, slug="b", kind=Kind.TENANT_ADMIN),
        }
        given = {
            "id": self.tenant, "slug": "t", "organisation": new("org"), "region": "local", "state": State.ACTIVE,
            "revision": 1, "subjects": subjects,
        }  # fmt: skip
        self.facts.tenants[self.tenant] = TenantFacts(**(given | changes))
        self.facts.revision += 1

    def new_key(self, **changes):
        secret = secrets.token_urlsafe(32)
        given = {
            "id": new("key"), "secret_sha256": hashlib.sha256(secret.encode()).digest(), "kind": Kind.AGENT,
            "subject": self.agent, "tenant": self.tenant, "expires_at_s": NOW + 3600,
        }  # fmt: skip
        key = KeyFacts(**(given | changes))
        self.facts.keys[key.id] = key
        return key, f"pw_{key.id[4:]}_{secret}"

    def claims(self, **changes):
        given = {
            "iss": "partywall/local", "aud": "partywall", "sub": self.agent, "iat": int(NOW), "exp": int(NOW) + 900,
            "jti": new("tok"), "region": "local", "ten": self.tenant, "knd": "agent", "clr": 2,
        }  # fmt: skip
        return {name: value for name, value in (given | changes).items() if value is not ...}

    def token(self, claims=None, *, header=None, key=None):
        """Sign with the library that others use, so that the format is theirs and not ours."""
        head = {"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"} | (header or {})
        body = claims if isinstance(claims, bytes) else msgspec.json.encode(self.claims() if claims is None else claims)
        okp = OKPKey.import_key(key or self.signing)
        with pytest.warns(match="EdDSA is deprecated"):
            return joserfc.jws.serialize_compact(head, body, okp, algorithms=["EdDSA"])

    def refuses(self, credential):
        with pytest.raises(Unauthenticated) as caught:
            self.door.authenticate(credential)
        assert (caught.value.public, caught.value.code) == (
            "a valid API key or access token is required",
            "unauthenticated",
        )
