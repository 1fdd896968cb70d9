"""Operators and tenant-admins at work through the public API of a whole deployment, and everything they may not do."""

import json
import re
import secrets
import time
import warnings

import joserfc.jws
import pytest
from joserfc.jwk import KeySet
from tests.scenarios.platform_fixture import platform as _platform

from partywall.assurance.wire import Wire
from partywall.providers.operator.audit import NEXT_START

platform = _platform
_VARIES = re.compile(r"(act|trace)_?[a-z2-7]{26}|[0-9a-f]{32}")


def unlike(prefix):
    """An id that nothing has."""
    return f"{prefix}_{'a' * 26}"


class Person:
    """Somebody with a credential and the public API."""

    def __init__(self, wire, credential):
        self.wire, self.credential = wire, credential

    def ask(self, method, path, body=None, **given):
        return self.wire.send(method, path, credential=self.credential, body=body, **given)

    def must(self, method, path, body=None):
        answer = self.ask(method, path, body)
        assert answer.status == 200, (method, path, answer.status, answer.body)
        return answer.json()

    def everything(self, path, noun):
        """Return a whole list, page by page."""
        page = self.must("GET", f"{path}?limit=200")
        found = page[noun]
        while page["next_cursor"] is not None:
            page = self.must("GET", f"{path}?limit=200&cursor={page['next_cursor']}")
            found += page[noun]
        return found

    def refused(self, method, path, body=None):
        """Return what a refusal says, without this request's own random ids."""
        answer = self.ask(method, path, body)
        assert answer.status >= 400, (method, path, answer.status, answer.body)
        return answer.status, answer.json()["code"], _VARIES.sub("~", answer.body.decode())


class Tenant:
    """A fresh tenant with its admin and one agent."""

    def __init__(self, wire, operator):
        self.slug = f"rest-{secrets.token_hex(4)}"
        self.id = operator.must("POST", "/v1/tenants", {"slug": self.slug})["id"]
        made = operator.must("POST", f"/v1/tenants/{self.id}/admins", {"slug": "root"})
        self.admin, self.admin_id = Person(wire, made["key"]["secret"]), made["admin"]["id"]
        self.agent_id = self.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": "worker"})["id"]
        self.key = self.admin.must("POST", "/v1/keys", {"subject": self.agent_id})
        self.agent = Person(wire, self.key["secret"])


@pytest.fixture(scope="module")
def wire(platform):
    return Wire(platform.base_url)


@pytest.fixture(scope="module")
def operator(platform, wire):
    return Person(wire, platform.operator_key())


@pytest.fixture(scope="module")
def acme(wire, operator):
    return Tenant(wire, operator)


@pytest.fixture(scope="module")
def globex(wire, operator):
    return Tenant(wire, operator)


# --- the operator -----------------------------------------------------------------------------------------------------


def test_an_operator_makes_lists_suspends_and_resumes_tenants(wire, operator):
    made = Tenant(wire, operator)
    listed = {tenant["id"]: tenant for tenant in operator.everything("/v1/tenants", "tenants")}
    assert (listed[made.id]["slug"], listed[made.id]["state"]) == (made.slug, "active")
    assert operator.must("POST", f"/v1/tenants/{made.id}/suspend", {})["state"] == "suspended"
    assert made.admin.refused("GET", "/v1/subjects")[:2] == (401, "unauthenticated")
    assert made.agent.refused("GET", "/v1/memory")[:2] == (401, "unauthenticated")
    assert operator.must("POST", f"/v1/tenants/{made.id}/resume", {})["state"] == "active"
    made.admin.must("GET", "/v1/subjects")


def test_a_second_operator_key_works_until_it_is_revoked(wire, operator):
    key = operator.must("POST", "/v1/operator-keys", {"slug": "second"})
    second = Person(wire, key["secret"])
    second.must("GET", "/v1/tenants")
    operator.must("POST", "/v1/revocations", {"credential": key["id"]})
    assert second.refused("GET", "/v1/tenants")[:2] == (401, "unauthenticated")


