"""An identity provider, or somebody between, that lies in every way: refused, on record, and nothing changed."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.foreign_issuer import (
    ForeignIssuer,
    Key,
    encode,
    huge,
    keyed_with_the_public_key,
    redirecting,
    reply,
    slow,
    unsigned,
)
from tests.scenarios.test_federation import Workshop, eventually

from partywall.wire.oauth import ID_TOKEN, JWT

HOUR = 3_600


@pytest.fixture(scope="module")
def issuer():
    made = ForeignIssuer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shop(platform, issuer):
    a, _b = (Workshop(side, platform.base_url) for side in platform.two_tenants())
    idp = a.provider(slug="cloud", kind="workload", issuer=issuer.url)
    a.bind(idp, a.side.agent, match_subject="worker")
    a.idp = idp
    return a


def honest(issuer, shop, **changed):
    return issuer.claims(sub="worker", aud=shop.audience, **changed)


def lies(issuer, shop):
    """Name -> a token that must not be believed."""
    now = int(time.time())
    stranger = Key(kid=issuer.key.kid)
    header = {"alg": "ES256", "kid": issuer.key.kid, "typ": "JWT"}
    good = honest(issuer, shop)
    signed = issuer.key.sign(good)
    twice = b'{"sub":"worker",' + json.dumps(good).encode()[1:]
    head, body, signature = signed.split(".")
    return {
        "another issuer": issuer.key.sign(good | {"iss": "https://elsewhere.example"}),
        "an issuer with a slash more": issuer.key.sign(good | {"iss": issuer.url + "/"}),
        "another key under the same id": stranger.sign(good),
        "an id that is not published": Key().sign(good),
        "no key id": issuer.key.sign(good, kid=None),
        "algorithm none": unsigned(good, kid=issuer.key.kid),
        "algorithm none with a signature": f"{encode({'alg': 'none', 'kid': issuer.key.kid})}.{body}.{signature}",
        "HMAC with the public key": keyed_with_the_public_key(issuer.key, good),
        "a key in the header": issuer.key.sign(good, jwk=stranger.public()),
        "an address of keys in the header": issuer.key.sign(good, jku="http://127.0.0.1:1/keys"),
        "a critical header": issuer.key.sign_bytes(header | {"crit": ["exp"]}, good),
        "another audience": issuer.key.sign(good | {"aud": "somebody-else"}),
        "nobody's": issuer.key.sign({name: value for name, value in good.items() if name != "aud"}),
        "two audiences": issuer.key.sign(good | {"aud": [shop.audience, "somebody-else"]}),
        "an audience that only begins so": issuer.key.sign(good | {"aud": shop.audience + "x"}),
        "expired": issuer.key.sign(good | {"iat": now - 120, "nbf": now - 120, "exp": now - 1}),
        "without an end": issuer.key.sign({name: value for name, value in good.items() if name != "exp"}),
        "an end that is text": issuer.key.sign_bytes(header, good | {"exp": str(now + 60)}),
        "an end beyond numbers": issuer.key.sign_bytes(header, good | {"exp": 1e300}),
        "from the future": issuer.key.sign(good | {"nbf": now + 300}),
        "issued in the future": issuer.key.sign(good | {"iat": now + 300, "exp": now + 600}),
        "too old": issuer.key.sign(good | {"iat": now - 2 * HOUR, "nbf": now - 2 * HOUR, "exp": now + HOUR}),
        "a subject that is not bound": issuer.key.sign(good | {"sub": "worker2"}),
        "a subject in capitals": issuer.key.sign(good | {"sub": "Worker"}),
        "a subject that is a list": issuer.key.sign_bytes(header, good | {"sub": ["worker"]}),
        "no subject": issuer.key.sign({name: value for name, value in good.items() if name != "sub"}),
        "a name twice": issuer.key.sign_bytes(header, twice),
        "not JSON": issuer.key.sign_bytes(header, b"worker"),
        "a token of another kind": issuer.key.sign(good, typ="logout+jwt"),
        "four parts": signed + ".x",
        "padding": signed + "=",
        "another spelling of the signature": f"{head}.{body}.{_respelled(signature)}",
        "encrypted": ".".join([encode({"alg": "dir", "enc": "A256GCM"}), "", "x", "x", "x"]),
        "a key set": json.dumps({"keys": issuer.published}),
        "nothing": "x",
    }


def _respelled(text):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def test_every_lie_is_refused_alike_recorded_and_changes_nothing(shop, issuer, platform):
    assert shop.exchange(issuer.key.sign(honest(issuer, shop))).status_code == 200, "the truth is believed"
    tried = lies(issuer, shop)
    platform_before = _refusals(platform)
    said = {}
    for name, token in tried.items():
        answer = shop.exchange(token, audience=shop.audience)
        said[name] = (answer.status_code, answer.text)
    assert {name: text for name, text in said.items() if text != said["another key under the same id"]} == {}
    assert said["nothing"] == (
        400,
        '{"error":"invalid_request","error_description":"the token is not accepted"}',
    )
    ours = [leaf for leaf in shop.log() if "system:federation" in json.dumps(leaf)]
    assert _refusals(platform) - platform_before + len(ours) == len(tried)
    assert {_external(leaf) for leaf in ours} == {"worker2", "Worker"}, "a tenant sees whom its issuer vouched for"
    assert all("assertion-not-bound" in json.dumps(leaf) for leaf in ours)
    assert shop.exchange(issuer.key.sign(honest(issuer, shop))).status_code == 200


def _external(leaf):
    found = json.dumps(leaf).partition('"external_subject": "')[2]
    return found.partition('"')[0]


def _refusals(platform):
    """How many refusals of foreign tokens the platform's own log holds."""
    import httpx

    start, count = 0, 0
    while True:
        answer = httpx.get(
            f"{platform.base_url}/v1/audit/leaves?limit=1000&start={start}", trust_env=False,
            headers={"authorization": f"Bearer {platform.operator_key()}"},
        )  # fmt: skip
        page = answer.json()["leaves"]
        count += sum("system:federation" in json.dumps(leaf) for leaf in page)
        start += len(page)
        if len(page) < 1000:
            return count


