"""The resources under /v1 through a whole deployment: their lives, their pages, and changes under conditions."""

import json
import secrets
import threading

import pytest
from tests.scenarios.platform_fixture import platform as _platform
from tests.scenarios.test_rest import Person, Tenant, unlike
from tests.scenarios.test_rest import acme as _acme
from tests.scenarios.test_rest import globex as _globex
from tests.scenarios.test_rest import operator as _operator
from tests.scenarios.test_rest import wire as _wire

platform, wire, operator, acme, globex = _platform, _wire, _operator, _acme, _globex
MODULE = 'package tenant\n\ndeny contains "agents-only" if input.principal.kind == "user"\n'
TOOL = {"name": "read", "description": "Reads", "input_schema": {"type": "object"}}


def fresh(word):
    return f"{word}-{secrets.token_hex(4)}"


def pages(person, path, noun, *, limit):
    """Every page of a list, as bytes, and everything that is on them."""
    raw, things, cursor = [], [], None
    while True:
        query = f"limit={limit}" + ("" if cursor is None else f"&cursor={cursor}")
        answer = person.ask("GET", f"{path}{'&' if '?' in path else '?'}{query}")
        assert answer.status == 200, answer
        page = answer.json()
        assert len(page[noun]) <= limit
        raw.append(answer.body)
        things += page[noun]
        cursor = page["next_cursor"]
        if cursor is None:
            return raw, things


def etag(person, path):
    return person.ask("GET", path).headers["etag"]


# --- lives ------------------------------------------------------------------------------------------------------------


def test_an_organisation_and_its_tenants(operator):
    slug = fresh("org")
    made = operator.must("POST", "/v1/organisations", {"slug": slug})
    path = f"/v1/organisations/{made['id']}"
    assert operator.must("GET", path) == made == {"id": made["id"], "slug": slug}
    tenant = operator.must("POST", "/v1/tenants", {"slug": fresh("t"), "organisation": slug})
    assert operator.must("GET", f"{path}/tenants") == {"tenants": [tenant], "next_cursor": None}
    assert operator.must("GET", f"/v1/tenants/{tenant['id']}") == tenant
    assert operator.refused("POST", "/v1/organisations", {"slug": slug})[:2] == (409, "taken")
    for missing in (f"/v1/organisations/{unlike('org')}", f"/v1/organisations/{unlike('org')}/tenants"):
        assert operator.refused("GET", missing)[:2] == (404, "not-found")
    assert slug in {each["slug"] for each in pages(operator, "/v1/organisations", "organisations", limit=200)[1]}


def test_a_subject_from_its_making_to_its_end(wire, operator):
    own = Tenant(wire, operator)
    made = own.admin.must("POST", "/v1/subjects", {"kind": "user", "slug": "alice"})
    path = f"/v1/subjects/{made['id']}"
    assert own.admin.must("GET", path) == made
    assert own.admin.must("PATCH", path, {"clearance": 3})["clearance"] == 3
    users = own.admin.must("GET", "/v1/subjects?kind=user")["subjects"]
    assert [each["id"] for each in users] == [made["id"]]
    key = own.admin.must("POST", "/v1/keys", {"subject": made["id"]})
    assert own.admin.must("DELETE", path) == {"revoked": made["id"]}
    assert own.admin.refused("GET", path)[:2] == (404, "not-found")
    assert own.admin.must("GET", f"/v1/keys/{key['id']}")["revoked"] is True
    assert Person(wire, key["secret"]).ask("GET", "/v1/models").status == 401


def test_grants_one_by_one(wire, operator):
    own = Tenant(wire, operator)
    path = f"/v1/subjects/{own.agent_id}/grants"
    memory = {"action": "memory", "resource": f"memory/{own.agent_id}"}
    assert own.admin.must("GET", path) == {"grants": []}
    assert own.admin.must("POST", path, {"action": "memory", "resource": "memory/self"})["grants"] == [memory]
    ending = own.admin.must("POST", path, memory | {"expires_at_s": 4e9})
    assert ending["grants"] == [memory | {"expires_at_s": 4e9}]
    assert own.admin.refused("DELETE", f"{path}?action=memory&resource=memory/root")[:2] == (404, "not-found")
    assert own.admin.refused("DELETE", path)[0] == 400
    assert own.admin.must("DELETE", f"{path}?action=memory&resource=memory/self")["grants"] == []
    assert own.admin.refused("POST", path, {"action": "operator.key", "resource": "key/*"})[:2] == (
        400,
        "not-grantable",
    )