def test_an_error_twice_is_the_same_error(operator, acme):
    for method, path, body in (
        ("POST", "/v1/tenants", {"slug": acme.slug}),
        ("POST", f"/v1/tenants/{acme.id}/admins", {"slug": "root"}),
        ("POST", f"/v1/tenants/{unlike('ten')}/suspend", {}),
    ):
        first, second = operator.refused(method, path, body), operator.refused(method, path, body)
        assert first == second
        assert first[0] in {404, 409}


def test_an_operator_sees_nothing_of_a_tenant(operator, acme, globex):
    acme.admin.must("PUT", f"/v1/subjects/{acme.agent_id}/grants", {"grants": []})
    for method, path, body in (
        ("GET", "/v1/subjects", None),
        ("GET", "/v1/servers", None),
        ("GET", "/v1/policy", None),
        ("GET", "/v1/memory", None),
        ("GET", "/v1/memory/k", None),
        ("GET", f"/v1/memory/k?owner={acme.agent_id}", None),
        ("POST", "/v1/keys", {"subject": acme.agent_id}),
        ("POST", "/v1/tokens", {"subject": acme.agent_id}),
        ("PUT", f"/v1/subjects/{acme.agent_id}/grants", {"grants": []}),
        ("POST", f"/v1/subjects/{acme.agent_id}/suspend", {}),
        ("POST", "/v1/revocations", {"credential": acme.key["id"]}),
    ):
        assert operator.refused(method, path, body)[0] in {403, 404}, path
    keys = json.dumps(operator.must("GET", "/v1/keys"))
    log = operator.ask("GET", "/v1/audit/leaves?limit=1000").body.decode()
    for tenants_own in (globex.agent_id, globex.key["id"], globex.admin_id):  # acme's the operator has named itself
        assert tenants_own not in keys
        assert tenants_own not in log
    acme.agent.must("POST", "/v1/tokens", {"subject": acme.agent_id})


# --- the tenant-admin -------------------------------------------------------------------------------------------------


def test_an_admin_runs_its_tenant(wire, operator):
    own = Tenant(wire, operator)
    user = own.admin.must("POST", "/v1/subjects", {"kind": "user", "slug": "alice", "clearance": 2})
    slugs = {subject["slug"] for subject in own.admin.must("GET", "/v1/subjects")["subjects"]}
    assert slugs >= {"root", "worker", "alice"}
    grants = [{"action": "memory", "resource": f"memory/{own.agent_id}"}]
    changed = own.admin.must("PUT", f"/v1/subjects/{own.agent_id}/grants", {"grants": grants})
    assert [grant["resource"] for grant in changed["grants"]] == [f"memory/{own.agent_id}"]
    key = own.admin.must(
        "POST", "/v1/keys", {"subject": own.agent_id, "on_behalf_of": user["id"], "scopes": ["memory"]}
    )
    listed = {each["id"]: each for each in own.admin.must("GET", "/v1/keys")["keys"]}
    assert key["id"] in listed
    assert "secret" not in json.dumps(listed)
    own.admin.must("POST", f"/v1/subjects/{own.agent_id}/suspend", {})
    assert own.agent.refused("POST", "/v1/tokens", {"subject": own.agent_id})[0] in {401, 403, 404}
    own.admin.must("POST", f"/v1/subjects/{own.agent_id}/resume", {})
    own.agent.must("POST", "/v1/tokens", {"subject": own.agent_id})


