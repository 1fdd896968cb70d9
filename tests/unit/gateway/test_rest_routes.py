"""Each route takes every field from one place, refuses what it does not know, and names what it asks."""

import pytest
from tests.credentials import new

from partywall.errors import Malformed, NotFound
from partywall.gateway.rest_routes import MEMORY, OPERATIONS, ROUTES, Asked, Router
from partywall.providers.operator.table import RULES
from partywall.wire import operations as ops

ROUTER = Router(ROUTES)
TENANT, AGENT = new("ten"), new("agt")


def ask(method, path, body=None, **query):
    route, names = ROUTER.match(method, path)
    return route.call(Asked(path=names, query=query, body=body, trace_id="0" * 32))


def test_every_operation_has_exactly_one_action_and_at_least_one_route():
    at_oauths_doors = {ops.TokenEnd, ops.TokenExchange, ops.TransactionCreate}
    assert {route.operation for route in OPERATIONS} == set(RULES) - at_oauths_doors
    assert len({(route.method, route.pattern) for route in ROUTES}) == len(ROUTES)


def test_the_path_says_what_the_body_may_not():
    call = ask("POST", f"/v1/tenants/{TENANT}/suspend", {})
    assert (call.action, call.kind, call.name) == ("operator.tenant", "tenant", TENANT)
    assert call.payload == {"operation": "tenant.state", "tenant": TENANT, "state": "suspended"}
    assert call.parameters == call.payload
    for body in ({"tenant": TENANT}, {"state": "active"}, {"operation": "tenant.state"}):
        with pytest.raises(Malformed, match="unknown field"):
            ask("POST", f"/v1/tenants/{TENANT}/suspend", body)


def test_a_grant_change_names_its_subject():
    grants = [{"action": "tool.call", "resource": "tool/mail/*"}]
    call = ask("PUT", f"/v1/subjects/{AGENT}/grants", {"grants": grants})
    assert (call.action, call.kind, call.name) == ("grant", "subject", AGENT)
    assert call.payload["grants"] == grants
    assert call.parameters == {"operation": "grants.set", "subject": AGENT, "grants": 1}


@pytest.mark.parametrize(
    ("method", "path", "body", "query"),
    [
        ("POST", "/v1/tenants", {"slug": "A"}, {}),
        ("POST", "/v1/tenants", {"slug": "a\n"}, {}),
        ("POST", "/v1/tenants", {"slug": "a", "region": "x"}, {}),
        ("POST", "/v1/tenants", None, {}),
        ("POST", "/v1/tenants", {"slug": "a"}, {"dry": "1"}),
        ("GET", "/v1/tenants", {"slug": "a"}, {}),
        ("POST", "/v1/tenants/acme/suspend", None, {}),
        ("POST", f"/v1/tenants/{TENANT}x/suspend", None, {}),
        ("PUT", f"/v1/subjects/{AGENT}/grants", None, {}),
        ("PUT", f"/v1/subjects/{AGENT}/grants", {"grants": [{"action": "x.y.z", "resource": "a/b"}]}, {}),
        ("POST", "/v1/keys", {"subject": AGENT, "tenant": TENANT}, {}),
        ("GET", "/v1/audit/leaves", None, {"log": TENANT}),
        ("GET", "/v1/audit/leaves", None, {"start": "-1"}),
        ("GET", "/v1/audit/leaves", None, {"start": "\u0661"}),
        ("GET", "/v1/audit/leaves", None, {"limit": "9" * 16}),
        ("GET", "/v1/audit/checkpoint", None, {"start": "1"}),
        ("GET", "/v1/audit/export", {}, {}),
        ("PUT", "/v1/memory/k", {"value": 1, "owner": AGENT}, {}),
        ("PUT", "/v1/memory/k", None, {}),
        ("GET", "/v1/memory/k", {"value": 1}, {}),
        ("GET", "/v1/memory/k", None, {"tenant": TENANT}),
        ("DELETE", "/v1/memory", None, {}),
        ("PATCH", "/v1/tenants", None, {}),
        ("GET", "/v1/subjects/{subject}/grants", None, {}),
    ],
)
def test_what_is_refused(method, path, body, query):
    with pytest.raises(Malformed):
        ask(method, path, body, **query)


@pytest.mark.parametrize("path", ["/v1/tenants/", "/v1//tenants", "/v1/tenants//suspend", "/v1/memory/a/b", "/", ""])
def test_paths_that_are_none(path):
    with pytest.raises(NotFound):
        ROUTER.match("GET", path)


def test_an_owner_is_asked_for_and_never_assumed():
    assert ask("GET", "/v1/memory/k").name == "self"
    assert ask("GET", "/v1/memory/k", owner=AGENT).name == AGENT
    assert {route.verb for route in MEMORY} == {"list", "get", "put", "delete"}


def test_a_value_is_never_recorded():
    call = ask("PUT", "/v1/memory/k", {"value": "CANARY"})
    assert "CANARY" not in repr(call.parameters)


def test_a_list_takes_its_page_from_the_query():
    call = ask("GET", "/v1/subjects", limit="7", cursor="abc", kind="agent")
    assert call.payload == {"operation": "subject.list", "limit": 7, "cursor": "abc", "kind": "agent"}
    for bad in ({"limit": "7.0"}, {"limit": "0"}, {"limit": "201"}, {"cursor": ""}, {"kind": "tenant"}, {"slug": "a"}):
        with pytest.raises(Malformed):
            ask("GET", "/v1/subjects", **bad)


def test_an_id_of_another_kind_is_none_in_a_path():
    with pytest.raises(Malformed) as caught:
        ask("DELETE", f"/v1/keys/{AGENT}")
    assert caught.value.code == "malformed-id"


def test_a_words_own_route_comes_before_a_name():
    route, names = ROUTER.match("GET", "/v1/policy/revisions")
    assert (route.pattern, names) == ("/v1/policy/revisions", {})


def test_one_grant_is_taken_by_its_parameters():
    call = ask("DELETE", f"/v1/subjects/{AGENT}/grants", action="memory", resource="memory/self")
    assert (call.action, call.name) == ("grant", AGENT)
    with pytest.raises(Malformed):
        ask("DELETE", f"/v1/subjects/{AGENT}/grants")
    with pytest.raises(Malformed):
        ask("DELETE", f"/v1/subjects/{AGENT}/grants", {}, action="memory", resource="memory/self")