def test_a_key_is_shown_without_its_secret_and_deleted(wire, acme):
    key = acme.admin.must("POST", "/v1/keys", {"subject": acme.agent_id})
    shown = acme.admin.ask("GET", f"/v1/keys/{key['id']}")
    assert key["secret"].rsplit("_", 1)[1].encode() not in shown.body
    assert (shown.json()["subject"], shown.json()["revoked"]) == (acme.agent_id, False)
    assert acme.admin.must("DELETE", f"/v1/keys/{key['id']}") == {"revoked": key["id"]}
    assert Person(wire, key["secret"]).ask("GET", "/v1/models").status == 401
    assert acme.admin.refused("DELETE", f"/v1/keys/{acme.agent_id}")[:2] == (400, "malformed-id")
    acme.agent.must("GET", "/v1/models")


def test_a_draft_waits_with_its_report_until_it_is_activated(wire, operator):
    own = Tenant(wire, operator)
    draft = own.admin.must("POST", "/v1/policies", {"slug": "next", "module": "package tenant\nno rego"})
    path = f"/v1/policies/{draft['id']}"
    assert draft["valid"] is False
    assert draft["findings"][0]["message"]
    assert own.admin.refused("POST", f"{path}/activate", {})[:2] == (400, "bad-policy")
    assert own.admin.must("GET", "/v1/policy")["revision"] == "base"
    replaced = own.admin.must("PUT", path, {"module": MODULE})
    assert (replaced["valid"], replaced["module"], replaced["slug"]) == (True, MODULE, "next")
    listed = own.admin.must("GET", "/v1/policies")["drafts"]
    assert listed == [{name: value for name, value in replaced.items() if name != "module"}]
    active = own.admin.must("POST", f"{path}/activate", {})
    assert own.admin.must("GET", "/v1/policy")["module"] == MODULE
    past = own.admin.must("GET", f"/v1/policy/revisions/{active['revision']}")
    assert (past["module"], past["revision"]) == (MODULE, active["revision"])
    assert own.admin.must("DELETE", path) == {"deleted": draft["id"]}
    assert own.admin.must("GET", "/v1/policy")["module"] == MODULE
    revisions = own.admin.must("GET", "/v1/policy/revisions")
    assert [each["revision"] for each in revisions["revisions"]] == [active["revision"]]


def test_a_deleted_server_takes_its_grants_along(wire, operator):
    own = Tenant(wire, operator)
    body = {"slug": "mail", "url": "http://127.0.0.1:9/mcp", "tools": [TOOL]}
    server = own.admin.must("POST", "/v1/servers", body)
    path = f"/v1/servers/{server['id']}"
    shown = own.admin.must("GET", path)
    assert (shown["url"], shown["approved"][0]["input_schema"]) == (body["url"], TOOL["input_schema"])
    for tool in ("*", "read"):
        grant = {"action": "tool.call", "resource": f"tool/mail/{tool}"}
        own.admin.must("POST", f"/v1/subjects/{own.agent_id}/grants", grant)
    assert own.admin.must("DELETE", path) == {"deleted": server["id"]}
    assert own.admin.must("GET", f"/v1/subjects/{own.agent_id}/grants") == {"grants": []}
    assert own.admin.refused("GET", path)[:2] == (404, "not-found")
    assert own.admin.must("POST", "/v1/servers", body)["id"] != server["id"]


