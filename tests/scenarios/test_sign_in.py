"""People sign in at their organisation's own provider: the whole way, with a real provider and a real deployment."""

import base64
import hashlib
import json
import re
import secrets
import time
from urllib.parse import urlencode

import httpx
import pytest
from tests.browser import Arrived, Browser, ask
from tests.foreign_issuer import ForeignIssuer, reply
from tests.identity_provider import IdentityProvider
from tests.sign_in_fixture import Client, Organisation


def claims_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def works(organisation, token):
    return organisation.get("/v1/models", token).status_code == 200


def eventually_refused(organisation, token, limit_s=20.0):
    """Within 5 s, as the probes measure on a machine of their own; here only that it comes."""
    started = time.monotonic()
    while works(organisation, token):
        assert time.monotonic() - started < limit_s
        time.sleep(0.1)


@pytest.fixture
def client(organisation):
    return Client(organisation.url)


# --- the way itself ---------------------------------------------------------------------------------------------------


def test_a_person_signs_in_and_works_in_one_tenant(organisation, client):
    answer = client.sign_in(organisation.acme["slug"], "alice")
    assert answer.query["state"] == client.state
    assert answer.query["iss"] == organisation.url
    reply = client.redeem(answer.query["code"])
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    token = reply.json()
    assert set(token) == {"access_token", "token_type", "expires_in"}
    claims = claims_of(token["access_token"])
    assert (claims["sub"], claims["ten"], claims["knd"]) == (organisation.alice, organisation.acme["id"], "user")
    assert 0 < claims["exp"] - claims["iat"] <= 900
    assert {"scp", "res", "act"}.isdisjoint(claims)
    assert works(organisation, token["access_token"])


def test_each_step_is_in_the_right_log_and_no_secret_in_any(organisation, client, platform):
    answer = client.sign_in(organisation.acme["slug"], "alice")
    token = client.redeem(answer.query["code"]).json()["access_token"]
    operations = [
        leaf["parameters"]["operation"]
        for leaf in organisation.leaves(organisation.operator)
        if leaf["actor"]["id"] == "system:sign-in" and leaf["phase"] == "intent"
    ]
    assert operations[-4:] == ["sign-in.begin", "sign-in.continue", "sign-in.callback", "sign-in.redeem"]
    [issued] = [
        leaf
        for leaf in organisation.leaves(organisation.acme["admin"])
        if leaf["phase"] == "intent"
        and leaf.get("parameters", {}).get("grant")
        and leaf["actor"]["id"] == organisation.alice
    ][-1:]
    assert issued["parameters"] == {
        "operation": "token.create", "subject": organisation.alice, "grant": "authorization_code",
    }  # fmt: skip
    written = "".join(path.read_text(errors="replace") for path in platform.home.path.glob("log/*.log"))
    for key in (organisation.operator, organisation.acme["admin"]):
        written += json.dumps(organisation.leaves(key))
    for secret in (answer.query["code"], client.verifier, token, organisation.slug + "-secret"):
        assert secret not in written


def test_a_user_of_several_tenants_gets_a_token_for_the_one_that_they_name(organisation):
    tenants = [organisation.acme, organisation.annex]
    claims = [claims_of(Client(organisation.url).token(tenant["slug"], "bob")) for tenant in tenants]
    assert [one["ten"] for one in claims] == [tenant["id"] for tenant in tenants]
    assert [one["sub"] for one in claims] == [organisation.bob, organisation.bob_annex]
    by_id = claims_of(Client(organisation.url).token(organisation.annex["id"], "bob"))
    assert by_id["ten"] == organisation.annex["id"]


@pytest.mark.parametrize("login", ["alice", "mallory"])
def test_whom_a_tenant_does_not_know_gets_nothing(organisation, client, login):
    answer = client.sign_in(organisation.annex["slug"], login)
    assert answer.query["error"] == "access_denied"
    assert "code" not in answer.query
    assert answer.query["state"] == client.state
    [last] = [leaf for leaf in organisation.leaves(organisation.operator) if leaf["phase"] == "outcome"][-1:]
    assert (last["result"], last["status_detail"] if "status_detail" in last else last.get("reason")) == (
        "failed",
        "assertion-not-bound",
    )


def test_a_token_carries_the_scopes_that_were_asked_for_and_no_more(organisation, client):
    reply = client.redeem(
        client.sign_in(organisation.acme["slug"], "alice", scope="memory openid").query["code"]
    ).json()
    assert reply["scope"] == "memory"
    assert claims_of(reply["access_token"])["scp"] == ["memory"]


