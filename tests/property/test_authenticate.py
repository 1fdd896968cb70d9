"""No change of a credential, however small or clever, is accepted; no answer outlives a revocation."""

import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.credentials import NOW, World, new

from partywall.decision.action import ActionType
from partywall.decision.facts import State
from partywall.errors import Unauthenticated

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
WORLD = World()
KEY, KEY_TEXT = WORLD.new_key()
CLAIMS = WORLD.claims(scp=["memory"], ses=new("ses"))
TOKEN = WORLD.token(CLAIMS)
quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def encode(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def sign(head, body, key=None):
    """A compact JWS made by hand, for what a proper library will not make."""
    signed = f"{encode(head)}.{encode(body)}"
    return f"{signed}.{encode((key or WORLD.signing).sign(signed.encode()))}"


HEAD = {"alg": "EdDSA", "typ": "at+jwt", "kid": "k1"}


def test_the_hand_made_token_is_good():
    assert WORLD.door.authenticate(sign(HEAD, CLAIMS)).id == WORLD.agent
    assert WORLD.door.authenticate(TOKEN).id == WORLD.agent
    assert WORLD.door.authenticate(KEY_TEXT).id == WORLD.agent


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "partywall/other"}, {"iss": "partywall/local/"}, {"iss": ...},
        {"iss": None}, {"iss": ["partywall/local"]},
        {"aud": "other"}, {"aud": ["partywall"]}, {"aud": ["partywall", "other"]}, {"aud": ...},
        {"region": "other"}, {"region": ...}, {"region": ""},
        {"ten": new("ten")}, {"ten": ...}, {"ten": "platform"}, {"ten": WORLD.agent}, {"ten": WORLD.tenant.upper()},
        {"ten": WORLD.tenant + "\n"}, {"ten": None}, {"ten": WORLD.tenant[:-1]},
        {"sub": ...}, {"sub": ""}, {"sub": WORLD.user}, {"sub": "system:sweeper"},
        {"sub": WORLD.agent + "\n"}, {"sub": None},
        {"knd": "user"}, {"knd": "tenant-admin"}, {"knd": "platform-operator"}, {"knd": "system"},
        {"knd": ...}, {"knd": "Agent"},
        {"exp": int(NOW)}, {"exp": int(NOW) - 1}, {"exp": int(NOW) + 901}, {"exp": ...}, {"exp": str(int(NOW) + 900)},
        {"exp": True}, {"exp": None}, {"exp": 10**400}, {"exp": -1}, {"exp": 1e308},
        {"iat": int(NOW) + 6}, {"iat": ...}, {"iat": int(NOW) - 1}, {"iat": 0}, {"iat": None}, {"iat": -(10**30)},
        {"iat": int(NOW) + 900},
        {"jti": ...}, {"jti": ""}, {"jti": "tok_x"}, {"jti": new("key")}, {"jti": None},
        {"ses": "ses_x"}, {"ses": new("agt")}, {"ses": 1},
        {"clr": ...}, {"clr": 4}, {"clr": -1}, {"clr": "2"}, {"clr": True}, {"clr": None},
        {"scp": "memory"}, {"scp": None}, {"scp": ["everything"]}, {"scp": [1]}, {"scp": {"memory": 1}},
        {"act": {"sub": WORLD.agent}}, {"act": {"sub": WORLD.user}}, {"act": {}}, {"act": "x"},
        {"sub": WORLD.user, "act": {"sub": WORLD.user}},
        {"sub": WORLD.user, "act": {"sub": WORLD.agent}, "knd": "user"},
        {"sub": WORLD.user, "act": {"sub": WORLD.agent, "act": {"sub": WORLD.agent}}},
        {"nbf": int(NOW)}, {"cnf": {}}, {"admin": True}, {"": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_each_claim_changed_and_signed_by_the_issuer_itself(change):
    """Even the right key gives no power to claims that may not exist."""
    WORLD.refuses(sign(HEAD, WORLD.claims(**change)))


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256"}, {"alg": "eddsa"},
        {"alg": "Ed25519"}, {"alg": ["EdDSA"]}, {"alg": ...},
        {"typ": "JWT"}, {"typ": "AT+JWT"}, {"typ": "application/at+jwt"}, {"typ": ...}, {"typ": None},
        {"kid": "k2"}, {"kid": ""}, {"kid": ...}, {"kid": "../../k1"},
        {"kid": "k1\x00"}, {"kid": ["k1"]}, {"kid": None},
        {"kid": "k1' or 1=1"},
        {"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True},
        {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "a"}}, {"jku": "http://127.0.0.1/keys"},
        {"x5u": "http://127.0.0.1/"},
        {"x5c": []}, {"cty": "JWT"}, {"zip": "DEF"}, {"enc": "A256GCM"},
    ],
    ids=repr,
)  # fmt: skip
def test_each_header_member_changed(change):
    head = {name: value for name, value in (HEAD | change).items() if value is not ...}
    WORLD.refuses(sign(head, CLAIMS))