def test_models_as_their_operator_and_their_tenant_see_them(wire, operator):
    own = Tenant(wire, operator)
    models = f"/v1/tenants/{own.id}/models"
    body = {"slug": "small", "upstream": "http://127.0.0.1:9", "upstream_model": "small-1"}
    made = operator.must("POST", models, body)
    path = f"{models}/{made['id']}"
    assert operator.must("GET", path) == made
    assert operator.must("GET", models)["models"] == [made]
    changed = operator.must("PATCH", path, {"context_tokens": 8192, "hosted": True})
    assert changed == made | {"context_tokens": 8192, "hosted": True}
    catalogue = own.admin.must("GET", "/v1/catalogue")["models"]
    assert catalogue == [{name: value for name, value in changed.items() if name != "upstream"}]
    own.admin.must(
        "POST", f"/v1/subjects/{own.agent_id}/grants", {"action": "model.request", "resource": "model/small"}
    )
    assert [model["id"] for model in own.agent.must("GET", "/v1/models")["data"]] == ["small"]
    assert operator.must("DELETE", path) == {"deleted": made["id"]}
    assert own.admin.must("GET", f"/v1/subjects/{own.agent_id}/grants") == {"grants": []}
    assert own.agent.must("GET", "/v1/models")["data"] == []
    elsewhere = Tenant(wire, operator)
    assert operator.refused("GET", f"/v1/tenants/{elsewhere.id}/models/{made['id']}")[:2] == (404, "not-found")


def test_an_agent_for_a_user_sees_what_both_may_ask(wire, operator):
    own = Tenant(wire, operator)
    for slug in ("both", "agents", "users"):
        body = {"slug": slug, "upstream": "http://127.0.0.1:9", "upstream_model": "m"}
        operator.must("POST", f"/v1/tenants/{own.id}/models", body)
    user = own.admin.must("POST", "/v1/subjects", {"kind": "user", "slug": "alice"})["id"]
    for subject, slugs in ((own.agent_id, ("both", "agents")), (user, ("both", "users"))):
        for slug in slugs:
            grant = {"action": "model.request", "resource": f"model/{slug}"}
            own.admin.must("POST", f"/v1/subjects/{subject}/grants", grant)
    for_user = own.admin.must("POST", "/v1/keys", {"subject": own.agent_id, "on_behalf_of": user})["secret"]
    assert [model["id"] for model in own.agent.must("GET", "/v1/models")["data"]] == ["agents", "both"]
    assert [model["id"] for model in Person(wire, for_user).must("GET", "/v1/models")["data"]] == ["both"]


# --- pages ------------------------------------------------------------------------------------------------------------


def test_pages_join_to_the_whole_list_in_a_stable_order(wire, operator):
    own = Tenant(wire, operator)
    for number in range(6):
        own.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": f"a{number}"})
        own.admin.must("POST", "/v1/keys", {"subject": own.agent_id})
    for path, noun, key in (("/v1/subjects", "subjects", "slug"), ("/v1/keys", "keys", "created_at_s")):
        whole = own.admin.must("GET", path)[noun]
        assert [each[key] for each in whole] == sorted(each[key] for each in whole)
        for limit in (1, 3, len(whole), 200):
            assert pages(own.admin, path, noun, limit=limit)[1] == whole
    agents = pages(own.admin, "/v1/subjects?kind=agent", "subjects", limit=2)[1]
    assert [each["slug"] for each in agents] == [*(f"a{number}" for number in range(6)), "worker"]


def test_what_comes_and_goes_moves_nothing_else_to_another_page(wire, operator):
    own = Tenant(wire, operator)
    ids = {
        slug: own.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": slug})["id"] for slug in ("b", "d", "f")
    }
    first = own.admin.must("GET", "/v1/subjects?kind=agent&limit=2")
    assert [each["slug"] for each in first["subjects"]] == ["b", "d"]
    own.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": "a"})
    own.admin.must("DELETE", f"/v1/subjects/{ids['d']}")
    own.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": "e"})
    rest = own.admin.must("GET", f"/v1/subjects?kind=agent&limit=2&cursor={first['next_cursor']}")
    assert [each["slug"] for each in rest["subjects"]] == ["e", "f"]


