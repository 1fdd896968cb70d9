"""Whatever bytes reach the REST door, the answer is a success or one typed problem, and never a 500."""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.rest_door import Front

from partywall.errors import CallerFault
from partywall.gateway.rest import PREFIXES, parse_body, parse_query
from partywall.gateway.rest_routes import ROUTES
from partywall.providers.by_action import ByAction
from partywall.providers.collections.provider import CollectionProvider
from partywall.providers.operator.audit import AuditProvider
from partywall.providers.operator.provider import OperatorProvider
from partywall.providers.operator.table import KINDS
from partywall.signing import PermitSigner

SIGNER = PermitSigner()
PROVIDERS = {
    kind: OperatorProvider(kind, None, SIGNER, audience=str, clock=lambda: 0.0, region="local") for kind in KINDS
}
PROVIDERS["collection"] = ByAction(
    CollectionProvider(None, None, clock=lambda: 0.0, tenant_limit_bytes=0), PROVIDERS["collection"]
)
PROVIDERS["audit"] = AuditProvider(None, SIGNER, clock=lambda: 0.0, region="local")
FRONT = Front(PROVIDERS)
IDS = (FRONT.world.tenant, FRONT.world.agent, FRONT.world.user, "ten_" + "a" * 26, "key_" + "a" * 26)
quick = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.sampled_from(
    [
        "slug", "organisation", "tenant", "subject", "state", "grants", "kind", "operation",
        "scopes", "life_s", "module", "on_behalf_of", "credential", "tools", "url", "value",
        "token", "clearance", "session", "revision", "x", "~",
    ]
)  # fmt: skip
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(IDS),
    st.sampled_from(["agent", "user", "active", "acme", "http://127.0.0.1/mcp", "memory", "tool/a/*"]),
)  # fmt: skip
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)
bodies = st.one_of(
    st.binary(max_size=200), st.dictionaries(words, values, max_size=5).map(lambda value: json.dumps(value).encode())
)
segments = st.one_of(st.sampled_from(IDS), st.text(max_size=12), st.sampled_from(["..", ".", "", "*", "%2e", "self"]))


@st.composite
def paths(draw):
    pattern = draw(st.sampled_from([route.pattern for route in ROUTES] + list(PREFIXES)))
    parts = [draw(segments) if part.startswith("{") else part for part in pattern.split("/")]
    if draw(st.integers(0, 9)) == 0:
        parts.append(draw(segments))
    return "/".join(parts)


@quick
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "", "get"]),
    paths(),
    st.one_of(st.just(b""), st.binary(max_size=60), st.sampled_from([b"start=1", b"limit=0", b"owner=x", b"a=1&a=2"])),
    bodies,
    st.sampled_from([FRONT.operator, FRONT.admin, FRONT.agent, None, "x"]),
    st.sampled_from([b"application/json", b"application/json; charset=utf-8", b"text/plain", b"\xff", b""]),
)
@example("POST", "/v1/bootstrap", b"", b'{"token":"x"}', None, b"application/json")
async def test_any_request(method, path, query, body, credential, media_type):
    answer = await FRONT.ask(
        method, path, credential, raw=body, query=query, headers=[(b"content-type", media_type)]
    )  # fmt: skip
    assert answer.status < 500, answer
    if answer.status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json
        assert problem["status"] == answer.status
        assert set(problem) >= {"type", "title", "status", "detail", "code"}
    else:
        assert b"no-store" in answer.headers["cache-control"].encode() or path.startswith("/.well-known/")


@quick
@given(st.binary(max_size=300), st.one_of(st.none(), st.text(max_size=40), st.just("application/json")))
def test_any_body(data, content_type):
    for parse in (lambda: parse_body(content_type, data), lambda: parse_query(data)):
        try:
            parsed = parse()
        except CallerFault:
            continue
        assert parsed is None or isinstance(parsed, dict)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"slug":"a","slug":"b"}', b'{"slug":"a"}x', b'\xef\xbb\xbf{"slug":"a"}', b'{"slug":NaN}', b"[" * 5000,
        b'{"slug":"\\ud800"}', b'["slug"]', b'"slug"', b"{}{}", b"{'slug':'a'}", b'{"slug":"a",}',
    ],
    ids=range(11),
)  # fmt: skip
async def test_bodies_with_two_meanings(raw):
    calls = len(FRONT.road.calls)
    answer = await FRONT.ask("POST", "/v1/tenants", FRONT.operator, raw=raw)
    assert (answer.status, len(FRONT.road.calls)) == (400, calls)
