"""Foreign tokens, keys, bindings and addresses: what is believed, each alone."""

import ipaddress
import json
import time

import pytest
from tests.foreign_issuer import Key

from partywall.control.federation.bindings import Binding, choose, claim_of, is_below
from partywall.control.federation.fetch import Fetcher, UrlPolicy
from partywall.control.federation.identity import ALGORITHMS, ExternalIdentity, IdentityProvider, ProviderKind
from partywall.control.federation.keys import ProviderKeys, parse_key_set
from partywall.control.federation.seal import ClientSecrets
from partywall.control.federation.token import assertion_id, read_token, trust_domain_of
from partywall.control.federation.verifier import Verifier
from partywall.errors import Malformed, Unauthenticated, Unavailable
from partywall.settings import FederationSettings

NOW = 1_800_000_000.0
KEYS = {algorithm: Key(algorithm, kid="one") for algorithm in ALGORITHMS}


def provider(kind=ProviderKind.WORKLOAD, **changed):
    fields = {
        "id": "idp_x", "tenant": "ten_x", "organisation": None, "slug": "x", "kind": kind, "issuer": "https://idp.example",
        "audiences": ("us",), "algorithms": ALGORITHMS, "max_age_s": 600.0, "single_use": False, "client_id": None,
    }  # fmt: skip
    if "jwks" not in changed and "jwks_uri" not in changed:
        changed["jwks"] = json.dumps({"keys": [changed.pop("key", KEYS["ES256"]).public()]})
    changed.pop("key", None)
    return IdentityProvider(**fields | changed)


def verifier(now=NOW):
    keys = ProviderKeys(Fetcher(FederationSettings()), clock=time.monotonic)
    return Verifier(keys, clock=lambda: now)


def claims(**changed):
    said = {"iss": "https://idp.example", "sub": "worker", "aud": "us", "iat": NOW - 10, "exp": NOW + 60} | changed
    return {name: value for name, value in said.items() if value is not None}


async def cause(token, of=None, **how):
    with pytest.raises(Unauthenticated) as caught:
        await verifier().verify(of or provider(), token, **how)
    return caught.value.code.removeprefix("assertion-")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_each_algorithm_is_verified_with_its_own_kind_of_key_alone(algorithm):
    key = KEYS[algorithm]
    found = await verifier().verify(provider(key=key), key.sign(claims()))
    assert (found.subject, found.expires_at_s) == ("worker", NOW + 60)
    others = tuple(other for other in ALGORITHMS if other != algorithm)
    assert await cause(key.sign(claims()), provider(key=key, algorithms=others)) == "algorithm"
    for other in others:
        head = {"alg": other, "kid": "one", "typ": "JWT"}
        assert await cause(key.sign_bytes(head, claims()), provider(key=key)) in {"key", "signature"}
    # a key that says what it is for is used for nothing else
    jwks = json.dumps({"keys": [key.public(alg=others[0])]})
    assert await cause(key.sign(claims()), provider(jwks=jwks)) == "key"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"iss": "https://idp.example/"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": "them"}, "audience"),
        ({"aud": ["us", "them"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": {"us": 1}}, "audience"),
        ({"sub": ""}, "subject"),
        ({"sub": "a\nb"}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"exp": NOW}, "expired"),
        ({"exp": None}, "times"),
        ({"exp": True}, "times"),
        ({"exp": -1}, "times"),
        ({"iat": None}, "times"),
        ({"iat": NOW + 31}, "not-yet"),
        ({"nbf": NOW + 31}, "not-yet"),
        ({"iat": NOW - 601}, "too-old"),
        ({"act": {"sub": "somebody"}}, "delegated"),
    ],
)
async def test_claims_that_are_not_for_us_now(changed, expected):
    assert await cause(KEYS["ES256"].sign_bytes({"alg": "ES256", "kid": "one"}, claims(**changed))) == expected


async def test_clocks_may_differ_a_little_at_the_start_and_never_at_the_end():
    found = await verifier().verify(provider(), KEYS["ES256"].sign(claims(iat=NOW + 29, nbf=NOW + 29)))
    assert found.subject == "worker"


async def test_a_token_ends_no_later_than_its_age_allows():
    found = await verifier().verify(provider(), KEYS["ES256"].sign(claims(exp=NOW + 10_000)))
    assert found.expires_at_s == NOW - 10 + 600


async def test_an_id_token_is_for_our_client_and_this_sign_in():
    people = provider(ProviderKind.OIDC, audiences=("web",), client_id="web")
    sign = KEYS["ES256"].sign
    assert (await verifier().verify(people, sign(claims(aud="web", nonce="n")), nonce="n")).subject == "worker"
    assert (await verifier().verify(people, sign(claims(aud=["web", "x"], azp="web")))).subject == "worker"
    assert await cause(sign(claims(aud=["web", "x"])), people) == "authorized-party"
    assert await cause(sign(claims(aud="web", azp="x")), people) == "authorized-party"
    assert await cause(sign(claims(aud="web")), people, nonce="n") == "nonce"
    assert await cause(sign(claims(aud="web", nonce="m")), people, nonce="n") == "nonce"