def test_a_binding_narrows_what_is_asked_for(organisation):
    organisation.user(organisation.acme, "narrow", scopes=["memory", "tool.list"])
    for scope, carried in ((None, ["memory", "tool.list"]), ("memory tool.call", ["memory"])):
        token = Client(organisation.url).token(organisation.acme["slug"], "narrow", scope=scope)
        assert claims_of(token)["scp"] == carried


def test_a_binding_may_ask_for_a_claim_of_the_person(organisation, identity_provider):
    identity_provider.world(accounts={"dora": {"email": "dora@corp.example", "team": "red"}, "otto": {"team": "blue"}})
    user = organisation.user(organisation.acme, "teamred", match_subject=None, match_claims={"team": "red"})
    assert claims_of(Client(organisation.url).token(organisation.acme["slug"], "dora"))["sub"] == user
    assert Client(organisation.url).sign_in(organisation.acme["slug"], "otto").query["error"] == "access_denied"


def test_the_provider_turns_its_keys(organisation, client, identity_provider):
    assert works(organisation, client.token(organisation.acme["slug"], "alice"))
    identity_provider.turn_keys()
    started = time.monotonic()
    # a key that is not known yet makes us ask again, 5 s after we last asked
    while "code" not in (client := Client(organisation.url)).sign_in(organisation.acme["slug"], "alice").query:
        assert time.monotonic() - started < 15
        time.sleep(0.5)
    assert works(organisation, client.token(organisation.acme["slug"], "alice"))


def test_one_tenants_provider_without_a_secret(platform, identity_provider):
    """A public client at the provider: PKCE alone."""
    organisation = Organisation(platform, identity_provider, secret=None)
    assert works(organisation, Client(organisation.url).token(organisation.acme["slug"], "alice"))


def test_a_person_may_say_no_to_the_client_or_at_the_provider(organisation, client):
    browser = client.browser()
    page = browser.get(client.request(tenant=organisation.acme["slug"]))
    assert page.fields["tenant"] == organisation.acme["slug"]
    answer = browser.submit(page, choice="cancel")
    assert (answer.query["error"], answer.query["state"]) == ("access_denied", client.state)
    page = browser.submit(browser.get(client.request()), tenant=organisation.acme["slug"], choice="continue")
    abort = re.search(r'href="([^"]*/abort)"', page.text)[1]
    answer = browser.get(str(httpx.URL(page.url).join(abort)))
    assert (answer.query["error"], answer.query["state"]) == ("access_denied", client.state)


def test_signing_out_ends_the_token(organisation, client):
    token = client.token(organisation.acme["slug"], "alice")
    revoke = lambda text: ask("POST", f"{organisation.url}/v1/oauth/revoke", data={"token": text})  # noqa: E731
    assert revoke(token).status_code == 200
    eventually_refused(organisation, token)
    assert [revoke(text).status_code for text in (token, "nothing")] == [200, 200]
    assert revoke(organisation.acme["admin"]).json()["error"] == "invalid_request"
    assert works(organisation, organisation.acme["admin"])


# --- codes ------------------------------------------------------------------------------------------------------------


