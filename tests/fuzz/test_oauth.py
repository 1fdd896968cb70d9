"""Whatever arrives at the token endpoint, or is shown as a foreign token or key set: a value or a refusal, no more."""

import base64
import contextlib
import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.foreign_issuer import Key

from partywall.control.federation.identity import ALGORITHMS, IdentityProvider, ProviderKind
from partywall.control.federation.keys import parse_key_set
from partywall.control.federation.token import assertion_id, check_claims, read_token, verify_signature
from partywall.errors import Malformed, Unauthenticated
from partywall.gateway.form import FORM, parse_form
from partywall.wire.oauth import issuer_of, parse_exchange

KEY = Key("ES256", kid="one")
NAMES = [
    "grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "audience", "resource",
    "scope", "requested_token_type", "request_details", "request_context", "client_id",
]  # fmt: skip
VALUES = st.text(max_size=60) | st.sampled_from(
    [
        "urn:ietf:params:oauth:token-type:jwt",
        "urn:ietf:params:oauth:token-type:txn_token",
        f"pw:local:ten_{'a' * 26}",
        "memory tool.call",
        "e30",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CLAIMS = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "azp", "nonce", "act"]
HEADERS = ["alg", "kid", "typ", "crit", "jwk", "b64", "x5c", "cty"]


def provider(kind):
    return IdentityProvider(
        id="idp_x", tenant="ten_x", organisation=None, slug="x", kind=kind, issuer="https://idp.example",
        audiences=("us",), algorithms=ALGORITHMS, max_age_s=600.0, single_use=True, client_id="us",
    )  # fmt: skip


def encode(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"a=%ed%a0%80")
@example(b"a;b=c")
@example(b"%")
def test_any_form(body):
    with contextlib.suppress(Malformed):
        parse_exchange(parse_form(FORM, body), region="local")


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=12))
def test_any_parameters(form):
    with contextlib.suppress(Malformed):
        parse_exchange(form, region="local")


@settings(max_examples=600, deadline=None)
@given(st.text(max_size=300) | st.lists(st.binary(max_size=80).map(encode), min_size=1, max_size=5).map(".".join))
@example("\ud800.\ud800.\ud800")
@example("\u0660.\u0660.\u0660")
def test_any_token(text):
    issuer_of(text)
    with contextlib.suppress(Unauthenticated):
        token = read_token(text)
        verify_signature(token, KEY.key)


@settings(max_examples=600, deadline=None)
@given(
    st.dictionaries(st.sampled_from(HEADERS), json_values, max_size=6),
    st.dictionaries(st.sampled_from(CLAIMS), json_values, max_size=9),
    st.sampled_from(ProviderKind),
)
def test_anything_under_the_right_signature(header, claims, kind):
    """A trusted issuer that signs nonsense is refused for it, and breaks nothing."""
    head = {"alg": "ES256", "kid": "one"} | header
    with contextlib.suppress(Unauthenticated):
        token = read_token(KEY.sign_bytes(json.dumps(head).encode(), json.dumps(claims).encode()))
        issuer_of(token.raw)
        verify_signature(token, KEY.key)
        assertion_id(token, provider(kind))
        subject, _ends_at_s = check_claims(token, provider(kind), now_s=1e9, nonce=None)
        assert subject == claims["sub"]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CLAIMS), json_values, st.sampled_from(ProviderKind))
def test_one_claim_of_an_honest_token_that_is_anything(name, value, kind):
    honest = {
        "iss": "https://idp.example",
        "sub": "spiffe://x/y",
        "aud": "us",
        "exp": 1e9 + 60,
        "iat": 1e9,
        "azp": "us",
    }
    of = provider(kind)
    with contextlib.suppress(Unauthenticated):
        token = read_token(KEY.sign_bytes(b'{"alg":"ES256","kid":"one"}', json.dumps(honest | {name: value}).encode()))
        check_claims(token, of, now_s=1e9, nonce=None)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.binary(max_size=60).map(encode) | st.text(max_size=20), min_size=1, max_size=2), st.binary(max_size=200)
)
def test_any_bytes_under_the_right_signature(heads, payload):
    with contextlib.suppress(Unauthenticated):
        read_token(KEY.sign_bytes(json.dumps({"alg": "ES256", "kid": "one", "typ": heads[0]}).encode(), payload))


@settings(max_examples=300, deadline=None)
@given(
    json_values
    | st.fixed_dictionaries(
        {
            "keys": st.lists(
                st.dictionaries(
                    st.sampled_from(["kty", "kid", "crv", "x", "y", "n", "e", "d", "use", "alg", "k"]),
                    st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB", "sig"]) | json_values,
                    max_size=9,
                ),
                max_size=3,
            )
        }
    )
)
def test_any_key_set(document):
    with contextlib.suppress(Malformed):
        for key in parse_key_set(document, ProviderKind.WORKLOAD).values():
            assert key.type in {"RSA", "EC", "OKP"}