async def test_a_svid_is_of_its_trust_domain_and_needs_no_iat():
    mesh = provider(ProviderKind.SPIFFE, issuer="spiffe://corp.example")
    sign = KEYS["ES256"].sign
    svid = claims(sub="spiffe://corp.example/a/b", iss=None, iat=None)
    assert (await verifier().verify(mesh, sign(svid))).subject == "spiffe://corp.example/a/b"
    for stranger in ("spiffe://corp.example", "spiffe://corp.example/", "spiffe://other/a", "corp.example/a", "worker"):
        assert await cause(sign(svid | {"sub": stranger}), mesh) == "subject"
    assert await cause(sign(svid | {"exp": NOW + 601}), mesh) == "too-old"
    assert await cause(sign(svid, typ="at+jwt"), mesh) == "type"


@pytest.mark.parametrize(
    ("spiffe_id", "domain"),
    [
        ("spiffe://corp.example/a", "spiffe://corp.example"),
        ("spiffe://corp.example/a/..", None),
        ("spiffe://corp.example/./a", None),
        ("spiffe://corp.example//a", None),
        ("spiffe://CORP/a", None),
        ("spiffe://corp:443/a", None),
        ("spiffe://u@corp/a", None),
        ("https://corp.example/a", None),
    ],
)
def test_spiffe_ids(spiffe_id, domain):
    assert trust_domain_of(spiffe_id) == domain


def test_an_assertion_is_the_same_in_every_signature_and_another_for_another_issuer():
    key, other = KEYS["ES256"], provider(id="idp_y")
    plain = [assertion_id(read_token(key.sign(claims())), provider()) for _ in range(2)]
    assert plain[0] == plain[1]
    assert plain[0] != assertion_id(read_token(key.sign(claims())), other)
    named = {assertion_id(read_token(key.sign(claims(jti="a", exp=NOW + end))), provider()) for end in (1, 2)}
    assert len(named) == 1


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_that_are_left_out():
    good = KEYS["ES256"].public()
    rsa = KEYS["RS256"].public(kid="rsa")
    others = [
        {**KEYS["ES256"].key.as_dict(private=True), "kid": "private"},
        {"kty": "oct", "k": "AAAA", "kid": "secret"},
        {**good, "kid": "enc", "use": "enc"},
        {**good, "kid": ""},
        {name: value for name, value in good.items() if name != "kid"},
        {**good, "kid": "off", "x": good["y"]},
        {**rsa, "kid": "short", "n": rsa["n"][:100]},
        {**rsa, "kid": "exponent", "e": "AQ"},
        {**rsa, "kid": "number", "n": 5},
        {"kty": "EC", "crv": "P-521", "kid": "curve"},
        {"kty": "OKP", "crv": "X25519", "x": KEYS["EdDSA"].public()["x"], "kid": "agreement"},
        "x",
        None,
    ]
    assert set(parse_key_set({"keys": [*others, good, rsa]}, ProviderKind.WORKLOAD)) == {"one", "rsa", "agreement"}
    # an id that stands twice means neither
    with pytest.raises(Malformed):
        parse_key_set({"keys": [good, KEYS["EdDSA"].public()]}, ProviderKind.WORKLOAD)
    for document in ({}, [], {"keys": {}}, {"keys": []}, {"keys": others[:2]}, {"keys": [good] * 101}):
        with pytest.raises(Malformed):
            parse_key_set(document, ProviderKind.WORKLOAD)


def test_a_svids_key_is_for_svids():
    svid = KEYS["ES256"].public(use="jwt-svid")
    assert set(parse_key_set({"keys": [svid]}, ProviderKind.SPIFFE)) == {"one"}
    with pytest.raises(Malformed):
        parse_key_set({"keys": [svid]}, ProviderKind.WORKLOAD)


class Published(Fetcher):
    """A fetcher whose answers the test says; everything else of it is real."""

    def __init__(self, answer):
        super().__init__(FederationSettings())
        self.answer, self.asked = answer, 0

    async def get_json(self, url):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_keys_are_fetched_seldom_and_forgotten_in_time():
    now = [0.0]
    published = Published({"keys": [KEYS["ES256"].public()]})
    keys = ProviderKeys(published, clock=lambda: now[0])
    of = provider(jwks_uri="https://idp.example/keys")

    async def find(kid="one"):
        return await keys.find(of, kid, "ES256")

    await find()
    await find()
    assert published.asked == 1
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await find("two")
    assert published.asked == 1, "it was asked a moment ago"
    now[0] = 10.0
    with pytest.raises(Unauthenticated):
        await find("two")
    assert published.asked == 2
    # old keys are good while new ones are asked for beside, and the provider is gone
    published.answer = Unavailable("gone")
    now[0] = 400.0
    await find()
    now[0] = 3_500.0
    await find()
    now[0] = 3_700.0
    for _ in range(3):
        with pytest.raises(Unavailable):
            await find()
    published.answer = {"keys": [Key("ES256", kid="two").public()]}
    now[0] = 3_800.0
    await find("two")
    with pytest.raises(Unauthenticated):
        await find()
    await keys.close()