def test_a_code_is_good_once_and_twice_is_a_theft(organisation, client):
    code = client.sign_in(organisation.acme["slug"], "alice").query["code"]
    token = client.redeem(code).json()["access_token"]
    assert works(organisation, token)
    replayed = client.redeem(code)
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_grant")
    eventually_refused(organisation, token)


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": secrets.token_urlsafe(48)},
        {"code_verifier": "short"},
        {"redirect_uri": "http://127.0.0.1:1/callback"},
        {"client_id": "desk"},
        {"resource": "RESOURCE/mcp/other"},
        {"resource": "https://elsewhere.example/"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_code_is_for_who_asked_and_a_wrong_try_burns_it(organisation, client, changed):
    code = client.sign_in(organisation.acme["slug"], "alice").query["code"]
    changed = {name: text.replace("RESOURCE", organisation.url) for name, text in changed.items()}
    reply = client.redeem(code, **changed)
    assert reply.status_code == 400
    assert reply.json()["error"] in {"invalid_grant", "invalid_target"}
    if reply.json()["error"] == "invalid_grant":
        assert client.redeem(code).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("missing", ["code", "code_verifier", "redirect_uri", "client_id"])
def test_a_token_request_without_a_part_is_none(organisation, client, missing):
    code = client.sign_in(organisation.acme["slug"], "alice").query["code"]
    assert client.redeem(code, **{missing: None}).status_code == 400
    assert client.redeem(code).status_code == 200  # nothing was tried


def test_a_code_of_somebody_who_was_suspended_or_unbound_is_worth_nothing(organisation):
    for end in ("suspend", "unbind"):
        login, client = f"{end}-{secrets.token_hex(3)}", Client(organisation.url)
        user = organisation.user(organisation.acme, login)
        code = client.sign_in(organisation.acme["slug"], login).query["code"]
        if end == "suspend":
            organisation.post(f"/v1/subjects/{user}/suspend", {}, organisation.acme["admin"])
        else:
            bindings = organisation.get("/v1/identity-bindings", organisation.acme["admin"]).json()["bindings"]
            [mine] = [one["id"] for one in bindings if one["subject"] == user]
            headers = {"authorization": f"Bearer {organisation.acme['admin']}"}
            ask("DELETE", f"{organisation.url}/v1/identity-bindings/{mine}", headers=headers).raise_for_status()
        assert client.redeem(code).status_code == 400


def test_removing_a_binding_ends_its_tokens(organisation, client):
    user = organisation.user(organisation.acme, "leaver")
    token = client.token(organisation.acme["slug"], "leaver")
    bindings = organisation.get("/v1/identity-bindings", organisation.acme["admin"]).json()["bindings"]
    [mine] = [one["id"] for one in bindings if one["subject"] == user]
    headers = {"authorization": f"Bearer {organisation.acme['admin']}"}
    ask("DELETE", f"{organisation.url}/v1/identity-bindings/{mine}", headers=headers).raise_for_status()
    eventually_refused(organisation, token)


# --- what a client may ask --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "tool.call everything"}, "invalid_scope"),
        ({"resource": "https://elsewhere.example/mcp/mail"}, "invalid_target"),
        ({"resource": "/mcp/mail"}, "invalid_target"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_known_client_may_not_ask_it_is_told(organisation, client, changed, error):
    answer = client.browser().get(client.request(**changed))
    assert isinstance(answer, Arrived)
    assert (answer.query["error"], answer.query["state"]) == (error, client.state)
    assert answer.query["iss"] == organisation.url


@pytest.mark.parametrize(
    "uri",
    [
        "https://desk.example/callback/",
        "https://desk.example/callback?next=x",
        "https://desk.example/callback#x",
        "https://desk.example/callbac",
        "https://desk.example/../callback",
        "https://desk.example:8443/callback",
        "https://desk.example.evil/callback",
        "https://desk.example@evil.example/callback",
        "https://evil.example/callback",
        "https://evil.example\\@desk.example/callback",
        "http://desk.example/callback",
        "HTTPS://desk.example/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "//desk.example/callback",
        "/callback",
        "http://127.0.0.1:9/elsewhere",
        "http://127.0.0.1.evil.example/back",
        "http://127.0.0.1@evil.example/back",
        "http://localhost:9/back",
        "http://[::1]:9/back",
        "http://0.0.0.0:9/back",
        "http://127.1:9/back",
        "http://127.0.0.1:99999/back",
    ],
)
def test_no_answer_goes_where_the_client_is_not(organisation, uri):
    client = Client(organisation.url, client_id="desk", redirect_uri=uri)
    page = Browser().get(client.request())
    assert (page.status, page.code) == (400, "bad-redirect-uri")
    assert "location" not in page.reply.headers


def test_a_loopback_address_may_have_any_port(organisation):
    client = Client(organisation.url, client_id="desk", redirect_uri="http://127.0.0.1:54321/back")
    assert client.sign_in(organisation.acme["slug"], "alice").query["code"]


@pytest.mark.parametrize("raw", ["client_id=desk&client_id=partywall-cli", "redirect_uri=x&redirect_uri=y", "x=%ff"])
def test_a_request_with_two_meanings_is_none(organisation, client, raw):
    page = Browser().get(client.request() + "&" + raw)
    assert (page.status, page.code) == (400, "invalid-request")


def test_the_page_shows_what_was_said_as_text_and_may_not_be_framed(organisation, client):
    page = client.browser().get(client.request(tenant='"><script>alert(1)</script>'))
    assert "<script" not in page.text
    assert page.reply.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in page.reply.headers["content-security-policy"]
    assert page.reply.headers["cache-control"] == "no-store"
    [cookie] = page.reply.headers.get_list("set-cookie")
    assert cookie.startswith("__Host-sgn_")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie


# --- whose browser it is ----------------------------------------------------------------------------------------------


def at_the_provider(organisation, client, browser=None):
    """Begin in a browser and stop where the provider's answer would come back. Returns (browser, callback address)."""
    browser = browser or client.browser()
    answer = client.sign_in(organisation.acme["slug"], "alice", stopping(browser, organisation))
    return browser, answer.url


def stopping(browser, organisation):
    browser.stops_at = (*browser.stops_at, f"{organisation.url}/v1/oauth/callback")
    return browser


def going_on(browser):
    browser.stops_at = browser.stops_at[:1]
    return browser


def test_an_answer_counts_only_in_the_browser_that_began(organisation, client):
    mine, callback = at_the_provider(organisation, client)
    victim = Browser()
    page = victim.get(callback)
    assert (page.status, page.code) == (400, "bad-sign-in")
    # nor in one that has begun a sign-in of its own
    other = Client(organisation.url)
    victim, _ = at_the_provider(organisation, other)
    page = going_on(victim).get(callback)
    assert (page.status, page.code) == (400, "bad-sign-in")
    assert going_on(mine).get(callback).query["code"]


def test_a_cookie_does_not_fit_another_state(organisation, client):
    browser, _callback = at_the_provider(organisation, client)
    other, theirs = at_the_provider(organisation, Client(organisation.url))
    host = httpx.URL(organisation.url).netloc.decode()
    [(name, path)] = [key for key, value in browser.cookies[host].items() if value and key[0].startswith("__Host-")]
    [(theirname, _)] = [key for key, value in other.cookies[host].items() if value and key[0].startswith("__Host-")]
    browser.cookies[host][theirname, path] = browser.cookies[host][name, path]
    page = going_on(browser).get(theirs)
    assert (page.status, page.code) == (400, "bad-sign-in")


@pytest.mark.parametrize("change", ["state", "cookie", "stage"])
def test_what_was_changed_on_the_way_is_refused(organisation, client, change):
    browser = client.browser()
    first = browser.get(client.request())
    host = httpx.URL(organisation.url).netloc.decode()
    begun = dict(browser.cookies[host])
    browser, callback = at_the_provider(organisation, client, browser)
    if change == "state":
        callback = re.sub(r"(state=[^&]*?)[A-Za-z0-9](&|$)", r"\g<1>-\g<2>", callback)
    elif change == "cookie":
        browser.cookies[host] = {key: value and value[:-6] + "AAAAAA" for key, value in browser.cookies[host].items()}
    else:
        attempt = re.search(r"state=(sgn_[a-z2-7]+)", callback)[1]
        [sealed] = [value for value in begun.values() if value]
        browser.cookies[host] = {(f"__Host-{attempt}", "/"): sealed}
    page = going_on(browser).get(callback)
    assert (page.status, page.code) == (400, "bad-sign-in")
    assert first.status == 200


def test_a_sign_in_is_finished_once(organisation, client, identity_provider):
    browser, callback = at_the_provider(organisation, client)
    host = httpx.URL(organisation.url).netloc.decode()
    kept = dict(browser.cookies[host])
    assert going_on(browser).get(callback).query["code"]
    browser.cookies[host] = kept
    assert browser.get(callback).query["error"] == "access_denied"  # its code was used at the provider, too


def test_a_strangers_page_cannot_agree_for_a_person(organisation, client):
    browser = client.browser()
    page = browser.get(client.request())
    fields = page.fields | {"tenant": organisation.acme["slug"], "choice": "continue"}
    post = lambda **headers: ask("POST", page.action, data=fields, headers=headers)  # noqa: E731
    cookie = "; ".join(f"{key[0]}={value}" for key, value in next(iter(browser.cookies.values())).items())
    assert post().status_code == 400  # no cookie: SameSite keeps it from a stranger's form
    assert post(cookie=cookie, origin="https://evil.example").status_code == 400
    assert post(cookie=cookie, origin="null").status_code == 400
    fields["form"] = secrets.token_urlsafe(32)
    assert post(cookie=cookie, origin=organisation.url).status_code == 400


# --- what a provider says ---------------------------------------------------------------------------------------------


class HostileProvider(ForeignIssuer):
    """An identity provider whose token endpoint answers whatever it is told."""

    def __init__(self, *, names_itself=True):
        super().__init__("ES256")
        self.document = {
            "authorization_endpoint": f"{self.url}/auth", "token_endpoint": f"{self.url}/token",
            "authorization_response_iss_parameter_supported": names_itself,
        }  # fmt: skip
        self.id_token, self.asked_for, self.more = None, [], {}
        hostile = self

        def do_POST(handler):
            hostile.asked_for.append(handler.rfile.read(int(handler.headers["content-length"])).decode())
            body = {"access_token": "at", "token_type": "Bearer", "id_token": hostile.id_token} | hostile.more
            reply(handler, 200, json.dumps(body).encode())

        self._server.RequestHandlerClass.do_POST = do_POST


class Prey:
    """An organisation that trusts the hostile provider, and one sign-in on its way there."""

    def __init__(self, organisation, provider):
        self.organisation, self.provider = organisation, provider
        slug = f"prey-{secrets.token_hex(4)}"
        tenant = organisation.post("/v1/tenants", {"slug": slug, "organisation": slug}, organisation.operator)
        made = organisation.post(f"/v1/tenants/{tenant['id']}/admins", {"slug": "root"}, organisation.operator)
        self.slug, self.admin = slug, made["key"]["secret"]
        body = {"slug": "own", "kind": "oidc", "issuer": provider.url, "client_id": "us", "algorithms": ["ES256"]}
        self.idp = organisation.post("/v1/identity-providers", body, self.admin)["id"]
        user = organisation.post("/v1/subjects", {"kind": "user", "slug": "alice"}, self.admin)["id"]
        binding = {"idp": self.idp, "subject": user, "match_subject": "alice"}
        organisation.post("/v1/identity-bindings", binding, self.admin)

    def sent(self):
        client = Client(self.organisation.url)
        browser = Browser(client.redirect_uri, self.provider.url)
        page = browser.get(client.request())
        return client, browser, browser.submit(page, tenant=self.slug, choice="continue").query

    def claims(self, query, **changed):
        return self.provider.claims(sub="alice", aud="us", nonce=query["nonce"]) | changed

    def answer(self, browser, query, *, iss=None):
        given = {"code": "c", "state": query["state"], "iss": iss or self.provider.url}
        return browser.get(f"{self.organisation.url}/v1/oauth/callback?" + urlencode(given))


@pytest.fixture(scope="module")
def prey(organisation):
    provider = HostileProvider()
    yield Prey(organisation, provider)
    provider.close()


@pytest.fixture
def sent(prey):
    prey.provider.more = {}
    return prey.sent()


def test_an_honest_answer_of_that_provider_is_taken(prey, sent):
    client, browser, query = sent
    assert query["scope"] == "openid profile email"
    assert (query["code_challenge_method"], query["redirect_uri"]) == (
        "S256",
        f"{prey.organisation.url}/v1/oauth/callback",
    )
    at_hash = base64.urlsafe_b64encode(hashlib.sha256(b"at").digest()[:16]).decode().rstrip("=")
    prey.provider.id_token = prey.provider.key.sign(prey.claims(query, at_hash=at_hash))
    answer = prey.answer(browser, query)
    assert client.redeem(answer.query["code"]).status_code == 200
    assert "code_verifier=" in prey.provider.asked_for[-1]


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": ["us", "another-client"]},
        {"aud": ["us", "another-client"], "azp": "another-client"},
        {"azp": "another-client"},
        {"iss": "https://another.example"},
        {"sub": "mallory"},
        {"sub": ""},
        {"exp": 1},
        {"iat": 1},
        {"iat": None},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"at_hash": 7},
    ],
    ids=json.dumps,
)
def test_an_id_token_that_is_not_for_this_sign_in_signs_nobody_in(prey, sent, changed):
    _client, browser, query = sent
    claims = {name: value for name, value in prey.claims(query, **changed).items() if value is not None}
    prey.provider.id_token = prey.provider.key.sign(claims)
    assert prey.answer(browser, query).query["error"] == "access_denied"