def test_a_cursor_is_of_one_list_of_one_tenant(acme, globex):
    for tenant in (acme, globex):
        for slug in ("c1", "c2"):
            tenant.admin.ask("POST", "/v1/subjects", {"kind": "agent", "slug": slug})
    cursor = acme.admin.must("GET", "/v1/subjects?limit=1")["next_cursor"]
    acme.admin.must("GET", f"/v1/subjects?limit=2&cursor={cursor}")
    tampered = ("B" if cursor[-1] != "B" else "C").join((cursor[:-1], ""))
    for person, path in (
        (globex.admin, f"/v1/subjects?cursor={cursor}"),
        (acme.admin, f"/v1/servers?cursor={cursor}"),
        (acme.admin, f"/v1/subjects?kind=agent&cursor={cursor}"),
        (acme.admin, f"/v1/subjects?cursor={tampered}"),
        (acme.admin, f"/v1/subjects?cursor={'A' * len(cursor)}"),
        (acme.admin, "/v1/subjects?cursor=A"),
    ):
        assert person.refused("GET", path)[:2] == (400, "bad-cursor"), path
    for query in ("cursor=", "cursor=%00", "limit=0", "limit=201", "limit=x", "limit=-1", "cursor=" + "A" * 513):
        assert acme.admin.refused("GET", f"/v1/subjects?{query}")[0] == 400, query


# --- on the state that was seen ---------------------------------------------------------------------------------------


def test_a_change_on_a_state_that_is_no_more_changes_nothing(acme):
    path = f"/v1/subjects/{acme.agent_id}"
    seen = etag(acme.admin, path)
    assert seen == etag(acme.admin, path)
    assert acme.admin.ask("GET", path, headers={"if-none-match": seen}).status == 304
    assert acme.admin.ask("GET", path, headers={"if-none-match": f'"x", W/{seen}'}).status == 304
    assert acme.admin.ask("GET", path, headers={"if-none-match": '"x"'}).status == 200
    current = acme.admin.must("GET", path)["clearance"]
    changed = acme.admin.ask("PATCH", path, {"clearance": (current + 1) % 4}, headers={"if-match": seen})
    assert changed.status == 200
    assert changed.headers["etag"] == etag(acme.admin, path) != seen
    for method, where, body in (
        ("PATCH", path, {"clearance": current}),
        ("POST", f"{path}/suspend", {}),
        ("DELETE", path, None),
        ("PUT", f"{path}/grants", {"grants": []}),
    ):
        for tags in (seen, '"x", "y"', f"W/{changed.headers['etag']}"):
            late = acme.admin.ask(method, where, body, headers={"if-match": tags})
            assert (late.status, late.json()["code"]) == (412, "precondition-failed")
    assert etag(acme.admin, path) == changed.headers["etag"]
    assert acme.admin.ask("PATCH", path, {"clearance": current}, headers={"if-match": "*"}).status == 200


def test_every_single_resource_has_a_tag_that_changes_with_it(wire, operator):
    own = Tenant(wire, operator)
    draft = own.admin.must("POST", "/v1/policies", {"slug": "d", "module": MODULE})["id"]
    server = own.admin.must("POST", "/v1/servers", {"slug": "s", "url": "http://127.0.0.1:9/mcp", "tools": [TOOL]})
    model = operator.must(
        "POST", f"/v1/tenants/{own.id}/models", {"slug": "m", "upstream": "http://127.0.0.1:9", "upstream_model": "m"}
    )
    for person, path, method, change, body in (
        (own.admin, "/v1/policy", "PUT", "/v1/policy", {"module": MODULE}),
        (own.admin, f"/v1/policies/{draft}", "PUT", f"/v1/policies/{draft}", {"module": MODULE + "# 2\n"}),
        (own.admin, f"/v1/subjects/{own.agent_id}/grants", "PUT", f"/v1/subjects/{own.agent_id}/grants",
         {"grants": [{"action": "memory", "resource": "memory/self"}]}),
        (own.admin, f"/v1/keys/{own.key['id']}", "DELETE", f"/v1/keys/{own.key['id']}", None),
        (operator, f"/v1/tenants/{own.id}/models/{model['id']}", "PATCH", f"/v1/tenants/{own.id}/models/{model['id']}",
         {"hosted": True}),
        (operator, f"/v1/tenants/{own.id}", "POST", f"/v1/tenants/{own.id}/suspend", {}),
    ):  # fmt: skip
        seen = etag(person, path)
        assert person.ask(method, change, body, headers={"if-match": '"x"'}).status == 412
        assert etag(person, path) == seen, path
        assert person.ask(method, change, body, headers={"if-match": seen}).status == 200, path
        assert person.ask("GET", path).headers["etag"] != seen
    operator.must("POST", f"/v1/tenants/{own.id}/resume", {})
    seen = etag(own.admin, f"/v1/servers/{server['id']}")
    assert own.admin.ask("DELETE", f"/v1/servers/{server['id']}", headers={"if-match": seen}).status == 200


