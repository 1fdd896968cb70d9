"""The REST door: who may knock without a credential, how often, and what comes back."""

import pytest
from tests.rest_door import Front

from partywall.gateway.rest import BOOTSTRAP_BURST, BOOTSTRAP_REFILL_S


@pytest.fixture
def front():
    return Front({})


async def test_public_keys_need_no_credential(front):
    answer = await front.ask("GET", "/.well-known/jwks.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/jwk-set+json")
    [key] = answer.json["keys"]
    assert (key["kid"], key["kty"], key["alg"], "d" in key) == ("k1", "OKP", "EdDSA", False)
    assert "max-age" in answer.headers["cache-control"]


async def test_no_public_keys_before_the_first_were_loaded(front):
    front.world.facts.age = float("inf")
    assert (await front.ask("GET", "/.well-known/jwks.json")).status == 503


@pytest.mark.parametrize("path", ["/v1/tenants", "/v1/keys", "/v1/audit/leaves", "/v1/memory/k", "/v1/keys/nothing"])
async def test_everything_else_does(front, path):
    for credential in (None, "x", "pw_x"):
        answer = await front.ask("GET", path, credential)
        assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert front.road.calls == []


async def test_replies_are_not_stored(front):
    assert (await front.ask("GET", "/v1/tenants", front.operator)).headers["cache-control"] == "no-store"


async def test_the_first_key_takes_the_road_as_the_system(front):
    answer = await front.ask("POST", "/v1/bootstrap", body={"token": "pwb_secret"})
    assert answer.status == 200
    [(principal, call)] = front.road.calls
    assert (principal.id, principal.tenant, call.action) == ("system:bootstrap", None, "operator.key")
    assert call.payload == {"token": "pwb_secret"}
    assert "secret" not in repr(call.parameters)
    assert "pwb_secret" not in front.lines.getvalue()


@pytest.mark.parametrize("body", [None, {}, {"token": ""}, {"token": 1}, {"token": "x", "y": 1}, {"token": "x" * 257}])
async def test_what_is_no_first_key(front, body):
    assert (await front.ask("POST", "/v1/bootstrap", body=body)).status == 400
    assert front.road.calls == []


async def test_few_first_keys_a_minute(front):
    for _ in range(BOOTSTRAP_BURST):
        assert (await front.ask("POST", "/v1/bootstrap", body={"token": "x"})).status == 200
    answer = await front.ask("POST", "/v1/bootstrap", body={"token": "x"})
    assert (answer.status, answer.headers["retry-after"]) == (429, "12")
    front.world.now += BOOTSTRAP_REFILL_S
    assert (await front.ask("POST", "/v1/bootstrap", body={"token": "x"})).status == 200
    assert (await front.ask("POST", "/v1/bootstrap", body={"token": "x"})).status == 429


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("DELETE", "/v1/tenants", 405, "method-not-allowed"),
        ("POST", "/.well-known/jwks.json", 405, "method-not-allowed"),
        ("GET", "/v1/bootstrap", 405, "method-not-allowed"),
        ("GET", "/v1/tenants/x/y/z", 404, "not-found"),
        ("GET", "/v1/tenantsx", 404, "not-found"),
    ],
)
async def test_paths_and_methods(front, method, path, status, code):
    answer = await front.ask(method, path, front.operator)
    assert (answer.status, answer.json["code"]) == (status, code)


@pytest.mark.parametrize("query", [b"x=1", b"x", b"=", b"start=1&start=2", b"%ff=1", b"a" * 2000, b"\xff"])
async def test_queries(front, query):
    answer = await front.ask("GET", "/v1/tenants", front.operator, query=query)
    assert answer.status == 400
    assert front.road.calls == []


async def test_a_body_says_what_it_is(front):
    for media_type in (b"text/plain", b"application/x-www-form-urlencoded", b"application/json; charset=latin-1"):
        answer = await front.ask(
            "POST", "/v1/tenants", front.operator, {"slug": "a"}, headers=[(b"content-type", media_type)]
        )
        assert (answer.status, answer.json["code"]) == (415, "unsupported-media-type")
    assert front.road.calls == []


async def test_what_the_caller_has_already_is_not_sent_again(front):
    path = f"/v1/subjects/{front.world.agent}"
    first = await front.ask("GET", path, front.admin)
    assert first.status == 200
    tag = first.headers["etag"].encode()
    for known, status in ((tag, 304), (b"W/" + tag, 304), (b"*", 304), (b'"x"', 200), (b'"x", ' + tag, 304)):
        answer = await front.ask("GET", path, front.admin, headers=[(b"if-none-match", known)])
        assert (answer.status, answer.headers["etag"]) == (status, first.headers["etag"])
        assert answer.body == (b"" if status == 304 else first.body)


async def test_conditions_travel_inside_the_operation(front):
    headers = [(b"if-match", b'"x"'), (b"idempotency-key", b"k")]
    path = f"/v1/subjects/{front.world.agent}"
    await front.ask("PATCH", path, front.admin, {"clearance": 2}, headers=headers)
    [(_principal, call)] = front.road.calls
    assert call.payload["conditions"] == {"if_match": ['"x"'], "idempotency_key": "k"}
    assert "conditions" not in call.parameters
    for name in ("conditions", "subject", "operation"):
        answer = await front.ask("PATCH", path, front.admin, {"clearance": 2, name: {}})
        assert (answer.status, answer.json["code"]) == (400, "bad-request")
    await front.ask("PATCH", path, front.admin, {"clearance": 2})
    assert "conditions" not in front.road.calls[-1][1].payload


async def test_a_slash_inside_a_segment_is_none(front):
    for path in ("/v1/subjects", "/v1/memory/a"):
        sent = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        messages = []

        async def send(message, messages=messages):
            messages.append(message)

        await front.app(sent | {"raw_path": path.replace("/", "%2F").encode()}, None, send)
        assert messages[0]["status"] == 400
    assert front.road.calls == []