def test_an_id_token_of_another_sign_in_signs_nobody_in(prey):
    _c, _b, earlier = prey.sent()
    _client, browser, query = prey.sent()
    prey.provider.more = {}
    prey.provider.id_token = prey.provider.key.sign(prey.claims(earlier))
    assert prey.answer(browser, query).query["error"] == "access_denied"


@pytest.mark.parametrize("more", [{"id_token": None}, {"id_token": 7}, {"id_token": "x.y.z"}])
def test_without_an_id_token_nobody_is_signed_in(prey, sent, more):
    _client, browser, query = sent
    prey.provider.more = more
    assert prey.answer(browser, query).query["error"] == "access_denied"


@pytest.mark.parametrize("iss", ["https://another.example", "http://127.0.0.1:1"])
def test_an_answer_of_another_provider_is_not_taken_for_this_ones(prey, sent, iss):
    """Mix-up: the code must not even be sent to the provider that it is not of."""
    _client, browser, query = sent
    before = len(prey.provider.asked_for)
    prey.provider.id_token = prey.provider.key.sign(prey.claims(query))
    assert prey.answer(browser, query, iss=iss).query["error"] == "access_denied"
    assert len(prey.provider.asked_for) == before


def test_an_answer_without_its_sender_is_refused_where_the_provider_names_itself(prey, sent):
    _client, browser, query = sent
    prey.provider.id_token = prey.provider.key.sign(prey.claims(query))
    given = urlencode({"code": "c", "state": query["state"]})
    assert browser.get(f"{prey.organisation.url}/v1/oauth/callback?{given}").query["error"] == "access_denied"


