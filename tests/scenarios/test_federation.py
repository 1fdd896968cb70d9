"""Foreign tokens through the whole deployment: two honest issuers, end to end, and what a bound identity may become."""

import base64
import json
import time
import warnings

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from tests.foreign_issuer import ForeignIssuer, Key

from partywall.assurance.wire import Wire
from partywall.wire.oauth import ACCESS_TOKEN, ID_TOKEN, JWT, TOKEN_EXCHANGE, TRANSACTION_TOKEN


def claims_of(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


class Workshop:
    """A tenant side with the federation's verbs, as its admin and its workloads use them."""

    def __init__(self, side, base_url):
        self.side = side
        self.base_url = base_url
        self.audience = f"pw:local:{side.tenant}"

    def provider(self, **body):
        return self.side.api("POST", "/v1/identity-providers", body)

    def bind(self, idp, subject, **match):
        return self.side.api("POST", "/v1/identity-bindings", {"idp": idp["id"], "subject": subject, **match})

    def ask(self, **form):
        """Ask once; again only while refusals are too many to be written down (429), when nothing was looked at."""
        data = {"grant_type": TOKEN_EXCHANGE} | form
        deadline = time.monotonic() + 30
        while True:
            answer = httpx.post(f"{self.base_url}/v1/oauth/token", data=data, trust_env=False, timeout=30)
            if answer.status_code != 429 or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    def exchange(self, token, type_=JWT, **form):
        return self.ask(subject_token=token, subject_token_type=type_, **form)

    def log(self):
        found, start = [], 0
        while True:
            path = f"/v1/audit/leaves?limit=1000&start={start}"
            answer = self.side.wire.send("GET", path, credential=self.side.admin)
            page = answer.json()["leaves"]
            found += page
            start += len(page)
            if len(page) < 1000:
                return found

    def works(self, token):
        return self.side.wire.send("GET", "/v1/models", credential=token).status == 200


@pytest.fixture
def shops(platform):
    return [Workshop(side, platform.base_url) for side in platform.two_tenants()]


@pytest.fixture
def issuer():
    made = ForeignIssuer()
    yield made
    made.close()


def test_a_kubernetes_workload_becomes_the_agent_it_is_bound_to(shops, issuer):
    a, b = shops
    account = "system:serviceaccount:prod:worker"
    idp = a.provider(slug="cluster", kind="workload", issuer=issuer.url)
    assert idp["audiences"] == [a.audience]
    a.bind(idp, a.side.agent, match_subject=account, scopes=["model.request", "memory"])
    token = issuer.token(
        sub=account, aud=[a.audience], jti=None,
        **{"kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "worker"}}},
    )  # fmt: skip

    answer = a.exchange(token)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    issued = answer.json()
    assert issued["token_type"] == "Bearer"
    assert issued["issued_token_type"] == ACCESS_TOKEN
    assert issued["scope"] == "memory model.request"
    assert issued["spiffe_id"] == f"spiffe://partywall.local/tenant/{a.side.tenant}/agent/{a.side.agent}"
    claims = claims_of(issued["access_token"])
    assert (claims["sub"], claims["ten"], claims["knd"]) == (a.side.agent, a.side.tenant, "agent")
    assert 0 < claims["exp"] - claims["iat"] <= 300, "not longer than the token that was shown"
    assert a.side.chat(issued["access_token"], "hello").status == 200
    assert a.side.call_tool(issued["access_token"], "echo", {"text": "x"}).status in {200, 403}

    # a projected token is read by every process of its pod: it is good until it ends
    again = a.exchange(token, scope="memory").json()
    assert again["scope"] == "memory"
    assert a.side.chat(again["access_token"], "hello").status == 403

    # it is on record as that agent's, in this tenant's log, without the token
    leaves = json.dumps(a.log())
    assert "token.exchange" in leaves
    assert token.split(".")[1] not in leaves
    assert "token.exchange" not in json.dumps(b.log())


def test_a_spiffe_workload_shows_its_svid(shops):
    a, _b = shops
    key = Key("ES256")
    bundle = {"spiffe_sequence": 1, "keys": [key.public(use="jwt-svid", alg=None)]}
    bundle["keys"][0].pop("alg")
    idp = a.provider(slug="mesh", kind="spiffe", issuer="spiffe://corp.example", jwks=bundle)
    a.bind(idp, a.side.agent, match_prefix="spiffe://corp.example/ns/prod/")
    now = int(time.time())

    def svid(subject, **changed):
        return key.sign({"sub": subject, "aud": [a.audience], "exp": now + 120} | changed)

    issued = a.exchange(svid("spiffe://corp.example/ns/prod/worker"))
    assert issued.status_code == 200, issued.text
    assert a.works(issued.json()["access_token"])
    for stranger in (
        "spiffe://corp.example/ns/production/worker",
        "spiffe://corp.example/ns/prod",
        "spiffe://corp.example/ns/prod/",
        "spiffe://corp.example/ns/prod/../dev/worker",
        "spiffe://other.example/ns/prod/worker",
        "spiffe://corp.example.evil/ns/prod/worker",
    ):
        assert a.exchange(svid(stranger)).json()["error"] == "invalid_request", stranger


def test_an_agent_acts_for_a_user_within_what_both_may(shops, issuer):
    a, _b = shops
    side = a.side
    user = side.api("POST", "/v1/subjects", {"kind": "user", "slug": "ada", "clearance": 1})["id"]
    idp = a.provider(slug="staff", kind="oidc", issuer=issuer.url, client_id="partywall-web")
    a.bind(idp, user, match_subject="ada@staff", scopes=["model.request", "tool.call"])
    id_token = issuer.token(sub="ada@staff", aud="partywall-web")

    answer = a.ask(
        subject_token=id_token, subject_token_type=ID_TOKEN, actor_token=side.key, actor_token_type=ACCESS_TOKEN,
        audience=a.audience, scope="model.request",
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    claims = claims_of(answer.json()["access_token"])
    assert (claims["sub"], claims["act"], claims["knd"]) == (user, {"sub": side.agent}, "agent")
    assert claims["scp"] == ["model.request"]
    # the user has no grant, so the agent has none while it acts for them
    assert side.chat(answer.json()["access_token"], "hello").status == 403

    # an ID token is an assertion: it was good once
    assert a.exchange(id_token, ID_TOKEN, audience=a.audience).json()["error"] == "invalid_request"
    # more than the user's binding gives
    wide = a.ask(
        subject_token=issuer.token(sub="ada@staff", aud="partywall-web"), subject_token_type=ID_TOKEN,
        actor_token=side.key, actor_token_type=ACCESS_TOKEN, audience=a.audience, scope="memory",
    )  # fmt: skip
    assert wide.json()["error"] == "invalid_scope"
    # the user's own token of ours is as good a proof, and a delegated one is none
    mine = a.exchange(issuer.token(sub="ada@staff", aud="partywall-web"), audience=a.audience).json()["access_token"]
    both = {"actor_token": side.key, "actor_token_type": ACCESS_TOKEN}
    given = a.exchange(mine, ACCESS_TOKEN, **both)
    assert given.status_code == 200, given.text
    assert a.exchange(given.json()["access_token"], ACCESS_TOKEN, **both).json()["error"] == "invalid_request"
    # revoking the user's token ends what it gave
    side.api("POST", "/v1/revocations", {"credential": claims_of(mine)["jti"]})
    eventually(lambda: not a.works(given.json()["access_token"]))


def test_a_user_may_say_who_may_act(shops, issuer):
    a, _b = shops
    user = a.side.api("POST", "/v1/subjects", {"kind": "user", "slug": "eve", "clearance": 1})["id"]
    idp = a.provider(slug="staff", kind="workload", issuer=issuer.url)
    a.bind(idp, user, match_subject="eve@staff")
    a.bind(idp, a.side.agent, match_subject="worker")
    mine = {"sub": "eve@staff", "aud": a.audience}

    def act(may_act, actor=a.side.key, type_=ACCESS_TOKEN):
        token = issuer.token(**mine, may_act=may_act)
        return a.exchange(token, actor_token=actor, actor_token_type=type_).status_code

    agent = f"spiffe://partywall.local/tenant/{a.side.tenant}/agent/{a.side.agent}"
    assert act({"sub": a.side.agent}) == act({"sub": agent}) == act(None) == 200
    assert act({"sub": "worker"}) == act({"sub": ["worker"]}) == act("worker") == 400
    worker = issuer.token(sub="worker", aud=a.audience)
    assert act({"sub": "worker"}, worker, JWT) == act({"sub": "worker", "iss": issuer.url}, worker, JWT) == 200
    assert act({"sub": "worker", "iss": "https://elsewhere.example"}, worker, JWT) == 400
    assert "assertion-may-act" in json.dumps(a.log())


def test_an_organisations_provider_serves_its_tenants_and_no_other(platform, issuer):
    wire, operator = Wire(platform.base_url), platform.operator_key()

    def call(method, path, body=None, credential=operator):
        answer = wire.send(method, path, credential=credential, body=body)
        assert answer.status < 300, answer.body
        return answer.json()

    def tenant(slug, organisation):
        made = call("POST", "/v1/tenants", {"slug": slug, "organisation": organisation})["id"]
        admin = call("POST", f"/v1/tenants/{made}/admins", {"slug": "root"})["key"]["secret"]
        agent = call("POST", "/v1/subjects", {"kind": "agent", "slug": "worker"}, admin)["id"]
        return made, admin, agent

    (one, one_admin, one_agent), (two, two_admin, _), (_, other_admin, other_agent) = (
        tenant("corp-one", "corp"), tenant("corp-two", "corp"), tenant("elsewhere", "other"),
    )  # fmt: skip
    body = {"slug": "cloud", "kind": "workload", "issuer": issuer.url, "organisation": "corp", "audiences": ["corp"]}
    idp = call("POST", "/v1/identity-providers", body)
    assert idp["organisation"] == "corp"
    bound = {"idp": idp["id"], "match_subject": "worker"}
    call("POST", "/v1/identity-bindings", bound | {"subject": one_agent}, one_admin)
    assert (
        wire.send("POST", "/v1/identity-bindings", credential=other_admin, body=bound | {"subject": other_agent}).status
        == 404
    )
    assert [each["id"] for each in call("GET", "/v1/identity-providers", None, two_admin)["identity_providers"]] == [
        idp["id"]
    ]
    assert call("GET", "/v1/identity-providers", None, other_admin) == {"identity_providers": []}
    assert wire.send("DELETE", f"/v1/identity-providers/{idp['id']}", credential=one_admin).status == 404

    def exchange(tenant):
        form = {
            "grant_type": TOKEN_EXCHANGE, "subject_token": issuer.token(sub="worker", aud="corp"),
            "subject_token_type": JWT, "audience": f"pw:local:{tenant}",
        }  # fmt: skip
        return httpx.post(f"{platform.base_url}/v1/oauth/token", data=form, trust_env=False).status_code

    assert [exchange(one), exchange(two)] == [200, 400], "a binding is one tenant's"
    call("DELETE", f"/v1/identity-providers/{idp['id']}")
    assert exchange(one) == 400


def test_a_transaction_token_is_for_services_behind_and_for_no_door(shops):
    a, b = shops
    details = base64.urlsafe_b64encode(json.dumps({"order": "42", "tenant": b.side.tenant}).encode()).decode()
    token = a.side.new_token(a.side.agent)
    answer = a.exchange(
        token, ACCESS_TOKEN, requested_token_type=TRANSACTION_TOKEN, audience="partywall.local",
        scope="model.request", request_details=details,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    issued = answer.json()
    assert (issued["token_type"], issued["issued_token_type"]) == ("N_A", TRANSACTION_TOKEN)
    keys = KeySet.import_key_set(a.side.wire.send("GET", "/.well-known/jwks.json").json())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        verified = jwt.decode(issued["access_token"], keys, algorithms=["EdDSA"])
    assert verified.header["typ"] == "txntoken+jwt"
    claims = verified.claims
    assert claims["tctx"]["tenant"] == a.side.tenant, "the tenant is ours to say"
    assert claims["tctx"]["details"]["tenant"] == b.side.tenant, "what the caller said stays beside it"
    assert claims["aud"] == "partywall.local"
    assert claims["exp"] - claims["iat"] <= 60
    assert claims["sub"] == a.side.agent
    assert claims["scope"] == "model.request"
    assert a.side.wire.send("GET", "/v1/models", credential=issued["access_token"]).status == 401
    assert a.exchange(issued["access_token"], ACCESS_TOKEN).json()["error"] == "invalid_request"
    # not granted: nobody downstream is told so
    refused = a.exchange(token, ACCESS_TOKEN, requested_token_type=TRANSACTION_TOKEN, scope="egress")
    assert refused.json()["error"] == "invalid_scope"


def test_what_came_of_a_binding_or_a_provider_ends_with_it(shops, issuer):
    a, _b = shops
    idp = a.provider(slug="ci", kind="workload", issuer=issuer.url)
    binding = a.bind(idp, a.side.agent, match_claims={"/repository/name": "tools"}, match_prefix="repo/")
    token = issuer.token(sub="repo/main", aud=a.audience, repository={"name": "tools"})
    given = a.exchange(token).json()["access_token"]
    child = a.exchange(given, ACCESS_TOKEN).json()["access_token"]
    assert a.works(given)
    assert a.works(child)
    a.side.api("DELETE", f"/v1/identity-bindings/{binding['id']}")
    eventually(lambda: not a.works(given) and not a.works(child))
    assert a.exchange(token).json()["error"] == "invalid_request"

    a.bind(idp, a.side.agent, match_subject="repo/main")
    given = a.exchange(token).json()["access_token"]
    a.side.api("DELETE", f"/v1/identity-providers/{idp['id']}")
    eventually(lambda: not a.works(given))
    assert a.exchange(token).json()["error"] == "invalid_request"
    assert a.side.api("GET", "/v1/identity-bindings") == {"bindings": []}


def eventually(holds, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