def test_an_id_token_is_for_one_client_and_good_once(shop):
    with_azp = {"aud": ["web", "other"], "azp": "web"}
    foreign = ForeignIssuer("RS256")
    try:
        idp = shop.provider(slug="people", kind="oidc", issuer=foreign.url, client_id="web")
        shop.bind(idp, shop.side.agent, match_subject="ada")
        named = {"type_": ID_TOKEN, "audience": shop.audience}
        for changed in ({"aud": ["web", "other"]}, {"aud": "web", "azp": "other"}, {"aud": "other", "azp": "web"}):
            assert shop.exchange(foreign.token(sub="ada", **changed), **named).status_code == 400, changed
        assert shop.exchange(foreign.token(sub="ada", **with_azp), **named).status_code == 200
        old = int(time.time()) - 400
        assert shop.exchange(foreign.token(sub="ada", aud="web", iat=old, nbf=old), **named).status_code == 400

        token = foreign.token(sub="ada", aud="web")
        assert [shop.exchange(token, **named).status_code for _ in range(3)] == [200, 400, 400]
        # the same assertion in another signature is the same assertion; so is another token of its jti
        claims = foreign.claims(sub="ada", aud="web", jti=None)
        assert [shop.exchange(foreign.key.sign(claims), **named).status_code for _ in range(2)] == [200, 400]
        claims = foreign.claims(sub="ada", aud="web", jti="one")
        again = claims | {"exp": claims["exp"] + 1}
        assert shop.exchange(foreign.key.sign(claims), **named).status_code == 200
        assert shop.exchange(foreign.key.sign(again), **named).status_code == 400
        assert "assertion-replayed" in json.dumps(shop.log())
    finally:
        foreign.close()