@pytest.fixture(scope="module")
def silent(organisation):
    """A tenant whose provider's answers do not say whose they are."""
    provider = HostileProvider(names_itself=False)
    yield Prey(organisation, provider)
    provider.close()


def test_a_provider_that_does_not_name_itself_answers_at_an_address_of_its_own(silent, prey):
    """Mix-up: a hostile provider has another's code brought to itself, where answers all come to one address."""
    client, browser, query = silent.sent()
    own = f"{silent.organisation.url}/v1/oauth/callback/{silent.idp}"
    assert query["redirect_uri"] == own
    given = urlencode({"code": "c", "state": query["state"]})
    silent.provider.id_token = silent.provider.key.sign(silent.claims(query))
    answer = browser.get(f"{own}?{given}")
    assert client.redeem(answer.query["code"]).status_code == 200

    for address in (own.rpartition("/")[0], own.replace(silent.idp, prey.idp)):
        _client, browser, query = silent.sent()
        before = len(silent.provider.asked_for)
        silent.provider.id_token = silent.provider.key.sign(silent.claims(query))
        given = urlencode({"code": "c", "state": query["state"]})
        assert browser.get(f"{address}?{given}").query["error"] == "access_denied"
        assert len(silent.provider.asked_for) == before


def test_an_answer_at_anothers_address_is_not_taken_for_one_that_names_itself(silent, prey, sent):
    _client, browser, query = sent
    before = len(prey.provider.asked_for)
    prey.provider.id_token = prey.provider.key.sign(prey.claims(query))
    given = urlencode({"code": "c", "state": query["state"], "iss": prey.provider.url})
    address = f"{prey.organisation.url}/v1/oauth/callback/{silent.idp}"
    assert browser.get(f"{address}?{given}").query["error"] == "access_denied"
    assert len(prey.provider.asked_for) == before


