"""Identity: a permit fits one operation; a token with any claim changed is nobody's; digests bind everything."""

import base64
import json
import secrets
import time
import warnings

import hypothesis.strategies as st
import joserfc.errors
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from joserfc import jwt
from joserfc.jwk import KeySet

from partywall.control.keyring import SigningKey
from partywall.control.operations import RULES, check_fit
from partywall.control.tokens import sign_token
from partywall.decision.action import ActionType
from partywall.decision.manifest import tool_digest
from partywall.decision.principal import Kind
from partywall.errors import Unauthenticated
from partywall.wire import operations as ops
from partywall.wire.ids import format_id
from partywall.wire.jwks import jwks
from partywall.wire.permit import SignedPermit


def identity(prefix):
    return format_id(prefix, secrets.token_bytes(16))


TENANTS = [identity("ten"), identity("ten")]
IDS = {prefix: [identity(prefix), identity(prefix)] for prefix in ("agt", "usr", "key")}
SAMPLES = [
    ops.TenantCreate(slug="a"),
    ops.TenantList(),
    *(ops.TenantState(tenant=tenant, state="active") for tenant in TENANTS),
    ops.AdminCreate(tenant=TENANTS[0], slug="a"),
    ops.ModelCreate(tenant=TENANTS[0], slug="a", upstream="http://h", upstream_model="m"),
    ops.OperatorKeyCreate(slug="a"),
    ops.SubjectCreate(kind="agent", slug="a"),
    ops.SubjectList(),
    *(ops.SubjectState(subject=agent, state="active") for agent in IDS["agt"]),
    *(ops.GrantsSet(subject=agent, grants=[]) for agent in IDS["agt"]),
    *(ops.KeyCreate(subject=agent) for agent in IDS["agt"]),
    ops.KeyList(),
    *(ops.TokenCreate(subject=agent) for agent in IDS["agt"]),
    *(ops.Revoke(credential=key) for key in IDS["key"]),
    ops.PolicyActivate(module=""),
    ops.PolicyShow(),
    ops.PolicyRollback(revision="1-a"),
    ops.ServerRegister(slug="a", url="http://h", tools=[]),
    ops.ServerList(),
]


def right_permit(operation, tenant, kind):
    rule = RULES[type(operation)]
    target = "*" if rule.target is None else getattr(operation, rule.target)
    return tenant, kind, str(rule.action), f"pw:local:{tenant}:{rule.kind}/{target}"


@given(
    wanted=st.sampled_from(SAMPLES),
    permitted=st.sampled_from(SAMPLES),
    tenant=st.sampled_from([*TENANTS, "platform"]),
    resource_tenant=st.sampled_from([*TENANTS, "platform"]),
    kind=st.sampled_from(list(Kind)),
    action=st.sampled_from([None, *ActionType]),
)
@settings(max_examples=1_500, deadline=None)
def test_a_permit_fits_only_the_operation_that_it_was_made_for(
    wanted, permitted, tenant, resource_tenant, kind, action
):
    _, _, its_action, resource = right_permit(permitted, resource_tenant, kind)
    permit = SignedPermit(
        audience="",
        nonce="",
        act="",
        tenant=tenant,
        principal_kind=kind,
        principal="",
        action=action or its_action,
        resource=resource,
        payload_sha256=b"",
        issued_at_s=0.0,
        expires_at_s=0.0,
    )
    fits = (
        (tenant, kind, permit.action, resource) == right_permit(wanted, tenant, kind)
        and kind in RULES[type(wanted)].principals
        and (tenant == "platform") == (kind is Kind.PLATFORM_OPERATOR)
    )
    if fits:
        assert check_fit(permit, wanted, "local") is RULES[type(wanted)]
    else:
        with pytest.raises(Unauthenticated):
            check_fit(permit, wanted, "local")


KEY = SigningKey("sig_one", Ed25519PrivateKey.generate(), 0.0)
KEYS = KeySet.import_key_set(jwks({KEY.kid: KEY.private.public_key().public_bytes_raw()}))
NOW = int(time.time())
CLAIMS = {
    "iss": "partywall/local",
    "aud": "partywall",
    "sub": IDS["usr"][0],
    "act": {"sub": IDS["agt"][0]},
    "iat": NOW,
    "exp": NOW + 900,
    "jti": identity("tok"),
    "region": "local",
    "ten": TENANTS[0],
    "knd": "agent",
    "scp": ["model.request"],
    "clr": 1,
}
TOKEN = sign_token(CLAIMS, KEY)


def decode(token):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", joserfc.errors.SecurityWarning)
        return jwt.decode(token, KEYS, algorithms=["EdDSA"])


def segment(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_the_token_itself_verifies():
    assert decode(TOKEN).claims == CLAIMS


@given(
    claim=st.sampled_from([*CLAIMS, "ses", "admin"]),
    value=st.one_of(
        st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=20), st.sampled_from(TENANTS)
    ),
    dropped=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_changed_claim_breaks_the_signature(claim, value, dropped):
    changed = {name: old for name, old in CLAIMS.items() if name != claim or not dropped}
    if not dropped:
        changed[claim] = value
    if changed == CLAIMS and type(changed.get(claim)) is type(CLAIMS.get(claim)):
        return
    header, _, signature = TOKEN.split(".")
    with pytest.raises((joserfc.errors.JoseError, ValueError)):
        decode(f"{header}.{segment(changed)}.{signature}")


@given(
    st.sampled_from(["none", "HS256", "ES256", "RS256", "Ed448", "", "eddsa"]), st.sampled_from(["sig_one", "x", None])
)
@settings(max_examples=60, deadline=None)
def test_any_other_algorithm_or_key_is_refused(algorithm, kid):
    header = {"alg": algorithm, "typ": "at+jwt"} | ({} if kid is None else {"kid": kid})
    _, claims, signature = TOKEN.split(".")
    for proof in (signature, ""):
        with pytest.raises((joserfc.errors.JoseError, ValueError)):
            decode(f"{segment(header)}.{claims}.{proof}")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.text(max_size=5), JSON, max_size=3)


def strictly(value):
    """The value as JSON tells it apart: True is not 1."""
    return json.dumps(value, sort_keys=True)


@given(
    st.tuples(st.text(max_size=4), st.text(max_size=4), OBJECT, st.none() | OBJECT),
    st.tuples(st.text(max_size=4), st.text(max_size=4), OBJECT, st.none() | OBJECT),
)
@settings(max_examples=500, deadline=None)
def test_two_manifest_entries_digest_alike_only_when_they_are_alike(one, other):
    assert (tool_digest(*one) == tool_digest(*other)) == (strictly(one) == strictly(other))