@pytest.mark.parametrize("fault", ["huge", "slow", "redirecting", "not JSON", "status 500", "no keys", "private only"])
def test_keys_that_cannot_be_had_mean_no(shop, issuer, fault, platform):
    bad, recorded = ForeignIssuer(), _refusals(platform)
    try:
        answers = {
            "huge": huge,
            "slow": slow,
            "redirecting": redirecting(issuer.url + "/keys"),
            "not JSON": lambda handler: reply(handler, 200, b"<html>"),
            "status 500": lambda handler: reply(handler, 500, b"{}"),
        }
        bad.break_with = answers.get(fault)
        if fault == "no keys":
            bad.published = []
        if fault == "private only":
            bad.published = [bad.key.key.as_dict(private=True) | {"kid": bad.key.kid}]
        idp = shop.provider(slug="bad", kind="workload", issuer=bad.url, jwks_uri=f"{bad.url}/keys")
        shop.bind(idp, shop.side.agent, match_subject="worker")
        started = time.monotonic()
        answer = shop.exchange(bad.token(sub="worker", aud=shop.audience))
        assert answer.status_code == 503
        assert answer.json()["error"] == "temporarily_unavailable"
        assert time.monotonic() - started < 12
        # and it delays nobody else's
        assert shop.exchange(issuer.token(sub="worker", aud=shop.audience)).status_code == 200
        asked = len(bad.asked)
        assert shop.exchange(bad.token(sub="worker", aud=shop.audience)).status_code == 503
        assert len(bad.asked) <= asked + 1, "it is not asked again at once"
        assert len(bad.asked) <= 2
        assert _refusals(platform) == recorded + 2
        shop.side.api("DELETE", f"/v1/identity-providers/{idp['id']}")
    finally:
        bad.close()


def test_an_assertion_shown_at_the_same_time_by_many_is_good_for_one(shop):
    foreign = ForeignIssuer("EdDSA")
    try:
        idp = shop.provider(slug="race", kind="oidc", issuer=foreign.url, audiences=["us"], algorithms=["EdDSA"])
        shop.bind(idp, shop.side.agent, match_subject="ada")
        token = foreign.token(sub="ada", aud="us")
        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(lambda _: shop.exchange(token, audience=shop.audience).status_code, range(8)))
        assert sorted(said) == [200, *[400] * 7]
    finally:
        foreign.close()


def test_discovery_of_another_issuer_is_not_followed(shop):
    liar = ForeignIssuer()
    try:
        liar.document = {"issuer": "https://accounts.example"}
        idp = shop.provider(slug="liar", kind="workload", issuer=liar.url)
        shop.bind(idp, shop.side.agent, match_subject="worker")
        assert shop.exchange(liar.token(sub="worker", aud=shop.audience)).status_code == 503
        assert liar.asked == ["/.well-known/openid-configuration"]
        shop.side.api("DELETE", f"/v1/identity-providers/{idp['id']}")
    finally:
        liar.close()


def test_a_new_key_is_learnt_and_a_flood_of_unknown_ones_asks_once(shop):
    turning = ForeignIssuer("EdDSA")
    try:
        idp = shop.provider(slug="turning", kind="workload", issuer=turning.url, algorithms=["EdDSA"])
        shop.bind(idp, shop.side.agent, match_subject="worker")
        token = turning.token(sub="worker", aud=shop.audience)
        assert shop.exchange(token).status_code == 200
        turning.rotate()
        eventually(lambda: shop.exchange(turning.token(sub="worker", aud=shop.audience)).status_code == 200, 20)
        assert shop.exchange(token).status_code == 400, "the key that went is believed no more"
        asked = len(turning.asked)
        strangers = [Key("EdDSA").sign(turning.claims(sub="worker", aud=shop.audience)) for _ in range(5)]
        assert {shop.exchange(token).status_code for token in strangers} == {400}
        assert len(turning.asked) <= asked + 2, "one question for all of them"
        # keys that are known are good while the provider is away
        turning.break_with = lambda handler: reply(handler, 503, b"{}")
        assert shop.exchange(turning.token(sub="worker", aud=shop.audience)).status_code == 200
        shop.side.api("DELETE", f"/v1/identity-providers/{idp['id']}")
    finally:
        turning.close()


