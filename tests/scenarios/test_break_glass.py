"""An operator looks into a tenant's log with the tenant's leave, once and for a while, and in no other way."""

import time

import pytest
from tests.scenarios.platform_fixture import platform as _platform
from tests.scenarios.test_rest import Person, Tenant, unlike

from partywall.assurance.wire import Wire

platform = _platform
WHY = "ticket 4711: your agent reports calls that never came"


@pytest.fixture(scope="module")
def wire(platform):
    return Wire(platform.base_url)


@pytest.fixture(scope="module")
def operator(platform, wire):
    return Person(wire, platform.operator_key())


@pytest.fixture(scope="module")
def tenant(wire, operator):
    return Tenant(wire, operator)


@pytest.fixture(scope="module")
def neighbour(wire, operator):
    return Tenant(wire, operator)


def asked(operator, tenant, **what):
    body = {"tenant": tenant.id, "justification": WHY} | what
    return operator.must("POST", "/v1/break-glass", body)


def code(answer):
    return answer.status, (answer.json() or {}).get("code")


def found(reader, **filters):
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    page = reader.must("GET", f"/v1/audit/search?{query}")
    return [leaf["activity"] for leaf in page["leaves"]]


def test_the_request_is_in_the_tenants_own_log_before_anybody_decides(operator, tenant, neighbour):
    request = asked(operator, tenant, life_s=300)
    assert request["state"] == "requested"
    shown = tenant.admin.must("GET", "/v1/break-glass")["requests"][0]
    assert shown == request
    intent, outcome = found(tenant.admin, action="operator.tenant", kind="break-glass", order="oldest")
    assert (intent["phase"], outcome["phase"], outcome["result"]) == ("intent", "outcome", "complete")
    assert intent["actor"] == {"kind": "platform-operator", "id": request["requester"], "credential": None}
    assert intent["parameters"]["justification"] == WHY
    assert intent["tenant"] == tenant.id
    assert neighbour.admin.must("GET", "/v1/break-glass")["requests"] == []
    assert found(neighbour.admin, kind="break-glass", action="operator.tenant") == []


