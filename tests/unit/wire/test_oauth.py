"""Token requests: the examples of RFC 8693, and what a form may not be."""

import base64
import json

import pytest

from partywall.errors import Bug, Denied, LimitExceeded, Malformed, NotFound, Unauthenticated, Unavailable
from partywall.gateway.form import FORM, parse_form
from partywall.gateway.oauth_errors import oauth_body, oauth_headers, oauth_status
from partywall.wire.oauth import (
    ACCESS_TOKEN,
    JWT,
    TOKEN_EXCHANGE,
    TRANSACTION_TOKEN,
    issuer_of,
    parse_exchange,
)

TENANT = "ten_" + "a" * 26
HERE = f"pw:local:{TENANT}"
SUBJECT = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0."
    "eyJhdWQiOiJodHRwczovL2FzLmV4YW1wbGUuY29tIiwiaXNzIjoiaHR0cHM6Ly9vcmlnaW5hbC1pc3N1ZXIuZXhhbXBsZS5uZXQifQ.c2ln"
)


def form_of(text):
    return parse_form(FORM, text.replace("\n", "").replace(" ", "").encode())


# --- RFC 8693 ---------------------------------------------------------------------------------------------------------


def test_the_request_of_section_2_3():
    """Its resource is its own: ours are tenants of this deployment, so the same request is aimed at one."""
    text = """grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
        &resource=https%3A%2F%2Fbackend.example.com%2Fapi
        &subject_token=accVkjcJyb4BWCxGsndESCJQbdFMogUC5PbRDqceLTC
        &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"""
    form = form_of(text)
    assert form["grant_type"] == TOKEN_EXCHANGE
    with pytest.raises(Malformed) as caught:
        parse_exchange(form, region="local")
    assert caught.value.code == "invalid-target"
    asked = parse_exchange(form | {"resource": HERE}, region="local")
    assert (asked.subject.raw, asked.subject.type) == ("accVkjcJyb4BWCxGsndESCJQbdFMogUC5PbRDqceLTC", ACCESS_TOKEN)
    assert (asked.actor, asked.requested, asked.tenant, asked.scopes) == (None, ACCESS_TOKEN, TENANT, None)


def test_the_impersonation_of_appendix_a_1():
    text = f"""grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
        &audience=pw%3Alocal%3A{TENANT}
        &subject_token={SUBJECT}
        &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"""
    asked = parse_exchange(form_of(text), region="local")
    assert (asked.subject.raw, asked.subject.type, asked.tenant) == (SUBJECT, JWT, TENANT)
    assert issuer_of(asked.subject.raw) == "https://original-issuer.example.net"


def test_the_delegation_of_appendix_a_2():
    text = f"""grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange
        &audience=pw%3Alocal%3A{TENANT}
        &subject_token={SUBJECT}
        &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt
        &actor_token={SUBJECT}
        &actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"""
    asked = parse_exchange(form_of(text), region="local")
    assert asked.actor is not None
    assert (asked.actor.raw, asked.actor.type) == (SUBJECT, JWT)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Malformed("x", code="invalid-target"), 400, "invalid_target"),
        (Malformed("x", code="unsupported-grant-type"), 400, "unsupported_grant_type"),
        (Denied("x", code="assertion-replayed"), 400, "invalid_request"),
        (Denied("x", code="denied-not-granted"), 400, "invalid_request"),
        (Denied("x", code="invalid-scope"), 400, "invalid_scope"),
        (Denied("x", code="denied-out-of-scope"), 400, "invalid_scope"),
        (Unauthenticated("x"), 400, "invalid_request"),
        (NotFound("x"), 400, "invalid_request"),
        (LimitExceeded("x", retry_after_s=2.0), 429, "temporarily_unavailable"),
        (Unavailable("x", retry_after_s=2.0), 503, "temporarily_unavailable"),
        (Bug("x"), 500, "server_error"),
    ],
)
def test_the_error_response_of_section_2_2_2(error, status, code):
    body = json.loads(oauth_body(error))
    assert set(body) == {"error", "error_description"}
    assert (oauth_status(error), body["error"]) == (status, code)
    headers = oauth_headers(error)
    assert headers["cache-control"] == "no-store"
    assert "www-authenticate" not in headers
    assert ("retry-after" in headers) == (error.retry_after_s is not None)