def test_policies_are_activated_shown_and_rolled_back(acme):
    module = 'package tenant\n\ndeny contains "agents-only" if input.principal.kind == "user"\n'
    first = acme.admin.must("PUT", "/v1/policy", {"module": module})["revision"]
    acme.admin.must("PUT", "/v1/policy", {"module": module + "# changed\n"})
    shown = acme.admin.must("GET", "/v1/policy")
    assert shown["module"].endswith("# changed\n")
    acme.admin.must("POST", "/v1/policy/rollback", {"revision": first})
    assert acme.admin.must("GET", "/v1/policy")["module"] == module
    assert acme.admin.refused("PUT", "/v1/policy", {"module": "package tenant\nthis is no rego"})[0] == 400
    assert acme.admin.refused("POST", "/v1/policy/rollback", {"revision": "99-000000000000"})[0] == 404


def test_an_agent_makes_itself_a_token_and_nobody_else_one(acme):
    token = acme.agent.must("POST", "/v1/tokens", {"subject": acme.agent_id, "scopes": ["memory"]})
    assert (token["token_type"], 0 < token["expires_in"] <= 900) == ("Bearer", True)
    other = acme.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": f"o-{secrets.token_hex(3)}"})["id"]
    for subject in (other, unlike("agt")):
        assert acme.agent.refused("POST", "/v1/tokens", {"subject": subject})[0] in {403, 404}


def test_a_token_verifies_with_the_public_keys_alone(wire, acme):
    token = acme.admin.must("POST", "/v1/tokens", {"subject": acme.agent_id})["access_token"]
    keys = KeySet.import_key_set(wire.send("GET", "/.well-known/jwks.json").json())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        claims = json.loads(joserfc.jws.deserialize_compact(token, keys, algorithms=["EdDSA"]).payload)
    assert (claims["ten"], claims["sub"], claims["aud"]) == (acme.id, acme.agent_id, "partywall")


def test_a_key_and_a_token_end_when_they_are_revoked(wire, acme):
    key = acme.admin.must("POST", "/v1/keys", {"subject": acme.agent_id})
    token = acme.admin.must("POST", "/v1/tokens", {"subject": acme.agent_id})
    for credential, name in ((key["secret"], key["id"]), (token["access_token"], token["id"])):
        holder = Person(wire, credential)
        holder.must("POST", "/v1/tokens", {"subject": acme.agent_id})
        acme.admin.must("POST", "/v1/revocations", {"credential": name})
        started = time.monotonic()
        while holder.ask("POST", "/v1/tokens", {"subject": acme.agent_id}).status != 401:
            assert time.monotonic() - started < 5.0
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/tenants", None),
        ("POST", "/v1/tenants", {"slug": "mine"}),
        ("POST", "/v1/tenants/{own}/suspend", {}),
        ("POST", "/v1/tenants/{other}/suspend", {}),
        ("POST", "/v1/tenants/{own}/admins", {"slug": "another"}),
        ("POST", "/v1/tenants/{own}/models", {"slug": "m", "upstream": "http://127.0.0.1:1", "upstream_model": "m"}),
        ("POST", "/v1/operator-keys", {"slug": "mine"}),
    ],
)
def test_a_tenants_people_are_no_operators(acme, globex, method, path, body):
    path = path.format(own=acme.id, other=globex.id)
    for person in (acme.admin, acme.agent):
        assert person.refused(method, path, body)[0] in {403, 404}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/subjects", None),
        ("POST", "/v1/subjects", {"kind": "agent", "slug": "mine"}),
        ("PUT", "/v1/subjects/{agent}/grants", {"grants": []}),
        ("POST", "/v1/keys", {"subject": "{agent}"}),
        ("GET", "/v1/keys", None),
        ("POST", "/v1/revocations", {"credential": "{agent}"}),
        ("PUT", "/v1/policy", {"module": "package tenant\n"}),
        ("GET", "/v1/policy", None),
        ("GET", "/v1/audit/leaves", None),
        ("GET", "/v1/audit/export", None),
        ("GET", "/v1/audit/checkpoint", None),
    ],
)
def test_an_agent_is_no_admin(acme, method, path, body):
    body = json.loads(json.dumps(body).replace("{agent}", acme.agent_id))
    assert acme.agent.refused(method, path.format(agent=acme.agent_id), body)[0] in {403, 404}