# --- when the provider fails ------------------------------------------------------------------------------------------


def test_a_provider_that_dies_on_the_way(platform):
    provider = IdentityProvider()
    try:
        organisation = Organisation(platform, provider)
        client = Client(organisation.url)
        browser, callback = at_the_provider(organisation, client)
        provider.stop()
        answer = going_on(browser).get(callback)
        assert (answer.query["error"], answer.query["state"]) == ("temporarily_unavailable", client.state)
        provider.start()
        provider.fail("/token")
        answer = Client(organisation.url).sign_in(organisation.acme["slug"], "alice")
        assert answer.query["error"] == "temporarily_unavailable"
        provider.fail()
        assert works(organisation, Client(organisation.url).token(organisation.acme["slug"], "alice"))
    finally:
        provider.stop()


# --- who there is -----------------------------------------------------------------------------------------------------


def masked(page, *names):
    text = page.text
    for name in names:
        text = text.replace(name, "<name>")
    return page.status, re.sub(r"sgn_[a-z2-7]{26}|[A-Za-z0-9_-]{43}", "<x>", text), sorted(page.reply.headers)


def test_a_tenant_without_sign_in_and_no_tenant_at_all_look_alike(organisation, platform):
    side, _other = platform.two_tenants()
    seen = []
    for name in (side.slug, side.tenant, "nobody-here", "ten_" + "a" * 26):
        client = Client(organisation.url)
        browser = client.browser()
        page = browser.get(client.request(tenant=name))
        seen.append(masked(page, name, client.redirect_uri, client.redirect_uri.split("/")[2]))
        seen.append(masked(browser.submit(page, choice="continue"), name))
    assert seen[::2] == [seen[0]] * 4
    assert seen[1::2] == [seen[1]] * 4
    assert seen[1][0] == 404