def test_two_bindings_that_disagree_mean_nobody(shop, issuer):
    other = shop.side.subject("other", [])
    binding = shop.bind(shop.idp, other, match_claims={"team": "red"})
    token = issuer.token(sub="worker", aud=shop.audience, team="red")
    assert shop.exchange(token).status_code == 400
    assert "assertion-ambiguous" in json.dumps(shop.log())
    assert shop.exchange(issuer.token(sub="worker", aud=shop.audience, team=["red"])).status_code == 200
    shop.side.api("POST", f"/v1/subjects/{other}/suspend")
    shop.side.api("DELETE", f"/v1/identity-bindings/{binding['id']}")
    assert shop.exchange(token).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest", "https://127.0.0.1:1/", "https://[::1]:1/", "https://10.0.0.1/",
        "https://[fd00::1]/", "https://[::ffff:169.254.169.254]/", "https://0.0.0.0/",
    ],
)  # fmt: skip
def test_the_issuer_is_led_to_no_address_inside(shop, url):
    idp = shop.provider(slug="inside", kind="workload", issuer=url.rstrip("/"), jwks_uri=url)
    shop.bind(idp, shop.side.agent, match_subject="worker")
    claims = {"iss": url.rstrip("/"), "sub": "worker", "aud": shop.audience, "iat": time.time(), "exp": time.time() + 9}
    answer = shop.exchange(Key().sign(claims))
    assert answer.status_code == 503
    shop.side.api("DELETE", f"/v1/identity-providers/{idp['id']}")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"issuer": "http://idp.example"}, "bad-url"),
        ({"issuer": "https://user:x@idp.example"}, "bad-request"),
        ({"issuer": "spiffe://corp.example"}, "bad-provider"),
        ({"issuer": "https://corp.example", "kind": "spiffe"}, "bad-provider"),
        ({"issuer": "spiffe://Corp", "kind": "spiffe", "jwks": {"keys": []}}, "bad-provider"),
        ({"issuer": "https://idp.example", "algorithms": ["HS256"]}, "bad-request"),
        ({"issuer": "https://idp.example", "algorithms": ["none"]}, "bad-request"),
        ({"issuer": "https://idp.example", "jwks": {"keys": [{"kty": "oct", "k": "eA", "kid": "1"}]}}, "bad-key-set"),
        ({"issuer": "https://idp.example", "client_secret": "x"}, "bad-provider"),
        ({"issuer": "https://idp.example", "organisation": "acme"}, "bad-provider"),
        ({"issuer": "https://idp.example", "tenant": "ten_x"}, "bad-request"),
    ],
)
def test_a_provider_that_could_not_be_trusted_is_not_registered(shop, body, code):
    answer = shop.side.wire.send(
        "POST", "/v1/identity-providers", credential=shop.side.admin, body={"slug": "wrong"} | body
    )
    assert (answer.status, answer.json()["code"]) == (400, code), answer.body
    assert "wrong" not in json.dumps(shop.side.api("GET", "/v1/identity-providers"))


def test_nobody_else_sees_or_uses_a_tenants_provider(shop, issuer, platform):
    b = next(iter(Workshop(side, platform.base_url) for side in platform.two_tenants()))
    send = b.side.wire.send
    nobody = "idp_" + "a" * 26
    for idp in (shop.idp["id"], nobody):
        path = f"/v1/identity-providers/{idp}"
        body = {"idp": idp, "subject": b.side.agent, "match_subject": "worker"}
        assert send("GET", path, credential=b.side.admin).status == 404
        assert send("DELETE", path, credential=b.side.admin).status == 404
        assert send("POST", "/v1/identity-bindings", credential=b.side.admin, body=body).status == 404
    token = issuer.token(sub="worker", aud=shop.audience)
    there = shop.exchange(token, JWT, audience=b.audience)
    nowhere = shop.exchange(token, JWT, audience=f"pw:local:ten_{'a' * 26}")
    assert (there.status_code, there.content) == (nowhere.status_code, nowhere.content)
    assert there.status_code == 400
    # B trusts the same issuer with the same subject: neither notices the other
    idp = b.provider(slug="cloud", kind="workload", issuer=issuer.url)
    b.bind(idp, b.side.agent, match_subject="worker")
    assert shop.exchange(token).json()["spiffe_id"].endswith(shop.side.agent)
    mine = issuer.token(sub="worker", aud=b.audience)
    assert b.exchange(mine).json()["spiffe_id"].endswith(b.side.agent)