# --- bindings ---------------------------------------------------------------------------------------------------------


def binding(id_, subject="agt_a", kind="agent", **match):
    fields = {"match_subject": None, "match_prefix": None, "match_claims": {}, "scopes": None} | match
    return Binding(id=id_, subject=subject, kind=kind, **fields)


def identity(subject="worker", **said):
    return ExternalIdentity(
        provider=provider(), subject=subject, claims={"sub": subject, **said}, expires_at_s=NOW, assertion="asr_x"
    )


def test_a_binding_holds_when_all_of_it_does():
    exact = binding("1", match_subject="worker", match_claims={"env": "prod"})
    assert choose(identity(env="prod"), [exact]) is exact
    for stranger in (identity(), identity(env="Prod"), identity(env=["prod"]), identity("workers", env="prod")):
        with pytest.raises(Unauthenticated) as caught:
            choose(stranger, [exact])
        assert caught.value.code == "assertion-not-bound"
    with pytest.raises(Unauthenticated):
        choose(identity(), [binding("1")])  # without a condition: nobody


def test_two_that_disagree_mean_nobody_and_two_that_agree_give_the_less():
    one, two = binding("1", match_subject="worker"), binding("2", match_claims={"sub": "worker"}, scopes=["memory"])
    assert choose(identity(), [one, two]) is two
    with pytest.raises(Unauthenticated) as caught:
        choose(identity(), [one, binding("3", subject="agt_b", match_claims={"sub": "worker"})])
    assert caught.value.code == "assertion-ambiguous"
    with pytest.raises(Unauthenticated) as caught:
        choose(identity(), [binding("1", kind=None, match_subject="worker")])
    assert caught.value.code == "assertion-not-active"


def test_a_prefix_ends_where_a_segment_does():
    assert is_below("a/b/c", "a/b/")
    assert not is_below("a/bc", "a/b/")
    assert not is_below("a/b/", "a/b/")
    assert not is_below("a/bc", "a/b")


def test_claims_by_name_and_by_pointer():
    said = {"a": "1", "k8s.io": {"ns": "prod", "pods/x": "y"}, "/odd": "2"}
    assert claim_of(said, "a") == "1"
    assert claim_of(said, "/k8s.io/ns") == "prod"
    assert claim_of(said, "/k8s.io/pods~1x") == "y"
    for missing in ("b", "k8s.io", "/k8s.io", "/a/b", "/", "", "/k8s.io/ns/x"):
        assert claim_of(said, missing) is None


# --- addresses and secrets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://idp.example", True),
        ("https://idp.example:8443/realms/x", True),
        ("http://idp.example", False),
        ("http://127.0.0.1:80", False),
        ("ftp://idp.example", False),
        ("https://", False),
        ("https://user:pass@idp.example", False),
        ("https://idp.example:99999", False),
        ("https://idp.example/#x", False),
        ("https://ïdp.example", False),
        ("file:///etc/passwd", False),
    ],
)
def test_urls(url, fine):
    policy = UrlPolicy(FederationSettings())
    if fine:
        policy.check_url(url)
    else:
        with pytest.raises(Malformed):
            policy.check_url(url)


@pytest.mark.parametrize(
    ("address", "public", "private_host", "loopback"),
    [
        ("93.184.215.14", True, True, True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True, True, True),
        ("10.1.2.3", False, True, False),
        ("192.168.0.1", False, True, False),
        ("100.64.0.1", False, True, False),
        ("fd00::1", False, True, False),
        ("127.0.0.1", False, True, True),
        ("::1", False, True, True),
        ("::ffff:127.0.0.1", False, True, True),
        ("169.254.169.254", False, False, False),
        ("::ffff:169.254.169.254", False, False, False),
        ("fe80::1", False, False, False),
        ("0.0.0.0", False, False, False),
        ("::", False, False, False),
        ("224.0.0.1", False, False, False),
        ("255.255.255.255", False, False, False),
    ],
)
def test_addresses(address, public, private_host, loopback):
    parsed = ipaddress.ip_address(address)

    def may(**settings):
        return UrlPolicy(FederationSettings(**settings)).may_connect("idp.example", parsed)

    assert (may(), may(private_hosts=("idp.example",)), may(loopback_http=True)) == (public, private_host, loopback)
    assert may(private_hosts=("other.example",)) == public


def test_a_client_secret_is_sealed_for_its_provider(tmp_path):
    vault = ClientSecrets(tmp_path)
    sealed = vault.seal("idp_a", "hush")
    assert b"hush" not in sealed
    assert ClientSecrets(tmp_path).open("idp_a", sealed) == "hush"
    for provider_id, changed in (("idp_b", sealed), ("idp_a", sealed[:-1] + b"x"), ("idp_a", b"")):
        with pytest.raises(Unavailable):
            vault.open(provider_id, changed)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