@pytest.mark.parametrize("tags", ["x", '"x', 'W/"x" "y"', ",", '"a"' + ', "a"' * 20, '"a b"'])
def test_tags_that_are_none(acme, tags):
    answer = acme.admin.ask("PATCH", f"/v1/subjects/{acme.agent_id}", {"clearance": 1}, headers={"if-match": tags})
    assert (answer.status, answer.json()["code"]) == (400, "bad-condition")


def test_a_condition_that_nobody_looks_at_is_refused(acme):
    for method, path, body, header in (
        ("POST", "/v1/subjects", {"kind": "agent", "slug": "never"}, "if-match"),
        ("GET", "/v1/subjects", None, "if-match"),
        ("PUT", "/v1/memory/k", {"value": 1}, "if-match"),
        ("PUT", "/v1/memory/k", {"value": 1}, "idempotency-key"),
    ):
        answer = acme.admin.ask(method, path, body, headers={header: '"x"'})
        assert (answer.status, answer.json()["code"]) == (400, "unsupported-condition")
    slugs = {each["slug"] for each in pages(acme.admin, "/v1/subjects", "subjects", limit=200)[1]}
    assert "never" not in slugs


# --- once -------------------------------------------------------------------------------------------------------------


def test_the_same_key_and_request_happens_once_and_is_answered_alike(acme):
    key, slug = {"idempotency-key": secrets.token_hex(16)}, fresh("once")
    body = {"kind": "agent", "slug": slug}
    first = acme.admin.ask("POST", "/v1/subjects", body, headers=key)
    assert first.status == 200
    assert "idempotency-replayed" not in first.headers
    for again in (key, {"idempotency-key": f'"{key["idempotency-key"]}"'}):
        second = acme.admin.ask("POST", "/v1/subjects", body, headers=again)
        assert (second.status, second.body) == (200, first.body)
        assert second.headers["idempotency-replayed"] == "true"
    for method, path, other in (
        ("POST", "/v1/subjects", body | {"clearance": 2}),
        ("POST", "/v1/policies", {"slug": slug, "module": MODULE}),
        ("PUT", "/v1/policy", {"module": MODULE}),
    ):
        reused = acme.admin.ask(method, path, other, headers=key)
        assert (reused.status, reused.json()["code"]) == (422, "idempotency-key-reused")


def test_a_failed_request_keeps_no_key(acme):
    key, slug = {"idempotency-key": secrets.token_hex(16)}, fresh("later")
    body = {"kind": "agent", "slug": slug, "grants": [{"action": "model.request", "resource": "model/none"}]}
    for _ in range(2):
        assert acme.admin.ask("POST", "/v1/subjects", body, headers=key).status == 404
    assert acme.admin.ask("POST", "/v1/subjects", body | {"grants": []}, headers=key).status == 200