def test_an_agent_keeps_its_own_memory_and_reads_no_other(acme):
    grants = [{"action": "memory", "resource": "memory/self"}]
    acme.admin.must("PUT", f"/v1/subjects/{acme.agent_id}/grants", {"grants": grants})
    value = {"seen": [1, "two", None]}
    put = acme.agent.must("PUT", "/v1/memory/diary:1", {"value": value, "classification": 0})
    assert put["key"] == "diary:1"
    assert acme.agent.must("GET", "/v1/memory/diary:1")["value"] == value
    assert acme.agent.must("GET", f"/v1/memory/diary:1?owner={acme.agent_id}")["value"] == value
    assert [entry["key"] for entry in acme.agent.must("GET", "/v1/memory")["entries"]] == ["diary:1"]
    assert acme.admin.refused("GET", f"/v1/memory/diary:1?owner={acme.agent_id}")[0] in {403, 404}
    assert acme.agent.refused("GET", f"/v1/memory/diary:1?owner={acme.admin_id}")[0] in {403, 404}
    for key in ("..", "%2e%2e", "a%20b", "x" * 200, "%00"):
        assert acme.agent.refused("GET", f"/v1/memory/{key}")[0] in {400, 404}
    assert acme.agent.must("DELETE", "/v1/memory/diary:1")["deleted"] is True
    assert acme.agent.refused("GET", "/v1/memory/diary:1")[0] == 404


# --- the neighbour ----------------------------------------------------------------------------------------------------


def test_a_neighbours_id_is_one_that_does_not_exist(acme, globex):
    """Byte for byte, but for the id that the caller itself sent."""
    cases = [
        ("POST", "/v1/subjects/ID/suspend", {}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/subjects/ID/resume", {}, globex.agent_id, unlike("agt")),
        ("PUT", "/v1/subjects/ID/grants", {"grants": []}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/keys", {"subject": "ID"}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/keys", {"subject": acme.agent_id, "on_behalf_of": "ID"}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/tokens", {"subject": "ID"}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/tokens", {"subject": acme.agent_id, "on_behalf_of": "ID"}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/revocations", {"credential": "ID"}, globex.agent_id, unlike("agt")),
        ("POST", "/v1/revocations", {"credential": "ID"}, globex.key["id"], unlike("key")),
        ("POST", "/v1/tenants/ID/suspend", {}, globex.id, unlike("ten")),
        ("GET", "/v1/memory/k?owner=ID", None, globex.agent_id, unlike("agt")),
    ]
    for method, path, body, foreign, missing in cases:
        answers = []
        for id_ in (foreign, missing):
            sent = json.loads(json.dumps(body).replace("ID", id_))
            status, code, text = acme.admin.refused(method, path.replace("ID", id_), sent)
            answers.append((status, code, text.replace(id_, "~")))
        assert answers[0] == answers[1], (method, path)
    globex.agent.must("POST", "/v1/tokens", {"subject": globex.agent_id})


def test_a_tenant_in_a_field_a_query_or_a_header_moves_nobody(acme, globex):
    assert acme.admin.refused("POST", "/v1/keys", {"subject": acme.agent_id, "tenant": globex.id})[0] == 400
    assert acme.admin.refused("GET", f"/v1/subjects?tenant={globex.id}")[0] == 400
    assert acme.admin.refused("GET", f"/v1/audit/leaves?log={globex.id}")[0] == 400
    answer = acme.admin.ask("GET", "/v1/subjects", headers={"x-tenant-id": globex.id})
    assert globex.agent_id.encode() not in answer.body


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/v1/subjects", b'{"kind":"agent","slug":"a","slug":"b"}'),
        ("/v1/subjects", b'{"kind":"agent","slug":"A"}'),
        ("/v1/subjects", b'{"kind":"system","slug":"a"}'),
        ("/v1/subjects", b'{"kind":"agent","slug":"a","admin":true}'),
        ("/v1/subjects", b'{"kind":"agent","slug":"a","clearance":4}'),
        ("/v1/subjects", b'{"kind":"agent","slug":"a"'),
        ("/v1/subjects", b"[]"),
        ("/v1/subjects", b""),
        ("/v1/subjects", b'{"a":' * 100 + b"1" + b"}" * 100),
        ("/v1/servers", b'{"slug":"s","url":"file:///etc/passwd","tools":[]}'),
        ("/v1/servers", b'{"slug":"s","url":"http://user:pass@127.0.0.1/","tools":[]}'),
        ("/v1/policy", b'{"module":1}'),
    ],
)
def test_bad_bodies_are_typed_problems(acme, path, raw):
    method = "PUT" if path == "/v1/policy" else "POST"
    answer = acme.admin.ask(method, path, raw=raw, headers={"content-type": "application/json"})
    problem = answer.json()
    assert (answer.status, problem["status"]) == (400, 400)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:partywall:problem:{problem['code']}"


