"""Sign-in's parsers: whatever comes, a value or a CallerFault, and the door answers with less than 500."""

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rest_door import ask

from partywall.control.sign_in.clients import _check_document_url, _client, check_form
from partywall.decision.ports import Effect
from partywall.errors import CallerFault
from partywall.gateway.http import HttpServer
from partywall.gateway.sign_in import SignInDoor, parse_fields, parse_form
from partywall.gateway.sign_in_steps import Steps
from partywall.telemetry.log import Log
from partywall.wire.sign_in import parse_request, parse_step

NAMES = st.sampled_from(
    ["client_id", "redirect_uri", "state", "scope", "resource", "tenant", "step", "form", "cookie", "code", "iss", "x"]
)
URLS = st.one_of(
    st.text(max_size=60),
    st.from_regex(r"https?://[^\s]{0,40}", fullmatch=True),
    st.sampled_from(["http://[", "https://a:b", "https://[::1", "//x", "https://\u2100", "http://127.0.0.1:99999999/"]),
)


def never_more_than_a_fault(work, *given_):
    try:
        return work(*given_)
    except CallerFault:
        return None


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_fields(raw):
    never_more_than_a_fault(parse_fields, raw)
    never_more_than_a_fault(parse_form, "application/x-www-form-urlencoded", raw)


@settings(max_examples=300)
@given(st.dictionaries(NAMES, st.one_of(URLS, st.none(), st.integers()), max_size=8))
def test_steps(fields):
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    never_more_than_a_fault(parse_request, texts)
    for step in ("begin", "continue", "cancel", "callback", "redeem", "other"):
        never_more_than_a_fault(parse_step, fields | {"step": step})


@settings(max_examples=300)
@given(URLS)
def test_addresses(url):
    never_more_than_a_fault(check_form, url)
    never_more_than_a_fault(_check_document_url, url)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | URLS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20) | NAMES, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300)
@given(JSON, st.one_of(st.none(), st.lists(URLS, max_size=3)))
def test_documents(document, uris):
    url = "https://app.example/c"
    never_more_than_a_fault(_client, url, document)
    never_more_than_a_fault(_client, url, {"client_id": url, "redirect_uris": uris})


class Road:
    async def submit(self, _principal, _call):
        return Effect(body=msgspec.json.encode({"location": "https://client.example", "attempt": "x", "cookie": "y"}))


@pytest.fixture(scope="module")
def app():
    door = SignInDoor(Steps(Road(), region="local", clock=lambda: 0.0), public_url="https://wall.example")
    log = Log("gateway", io.StringIO())
    return HttpServer([door], log=log, body_limit_bytes=65_536, concurrent_limit=8, health=None)


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    path=st.sampled_from(
        [
            "/v1/oauth/authorize",
            "/v1/oauth/callback",
            "/v1/oauth/authorize/x",
            "/.well-known/oauth-protected-resource/x",
        ]
    ),
    query=st.binary(max_size=120),
    body=st.binary(max_size=120),
    cookie=st.binary(max_size=60),
)
async def test_the_door(app, method, path, query, body, cookie):
    headers = [(b"cookie", cookie), (b"content-type", b"application/x-www-form-urlencoded")]
    answer = await ask(app, method, path, query=query, headers=headers, body=body)
    assert answer.status < 500
    assert "\r" not in str(answer.headers)