def test_many_at_once_have_one_effect(wire, operator):
    own = Tenant(wire, operator)
    key, answers = {"idempotency-key": secrets.token_hex(16)}, []
    before = len(own.admin.must("GET", "/v1/keys")["keys"])

    def ask(body, path):
        answers.append(own.admin.ask("POST", path, body, headers=key))

    for path, body in (("/v1/subjects", {"kind": "agent", "slug": "raced"}), ("/v1/keys", {"subject": own.agent_id})):
        key = {"idempotency-key": secrets.token_hex(16)}
        threads = [threading.Thread(target=ask, args=(body, path)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    made = [answer for answer in answers if answer.status == 200]
    assert len({answer.body for answer in made[:6]}) == 1
    slugs = [each["slug"] for each in own.admin.must("GET", "/v1/subjects")["subjects"]]
    assert slugs.count("raced") == 1
    assert len(own.admin.must("GET", "/v1/keys")["keys"]) == before + 1
    refused = [answer.json()["code"] for answer in answers if answer.status != 200]
    assert refused == ["secret-shown-once"] * 5


def test_a_secret_is_never_kept_and_never_shown_again(platform, operator, acme):
    for person, path, body in (
        (acme.admin, "/v1/keys", {"subject": acme.agent_id}),
        (acme.admin, "/v1/tokens", {"subject": acme.agent_id}),
        (operator, "/v1/operator-keys", {"slug": fresh("op")}),
        (operator, f"/v1/tenants/{acme.id}/admins", {"slug": fresh("root")}),
    ):
        key = {"idempotency-key": secrets.token_hex(16)}
        first = person.ask("POST", path, body, headers=key)
        second = person.ask("POST", path, body, headers=key)
        assert first.status == 200
        assert (second.status, second.json()["code"]) == (409, "secret-shown-once")
        reply = first.json()
        made = reply.get("key", reply)
        assert made["id"] in second.json()["detail"]
        secret = made.get("secret") or made["access_token"]
        assert secret not in second.body.decode()


def test_a_key_is_one_principals_own(wire, operator, acme, globex):
    key, slug = {"idempotency-key": "order-1"}, fresh("mine")
    body = {"kind": "agent", "slug": slug}
    first = acme.admin.ask("POST", "/v1/subjects", body, headers=key).json()
    theirs = globex.admin.ask("POST", "/v1/subjects", body, headers=key)
    assert theirs.status == 200
    assert "idempotency-replayed" not in theirs.headers
    assert theirs.json()["id"] != first["id"]
    made = operator.must("POST", f"/v1/tenants/{acme.id}/admins", {"slug": fresh("second")})
    colleague = Person(wire, made["key"]["secret"]).ask("POST", "/v1/subjects", body, headers=key)
    assert (colleague.status, colleague.json()["code"]) == (409, "taken")


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, '"', '"a', 'a"'])
def test_keys_that_are_none(acme, key):
    answer = acme.admin.ask("POST", "/v1/subjects", {"kind": "agent", "slug": "x"}, headers={"idempotency-key": key})
    assert (answer.status, answer.json()["code"]) == (400, "bad-idempotency-key")


# --- the neighbour ----------------------------------------------------------------------------------------------------


def test_nothing_of_a_list_or_a_tag_depends_on_a_neighbour(wire, operator):
    own = Tenant(wire, operator)
    for slug in ("x1", "x2", "x3"):
        own.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": slug})
    own.admin.must("POST", "/v1/policies", {"slug": "d", "module": MODULE})

    def seen():
        lists = [
            pages(own.admin, path, noun, limit=2)[0]
            for path, noun in (
                ("/v1/subjects", "subjects"),
                ("/v1/keys", "keys"),
                ("/v1/servers", "servers"),
                ("/v1/policies", "drafts"),
                ("/v1/policy/revisions", "revisions"),
                ("/v1/catalogue", "models"),
            )
        ]
        return lists, etag(own.admin, "/v1/policy"), etag(own.admin, f"/v1/subjects/{own.agent_id}")

    alone = seen()
    other = Tenant(wire, operator)
    for slug in ("x1", "x2", "x4"):
        other.admin.must("POST", "/v1/subjects", {"kind": "agent", "slug": slug})
    other.admin.must("POST", "/v1/policies", {"slug": "d", "module": MODULE + "# other\n"})
    other.admin.must("PUT", "/v1/policy", {"module": MODULE})
    other.admin.must("POST", "/v1/servers", {"slug": "s", "url": "http://127.0.0.1:9/mcp", "tools": [TOOL]})
    assert seen() == alone