# --- the record -------------------------------------------------------------------------------------------------------


def test_an_admin_reads_its_own_log_page_by_page(wire, operator, acme):
    neighbour = Tenant(wire, operator)
    whole = acme.admin.ask("GET", "/v1/audit/leaves?limit=1000")
    assert NEXT_START not in whole.headers
    assert acme.agent_id.encode() in whole.body
    for foreign in (neighbour.id, neighbour.agent_id, neighbour.admin_id, neighbour.key["id"]):
        assert foreign.encode() not in whole.body
    page = acme.admin.ask("GET", "/v1/audit/leaves?limit=2")
    assert page.headers[NEXT_START] == "2"
    assert acme.admin.ask("GET", "/v1/audit/leaves?start=2&limit=2").body != page.body
    assert acme.admin.must("GET", "/v1/audit/checkpoint")
    assert acme.admin.ask("GET", "/v1/audit/export").status == 200


def test_refusals_are_on_record(acme):
    acme.agent.refused("PUT", f"/v1/subjects/{acme.agent_id}/grants", {"grants": []})
    acme.admin.refused("POST", "/v1/tenants", {"slug": "mine"})
    log = acme.admin.ask("GET", "/v1/audit/leaves?limit=1000").body
    assert b"deny" in log
    assert b"operator.tenant" in log


def test_the_first_key_is_given_once_and_is_on_record(wire, platform, operator):
    nobody = Person(wire, None)
    for token in ("pwb_" + "x" * 43, "y"):
        assert nobody.refused("POST", "/v1/bootstrap", {"token": token})[0] == 401
    log = operator.ask("GET", "/v1/audit/leaves?limit=1000").body
    assert b"system:bootstrap" in log
    assert not platform.home.bootstrap_token.exists()


def test_no_secret_is_in_any_log_file_or_leaf(platform, acme, operator):
    key = acme.admin.must("POST", "/v1/keys", {"subject": acme.agent_id})["secret"]
    token = acme.admin.must("POST", "/v1/tokens", {"subject": acme.agent_id})["access_token"]
    second = operator.must("POST", "/v1/operator-keys", {"slug": f"s-{secrets.token_hex(3)}"})["secret"]
    leaves = b"".join(
        person.ask("GET", f"/v1/audit/{what}").body
        for person in (acme.admin, operator)
        for what in ("leaves?limit=1000", "export")
    )
    logs = b"".join(path.read_bytes() for path in (platform.home.path / "log").rglob("*") if path.is_file())
    for secret in (key.rsplit("_", 1)[1], token.rsplit(".", 1)[1], second.rsplit("_", 1)[1]):
        assert secret.encode() not in leaves
        assert secret.encode() not in logs