def test_algorithm_confusion():
    public = WORLD.facts.public["k1"]
    signed = f"{encode(HEAD | {'alg': 'HS256'})}.{encode(CLAIMS)}"
    WORLD.refuses(f"{signed}.{encode(hmac.new(public, signed.encode(), hashlib.sha256).digest())}")
    unsigned = f"{encode({'alg': 'none', 'typ': 'at+jwt', 'kid': 'k1'})}.{encode(CLAIMS)}."
    WORLD.refuses(unsigned)
    WORLD.refuses(f"{encode(HEAD)}.{encode(CLAIMS)}.")


def test_a_stranger_signs():
    stranger = Ed25519PrivateKey.generate()
    WORLD.refuses(sign(HEAD, CLAIMS, stranger))
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(stranger.public_key().public_bytes_raw())}
    WORLD.refuses(sign(HEAD | {"jwk": jwk}, CLAIMS, stranger))


def test_a_token_inside_a_token():
    WORLD.refuses(sign(HEAD | {"cty": "JWT"}, TOKEN.encode()))
    WORLD.refuses(sign(HEAD, TOKEN.encode()))
    WORLD.refuses(f"{TOKEN}.{TOKEN}")


@pytest.mark.parametrize("member", sorted(CLAIMS))
def test_a_claim_twice(member):
    body = json.dumps(CLAIMS)
    twice = body[:-1] + f", {json.dumps(member)}: {json.dumps(CLAIMS[member])}" + "}"
    WORLD.refuses(sign(HEAD, twice.encode()))


def test_a_header_member_twice():
    WORLD.refuses(sign(b'{"alg":"EdDSA","typ":"at+jwt","kid":"k1","kid":"k1"}', CLAIMS))


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff", b"[" * 2000, b'{"a":' * 700, b"NaN"]
)
def test_a_body_that_is_no_claims(body):
    WORLD.refuses(sign(HEAD, body))
    WORLD.refuses(sign(body, CLAIMS))


def test_too_long_is_refused_however_good():
    WORLD.refuses(sign(HEAD, WORLD.claims(scp=["memory"] * 1000)))
    WORLD.refuses(TOKEN + "=" * 5000)


def test_one_spelling_only():
    """The same bytes in another base64 spelling are another credential, and none."""
    last = ALPHABET.index(TOKEN[-1])
    for other in ALPHABET:
        if other != TOKEN[-1] and ALPHABET.index(other) // 16 == last // 16:
            WORLD.refuses(TOKEN[:-1] + other)
    for spelling in (TOKEN + "=", TOKEN + "==", " " + TOKEN, TOKEN + "\n", TOKEN.replace(".", "=.", 1)):
        WORLD.refuses(spelling)


@quick
@given(st.integers(0, len(TOKEN) - 1), st.sampled_from(ALPHABET + ".=+/ "))
def test_any_character_of_a_token(at, other):
    changed = TOKEN[:at] + other + TOKEN[at + 1 :]
    if changed != TOKEN:
        WORLD.refuses(changed)


@quick
@given(st.integers(0, len(KEY_TEXT) - 1), st.sampled_from(ALPHABET + "=+/ \n"))
def test_any_character_of_a_key(at, other):
    changed = KEY_TEXT[:at] + other + KEY_TEXT[at + 1 :]
    if changed != KEY_TEXT:
        WORLD.refuses(changed)


def test_another_keys_secret():
    _other, text = WORLD.new_key()
    WORLD.refuses(KEY_TEXT[:30] + text[30:])
    WORLD.refuses(text[:30] + KEY_TEXT[30:])


EVENTS = st.lists(
    st.sampled_from(["use", "revoke", "suspend", "resume", "expire", "narrow", "restore", "stale"]), max_size=20
)


@quick
@given(EVENTS, st.booleans())
def test_a_cached_answer_says_what_a_fresh_one_says(events, as_token):
    """However use and change interleave, the cache never knows better than the directory."""
    world = World()
    key, credential = world.new_key(scopes=frozenset({ActionType.MEMORY}))
    name = key.id
    if as_token:
        claims = world.claims(scp=["memory"])
        credential, name = world.token(claims), claims["jti"]
    revoked = suspended = expired = False
    for event in [*events, "use"]:
        if event == "revoke":
            revoked = True
            world.facts.revoke(name)
        elif event in {"suspend", "resume"}:
            suspended = event == "suspend"
            world.set_tenant(state=State.SUSPENDED if suspended else State.ACTIVE)
        elif event == "expire":
            expired, world.now = True, NOW + 3600
        elif event == "use":
            if revoked or suspended or expired:
                with pytest.raises(Unauthenticated):
                    world.door.authenticate(credential)
            else:
                assert world.door.authenticate(credential).scopes == {ActionType.MEMORY}