def test_a_neighbours_resource_is_one_that_does_not_exist(acme, globex, operator):
    draft = globex.admin.must("POST", "/v1/policies", {"slug": fresh("d"), "module": MODULE})["id"]
    body = {"slug": fresh("s"), "url": "http://127.0.0.1:9/mcp", "tools": [TOOL]}
    server = globex.admin.must("POST", "/v1/servers", body)["id"]
    revision = globex.admin.must("PUT", "/v1/policy", {"module": f"{MODULE}# {globex.id}\n"})["revision"]
    grant = {"action": "memory", "resource": "memory/self"}
    cases = [
        ("GET", "/v1/subjects/ID", None, globex.agent_id, unlike("agt")),
        ("PATCH", "/v1/subjects/ID", {"clearance": 1}, globex.agent_id, unlike("agt")),
        ("DELETE", "/v1/subjects/ID", None, globex.agent_id, unlike("agt")),
        ("GET", "/v1/subjects/ID/grants", None, globex.agent_id, unlike("agt")),
        ("POST", "/v1/subjects/ID/grants", grant, globex.agent_id, unlike("agt")),
        ("DELETE", "/v1/subjects/ID/grants?action=memory&resource=memory/self", None, globex.agent_id, unlike("agt")),
        ("GET", "/v1/keys/ID", None, globex.key["id"], unlike("key")),
        ("DELETE", "/v1/keys/ID", None, globex.key["id"], unlike("key")),
        ("GET", "/v1/policies/ID", None, draft, unlike("pol")),
        ("PUT", "/v1/policies/ID", {"module": MODULE}, draft, unlike("pol")),
        ("DELETE", "/v1/policies/ID", None, draft, unlike("pol")),
        ("POST", "/v1/policies/ID/activate", {}, draft, unlike("pol")),
        ("GET", "/v1/servers/ID", None, server, unlike("mcp")),
        ("DELETE", "/v1/servers/ID", None, server, unlike("mcp")),
        ("GET", "/v1/policy/revisions/ID", None, revision, "7-000000000000"),
        ("GET", "/v1/tenants/ID", None, globex.id, unlike("ten")),
        ("GET", "/v1/tenants/ID/models", None, globex.id, unlike("ten")),
    ]
    for method, path, sent, foreign, missing in cases:
        for headers in ({}, {"if-match": '"x"'} if method in {"PATCH", "DELETE", "PUT"} else {}):
            answers = []
            for id_ in (foreign, missing):
                answer = acme.admin.ask(method, path.replace("ID", id_), sent, headers=headers)
                text = answer.body.decode().replace(id_, "~").replace(answer.json()["trace"], "~")
                answers.append((answer.status, text))
            assert answers[0] == answers[1], (method, path)
            assert answers[0][0] == 404, (method, path)
    own = (f"subjects/{globex.agent_id}", f"policies/{draft}", f"servers/{server}", f"keys/{globex.key['id']}")
    for path in (*(f"/v1/{one}" for one in own), "/v1/subjects", "/v1/policies", "/v1/catalogue", "/v1/policy"):
        assert operator.refused("GET", path)[0] in {403, 404}, path
    assert globex.admin.must("GET", f"/v1/policies/{draft}")["valid"] is True


def test_a_slash_inside_a_segment_means_nothing(acme):
    for path in ("/v1%2fsubjects", "/v1/subjects%2F", f"/v1/subjects/{acme.agent_id}%2fgrants", "/v1%2Fmodels"):
        assert acme.admin.refused("GET", path)[:2] == (400, "encoded-slash")


def test_the_document_is_for_anybody_and_says_nothing_of_anybody(wire, acme):
    answer = wire.send("GET", "/v1/openapi.json")
    document = json.loads(answer.body)
    assert document["openapi"] == "3.1.0"
    assert {"/v1/tenants/{tenant}", "/v1/chat/completions", "/mcp/{server}"} <= set(document["paths"])
    for own in (acme.id, acme.slug, acme.agent_id, acme.admin_id):
        assert own.encode() not in answer.body
    assert wire.send("GET", "/v1/openapi.json", headers={"if-none-match": answer.headers["etag"]}).status == 304
    assert acme.admin.ask("GET", "/v1/openapi.json").body == answer.body