def test_no_refusal_says_what_was_wrong_with_a_token():
    said = {
        oauth_body(Denied(f"about {cause}", code=f"assertion-{cause}")) for cause in ("key", "replayed", "audience")
    }
    assert len(said) == 1


def test_a_description_has_plain_characters_only():
    assert json.loads(oauth_body(Malformed('a "quote"\\ and \u2028')))["error_description"] == "a 'quote'' and '"


# --- what is refused --------------------------------------------------------------------------------------------------

GOOD = {"subject_token": "x", "subject_token_type": JWT}


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b"{}"),
        (None, b"a=b"),
        (f"{FORM}; charset=utf-16", b"a=b"),
        (FORM, b"a=1&a=1"),
        (FORM, b"scope=a&scope=b"),
        (FORM, b"a"),
        (FORM, b"=&&"),
        (FORM, b"a=%ff"),
        (FORM, b"a=%00"),
        (FORM, "ä=b".encode()),
        (FORM, b"&".join(b"a%d=1" % number for number in range(40))),
        (FORM, b"a=" + b"x" * 60_000),
    ],
)
def test_a_form_that_is_none(media_type, body):
    with pytest.raises(Malformed):
        parse_form(media_type, body)


def test_a_parameter_without_a_value_is_none():
    assert parse_form(f"{FORM}; charset=UTF-8", b"a=&b=1") == {"b": "1"}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"subject_token": None}, "invalid-request"),
        ({"subject_token_type": None}, "invalid-request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid-request"),
        ({"actor_token": "x"}, "invalid-request"),
        ({"actor_token_type": JWT}, "invalid-request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid-request"),
        ({"audience": "somebody"}, "invalid-target"),
        ({"audience": f"pw:elsewhere:{TENANT}"}, "invalid-target"),
        ({"audience": HERE, "resource": f"pw:local:ten_{'b' * 26}"}, "invalid-target"),
        ({"audience": "pw:local:platform"}, "invalid-target"),
        ({"scope": "a  b"}, "invalid-scope"),
        ({"scope": " "}, "invalid-scope"),
        ({"scope": 'a"b'}, "invalid-scope"),
        ({"scope": "x" * 3_000}, "invalid-scope"),
        ({"subject_token": "x\n"}, "invalid-request"),
        ({"subject_token": "x" * 20_000}, "invalid-request"),
        ({"request_details": "e30"}, "invalid-request"),
        ({"requested_token_type": TRANSACTION_TOKEN, "request_details": "!"}, "invalid-request"),
        ({"requested_token_type": TRANSACTION_TOKEN, "request_details": "W10"}, "invalid-request"),
        ({"requested_token_type": TRANSACTION_TOKEN, "request_context": "eyJhIjoxLCJhIjoyfQ"}, "invalid-request"),
    ],
)
def test_a_request_that_cannot_be_answered(changed, code):
    form = {name: value for name, value in (GOOD | changed).items() if value is not None}
    with pytest.raises(Malformed) as caught:
        parse_exchange(form, region="local")
    assert caught.value.code == code


def test_a_transaction_carries_its_context():
    details = base64.urlsafe_b64encode(b'{"order":"42"}').decode()
    form = GOOD | {"requested_token_type": TRANSACTION_TOKEN, "request_details": details, "scope": "memory memory"}
    asked = parse_exchange(form, region="local")
    assert (asked.details, asked.context, asked.scopes) == ({"order": "42"}, {}, ["memory"])