def test_an_approval_gives_one_token_that_reads_this_tenants_log_and_nothing_else(wire, operator, tenant, neighbour):
    request = asked(operator, tenant)
    path = f"/v1/break-glass/{request['id']}"
    assert code(operator.ask("POST", f"{path}/token")) == (409, "break-glass-pending")
    approved = tenant.admin.must("POST", f"{path}/approve")
    assert approved["state"] == "approved"
    assert approved["approver"] == tenant.admin_id
    token = operator.must("POST", f"{path}/token")
    guest = Person(wire, token["access_token"])

    assert found(guest, principal=tenant.admin_id, action="approve")
    assert guest.ask("GET", "/v1/audit/leaves").status == 200
    assert code(operator.ask("POST", f"{path}/token")) == (409, "break-glass-used")
    for method, way, body in [
        ("GET", "/v1/subjects", None),
        ("GET", "/v1/keys", None),
        ("GET", "/v1/break-glass", None),
        ("POST", f"{path}/approve", None),
        ("POST", "/v1/tokens", {"subject": approved["subject"]}),
        ("GET", "/v1/memory", None),
        ("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}),
    ]:
        assert guest.ask(method, way, body).status in {403, 404}, way
    assert neighbour.slug.encode() not in guest.ask("GET", "/v1/audit/leaves?limit=1000").body
    assert neighbour.id.encode() not in guest.ask("GET", "/v1/audit/export").body

    # Every read is the tenant's own record, by name.
    reads = found(tenant.admin, principal=approved["subject"], action="audit.read", phase="intent")
    assert {read["parameters"]["mode"] for read in reads} == {"search", "show", "export"}
    decided = found(tenant.admin, action="approve", principal=tenant.admin_id, resource=f"break-glass/{request['id']}")
    assert [one["phase"] for one in decided] == ["outcome", "intent"]
    tried = found(tenant.admin, action="approve", principal=approved["subject"])
    assert [one["phase"] for one in tried] == ["denial"]


def test_what_was_approved_ends_when_the_tenant_takes_it_back(wire, operator, tenant):
    request = asked(operator, tenant)
    path = f"/v1/break-glass/{request['id']}"
    tenant.admin.must("POST", f"{path}/approve")
    guest = Person(wire, operator.must("POST", f"{path}/token")["access_token"])
    assert guest.ask("GET", "/v1/audit/leaves").status == 200
    assert tenant.admin.must("POST", f"{path}/refuse")["state"] == "withdrawn"
    deadline = time.monotonic() + 5
    while guest.ask("GET", "/v1/audit/leaves").status != 401:
        assert time.monotonic() < deadline, "it still reads"
        time.sleep(0.05)
    assert code(operator.ask("POST", f"{path}/token")) == (409, "break-glass-refused")
    assert code(tenant.admin.ask("POST", f"{path}/approve")) == (409, "already-decided")


def test_a_token_is_revoked_like_any_other(wire, operator, tenant):
    request = asked(operator, tenant)
    tenant.admin.must("POST", f"/v1/break-glass/{request['id']}/approve")
    token = operator.must("POST", f"/v1/break-glass/{request['id']}/token")
    guest = Person(wire, token["access_token"])
    assert guest.ask("GET", "/v1/audit/leaves").status == 200
    shown = tenant.admin.must("GET", f"/v1/break-glass/{request['id']}")
    assert shown["token"] == token["id"]
    tenant.admin.must("POST", "/v1/revocations", {"credential": token["id"]})
    deadline = time.monotonic() + 5
    while guest.ask("GET", "/v1/audit/leaves").status != 401:
        assert time.monotonic() < deadline, "it still reads"
        time.sleep(0.05)


def test_a_refusal_is_final(operator, tenant):
    request = asked(operator, tenant)
    path = f"/v1/break-glass/{request['id']}"
    assert tenant.admin.must("POST", f"{path}/refuse")["state"] == "refused"
    assert code(tenant.admin.ask("POST", f"{path}/approve")) == (409, "already-decided")
    assert code(tenant.admin.ask("POST", f"{path}/refuse")) == (409, "already-decided")
    assert code(operator.ask("POST", f"{path}/token")) == (409, "break-glass-refused")
    refusals = found(operator, action="operator.token", kind="break-glass", result="failed")
    assert refusals[0]["reason"] == "break-glass-refused"


def test_who_decides_is_an_admin_of_that_tenant_who_was_there_before(wire, operator, tenant, neighbour):
    request = asked(operator, tenant)
    path = f"/v1/break-glass/{request['id']}"
    for who in (neighbour.admin, neighbour.agent, operator, tenant.agent):
        assert who.ask("POST", f"{path}/approve").status in {403, 404}
        assert who.ask("POST", f"{path}/refuse").status in {403, 404}
    made = operator.must("POST", f"/v1/tenants/{tenant.id}/admins", {"slug": f"late-{request['id'][-6:]}"})
    late = Person(wire, made["key"]["secret"])
    assert code(late.ask("POST", f"{path}/approve")) == (403, "approver-too-new")
    # and that admin's making stands in the tenant's own log
    assert any(one["parameters"].get("slug", "").startswith("late-") for one in found(tenant.admin, kind="tenant"))
    assert tenant.admin.must("GET", path)["state"] == "requested"
    tenant.admin.must("POST", f"{path}/refuse")


def test_another_tenants_request_is_like_one_that_never_was(operator, tenant, neighbour):
    request = asked(operator, tenant)
    for method, tail in (("GET", ""), ("POST", "/approve"), ("POST", "/refuse")):
        theirs = neighbour.admin.refused(method, f"/v1/break-glass/{request['id']}{tail}")
        nobodys = neighbour.admin.refused(method, f"/v1/break-glass/{unlike('brk')}{tail}")
        assert theirs == nobodys
        assert theirs[0] == 404
    tenant.admin.must("POST", f"/v1/break-glass/{request['id']}/refuse")


def test_only_whoever_asked_takes_the_token(wire, operator, tenant):
    other = Person(wire, operator.must("POST", "/v1/operator-keys", {"slug": f"other-{tenant.slug[-6:]}"})["secret"])
    request = asked(operator, tenant)
    tenant.admin.must("POST", f"/v1/break-glass/{request['id']}/approve")
    assert code(other.ask("POST", f"/v1/break-glass/{request['id']}/token")) == (404, "not-found")
    assert code(tenant.admin.ask("POST", f"/v1/break-glass/{request['id']}/token"))[0] in {403, 404}
    operator.must("POST", f"/v1/break-glass/{request['id']}/token")


@pytest.mark.parametrize(
    "what",
    [
        {"life_s": 3601},
        {"life_s": 0},
        {"actions": ["memory"]},
        {"actions": []},
        {"justification": "because"},
        {"justification": "two\nlines of it"},
        {"tenant": "platform"},
        {"operator": "me"},
    ],
)
def test_a_request_for_more_is_refused(operator, tenant, what):
    assert operator.ask("POST", "/v1/break-glass", {"tenant": tenant.id, "justification": WHY} | what).status == 400


def test_no_log_is_made_for_a_tenant_that_is_none(operator, platform):
    nobody = unlike("ten")
    assert code(operator.ask("POST", "/v1/break-glass", {"tenant": nobody, "justification": WHY})) == (404, "not-found")
    assert not (platform.home.ledger / "kek" / nobody).exists()


def test_an_admin_may_not_ask_and_a_grant_of_reading_cannot_be_given(tenant):
    body = {"tenant": tenant.id, "justification": WHY}
    assert tenant.admin.ask("POST", "/v1/break-glass", body).status in {403, 404}
    grants = {"grants": [{"action": "audit.read", "resource": "audit/*"}]}
    assert code(tenant.admin.ask("PUT", f"/v1/subjects/{tenant.agent_id}/grants", grants)) == (400, "not-grantable")
