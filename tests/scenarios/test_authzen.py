"""Other systems ask a real deployment what the wall would answer: published decisions, errors, pages and the record."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.scenarios.authzen_scenarios import ACTIVE, ALICE, ARCHIVED, BOB, BOSS, CERTIFIED, furnish, todo_cases
from tests.scenarios.platform_fixture import Platform

from partywall.assurance.target import Side
from partywall.assurance.wire import Answer

EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
READ = {"name": "read"}


class Asking:
    """A tenant with both scenarios, its neighbour, and an API gateway that may ask about anybody of it."""

    def __init__(self, side: Side, neighbour: Side) -> None:
        self.side, self.neighbour = side, neighbour
        furnish(side)
        grants = [{"action": action, "resource": "decision/*"} for action in ("decision.evaluate", "decision.search")]
        self.key = side.new_key(side.subject("api-gateway", grants))

    def post(self, path: str, body: Any, *, key: str | None = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.side.wire.send("POST", path, credential=key or self.key, body=body, headers=sent)

    def decide(self, subject: Any, action: Any, resource: Any, **more: Any) -> tuple[bool, dict[str, Any]]:
        answer = self.post(EVALUATION, {"subject": subject, "action": action, "resource": resource, **more})
        assert answer.status == 200, answer.body
        said = answer.json()
        return said["decision"], said["context"]

    def search(self, wanted: str, **body: Any) -> Any:
        answer = self.post(f"/access/v1/search/{wanted}", body)
        assert answer.status == 200, answer.body
        return answer.json()


@pytest.fixture(scope="module")
def asking(platform: Platform) -> Asking:
    return Asking(*platform.two_tenants())


# --- published decisions ----------------------------------------------------------------------------------------------


def test_the_todo_scenario_is_decided_as_published(asking: Asking) -> None:
    cases = todo_cases()
    assert len(cases) == 40
    for who, permission, resource, expected in cases:
        decision, context = asking.decide({"type": "user", "id": who}, {"name": permission}, resource)
        assert decision is expected, (who, permission, resource, context)


def test_the_todo_scenario_in_one_request(asking: Asking) -> None:
    mine, ricks = (
        {"type": "todo", "id": "1", "properties": {"ownerID": f"{who}@the-citadel.com"}} for who in ("morty", "rick")
    )
    body = {
        "subject": {"type": "user", "id": "morty"}, "action": {"name": "can_update_todo"}, "resource": {},
        "context": {}, "evaluations": [{"resource": ricks}, {"resource": mine}],
    }  # fmt: skip
    said = asking.post(EVALUATIONS, body).json()
    assert [one["decision"] for one in said["evaluations"]] == [False, True]
    assert said["evaluations"][0]["context"]["reason"] == "not-the-owner"


def test_the_certification_decides_as_it_must(asking: Asking) -> None:
    for subject, action, resource, expected in CERTIFIED:
        assert asking.decide(subject, action, resource)[0] is expected, (subject, action, resource)
        more = {"context": {"time": "2025-06-27T18:03-07:00"}, "foo": "bar", "future": {"nested": True}}
        assert asking.decide(subject, action, resource, **more)[0] is expected


def test_certified_batches(asking: Asking) -> None:
    def decisions(**body: Any) -> list[bool]:
        answer = asking.post(EVALUATIONS, body)
        assert answer.status == 200, answer.body
        return [one["decision"] for one in answer.json()["evaluations"]]

    assert decisions(subject=BOB, resource=ACTIVE, evaluations=[{"action": READ}, {"action": {"name": "write"}}]) == [
        True, False,
    ]  # fmt: skip
    assert decisions(
        subject=ALICE, action={"name": "write"}, resource=ACTIVE, evaluations=[{}, {"resource": ARCHIVED}]
    ) == [True, False]
    everything = {"evaluations_semantic": "execute_all"}
    assert decisions(subject=ALICE, action=READ, options=everything, evaluations=[{"resource": ACTIVE}, {}]) == [
        True, False,
    ]  # fmt: skip
    write = {"name": "write"}
    three = [{"resource": ACTIVE}, {"resource": ARCHIVED}, {"resource": ACTIVE}]
    assert decisions(subject=ALICE, action=write, evaluations=three) == [True, False, True]
    for semantic, expected in (("deny_on_first_deny", [True, False]), ("permit_on_first_permit", [True])):
        options = {"evaluations_semantic": semantic}
        assert decisions(subject=ALICE, action=write, evaluations=three, options=options) == expected
    for evaluations in ({}, {"evaluations": []}):
        answer = asking.post(EVALUATIONS, {"subject": ALICE, "action": READ, "resource": ACTIVE} | evaluations)
        assert answer.json()["decision"] is True


def test_certified_searches(asking: Asking) -> None:
    def ids(found: Any) -> set[str]:
        return {one.get("id", one.get("name")) for one in found["results"]}

    for id_ in ({}, {"id": "alice"}):
        found = asking.search("subject", subject={"type": "user"} | id_, action=READ, resource=ACTIVE)
        assert {"alice", "bob"} == ids(found)
        assert {one["type"] for one in found["results"]} == {"user"}
    assert ids(asking.search("subject", subject={"type": "user"}, action={"name": "write"}, resource=ARCHIVED)) == {
        "bob"
    }
    assert ids(asking.search("resource", subject=ALICE, action=READ, resource={"type": "record"})) == {
        "record-1", "record-2",
    }  # fmt: skip
    found = asking.search("resource", subject=BOSS, action={"name": "write"}, resource={"type": "record"})
    assert "record-2" in ids(found)
    assert {"read", "write"} <= ids(asking.search("action", subject=ALICE, resource=ACTIVE))
    assert "write" in ids(asking.search("action", subject=BOSS, resource=ARCHIVED))


# --- our own resources ------------------------------------------------------------------------------------------------


def test_our_own_resources_are_decided_as_the_road_decides_them(asking: Asking) -> None:
    side, worker = asking.side, {"type": "agent", "id": "worker"}
    tool, model = {"type": "tool", "id": "probe-tools/echo"}, {"type": "model", "id": "probe-model"}
    assert asking.decide(worker, {"name": "tool.call"}, tool)[0]
    assert asking.decide(worker, {"name": "can_use"}, model)[0]
    assert asking.decide(worker | {"id": side.agent}, {"name": "read"}, {"type": "memory", "id": "worker"})[0]
    decision, context = asking.decide({"type": "agent", "id": "bystander"}, {"name": "call"}, tool)
    assert not decision
    assert context["reason"] == "not-granted"
    assert context["advice"].startswith("Ask a tenant administrator")
    assert re.fullmatch(r"[1-9][0-9]*-[0-9a-f]{12}", context["policy_revision"])
    for scopes, expected in ((["tool.call"], True), (["memory"], False), ("tool.call", False)):
        assert asking.decide(worker | {"properties": {"scopes": scopes}}, {"name": "call"}, tool)[0] is expected
    for user in ("rick", "nobody", 7):
        assert not asking.decide(worker | {"properties": {"on_behalf_of": user}}, {"name": "call"}, tool)[0]
    label = {"label": {"classification": 3}}
    assert asking.decide(worker, {"name": "call"}, tool, context=label)[1]["reason"] == "above-clearance"


def test_what_is_suspended_is_denied_at_once(asking: Asking) -> None:
    side = asking.side
    grants = [{"action": "tool.call", "resource": "tool/probe-tools/echo"}]
    agent = side.subject("sleepy", grants)
    asked = ({"type": "agent", "id": "sleepy"}, {"name": "tool.call"}, {"type": "tool", "id": "probe-tools/echo"})
    assert asking.decide(*asked)[0]
    side.api("POST", f"/v1/subjects/{agent}/suspend")
    assert asking.decide(*asked)[1]["reason"] == "subject-suspended"


# --- who may ask ------------------------------------------------------------------------------------------------------


def test_who_may_ask(asking: Asking, platform: Platform) -> None:
    side = asking.side
    about_worker = {
        "subject": {"type": "agent", "id": "worker"},
        "action": READ,
        "resource": {"type": "memory", "id": "worker"},
    }
    assert asking.post(EVALUATION, about_worker, key=side.admin).json()["decision"] is True
    assert asking.post(EVALUATION, about_worker, key=side.key).json()["decision"] is True
    for key in (side.bystander_key, platform.operator_key()):
        answer = asking.post(EVALUATION, about_worker, key=key)
        assert answer.status == 403, answer.body
        assert answer.headers["content-type"].startswith("text/plain")
    both = {"evaluations": [about_worker, about_worker | {"subject": {"type": "agent", "id": "bystander"}}]}
    assert asking.post(EVALUATIONS, both, key=side.key).status == 403
    assert asking.post("/access/v1/search/resource", about_worker, key=side.key).status == 200
    assert asking.post("/access/v1/search/subject", about_worker, key=side.key).status == 403
    answer = side.wire.send("POST", EVALUATION, credential="pw_wrong", body=about_worker)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_asking_about_oneself_is_answered_for_the_credential_that_asks(asking: Asking) -> None:
    side = asking.side
    narrow = side.new_key(side.agent, scopes=["memory", "decision.evaluate"])
    tool = {"subject": {"type": "agent", "id": "worker"}, "action": {"name": "call"}}
    tool |= {"resource": {"type": "tool", "id": "probe-tools/echo"}}
    assert asking.post(EVALUATION, tool, key=side.key).json()["decision"] is True
    assert asking.post(EVALUATION, tool, key=narrow).json()["context"]["reason"] == "out-of-scope"


# --- a neighbour ------------------------------------------------------------------------------------------------------


def test_a_neighbours_and_nobodys_look_the_same(asking: Asking) -> None:
    b = asking.neighbour
    nobody = {"agent": "agt_" + "a" * 26, "model": "mdl_" + "a" * 26, "server": "mcp_" + "a" * 26}
    worker = {"type": "agent", "id": "worker"}
    pairs = [
        ({"type": "agent", "id": b.agent}, READ, ACTIVE, {"type": "agent", "id": nobody["agent"]}, READ, ACTIVE),
        *(
            (worker, {"name": word}, {"type": kind, "id": theirs}, worker, {"name": word}, {"type": kind, "id": none})
            for word, kind, theirs, none in (
                ("use", "model", b.model, nobody["model"]),
                ("call", "tool", f"{b.server}/echo", f"{nobody['server']}/echo"),
                ("read", "memory", b.agent, nobody["agent"]),
                ("operator.agent", "subject", b.agent, nobody["agent"]),
                ("fly", "tool", "probe-tools/echo", "nowhere"),
                ("fly", "nothing", "x", "y"),
            )
        ),
    ]
    seen = set()
    for pair in pairs:
        for subject, action, resource in (pair[:3], pair[3:]):
            body = {"subject": subject, "action": action, "resource": resource}
            seen.add(asking.post(EVALUATION, body).body)
    assert len(seen) == 1
    assert json.loads(seen.pop())["context"]["reason"] == "not-found"


def test_searches_find_nothing_of_a_neighbour(asking: Asking) -> None:
    b = asking.neighbour
    found = [
        asking.search("subject", subject={"type": "agent"}, action=READ, resource={"type": "memory", "id": "worker"}),
        asking.search(
            "resource", subject={"type": "agent", "id": "worker"}, action={"name": "use"}, resource={"type": "model"}
        ),
        asking.search("subject", subject={"type": "agent"}, action=READ, resource={"type": "memory", "id": b.agent}),
        asking.search("action", subject={"type": "agent", "id": b.agent}, resource={"type": "model", "id": b.model}),
    ]
    assert [len(one["results"]) for one in found] == [1, 1, 0, 0]
    assert b.agent not in json.dumps(found)


# --- the protocol -----------------------------------------------------------------------------------------------------


def test_pages(asking: Asking) -> None:
    asked = {"subject": {"type": "user"}, "action": {"name": "can_read_todos"}, "resource": {"type": "todo", "id": "1"}}
    whole = asking.search("subject", **asked)
    assert [one["id"] for one in whole["results"]] == ["beth", "jerry", "morty", "rick", "summer"]
    assert whole["page"] == {"count": 5, "next_token": ""}
    pages, page = [], {"limit": 2}
    while True:
        found = asking.search("subject", **asked, page=page)
        pages.append([one["id"] for one in found["results"]])
        if not found["page"]["next_token"]:
            break
        page = {"token": found["page"]["next_token"]}
    assert [one for some in pages for one in some] == ["beth", "jerry", "morty", "rick", "summer"]
    assert max(map(len, pages)) == 2
    for wrong in (page | {"limit": 3}, {"token": "x"}, {"token": page["token"][:-4] + "AAAA"}, {"limit": -1}):
        assert asking.post("/access/v1/search/subject", asked | {"page": wrong}).status == 400
    other = asked | {"action": {"name": "can_create_todo"}}
    assert asking.post("/access/v1/search/subject", other | {"page": page}).status == 400


@pytest.mark.parametrize("missing", ["subject", "action", "resource"])
def test_what_is_missing_is_a_bad_request(asking: Asking, missing: str) -> None:
    whole: dict[str, Any] = {"subject": ALICE, "action": READ, "resource": ACTIVE}
    incomplete = [{name: value for name, value in whole.items() if name != missing}]
    incomplete += [
        whole | {missing: {k: v for k, v in whole[missing].items() if k != field}} for field in whole[missing]
    ]
    incomplete += [whole | {missing: "alice"}, whole | {missing: dict.fromkeys(whole[missing], 123)}]
    for body in incomplete:
        for path in (EVALUATION, EVALUATIONS):
            answer = asking.post(path, body, x_request_id="one-of-mine")
            assert answer.status == 400, body
            assert answer.headers["x-request-id"] == "one-of-mine"
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"


def test_bytes_that_are_no_request(asking: Asking) -> None:
    send = asking.side.wire.send
    for raw in (b"", b"{", b"[]", b'{"subject":{"type":"user","type":"agent","id":"a"}}', b"\xff"):
        assert send("POST", EVALUATION, credential=asking.key, raw=raw).status == 400
    headers = {"content-type": "text/plain"}
    body = {"subject": ALICE, "action": READ, "resource": ACTIVE}
    assert send("POST", EVALUATION, credential=asking.key, body=body, headers=headers).status == 400
    assert send("GET", EVALUATION, credential=asking.key).status == 405
    assert send("POST", EVALUATION + "?a=1", credential=asking.key, body=body).status == 400
    assert send("POST", "/access/v1/other", credential=asking.key, body=body).status == 404
    many = {"subject": ALICE, "action": READ, "resource": ACTIVE, "evaluations": [{}] * 101}
    assert asking.post(EVALUATIONS, many).status == 400
    assert (
        asking.post(EVALUATIONS, body | {"evaluations": [{}], "options": {"evaluations_semantic": "some"}}).status
        == 400
    )


def test_the_request_id_comes_back(asking: Asking) -> None:
    body = {"subject": ALICE, "action": READ, "resource": ACTIVE}
    assert asking.post(EVALUATION, body, x_request_id="bfe9eb29-ab87").headers["x-request-id"] == "bfe9eb29-ab87"
    assert "x-request-id" not in asking.post(EVALUATION, body).headers
    assert asking.post(EVALUATION, body, x_request_id="x" * 257).status == 400


def test_the_configuration_names_this_deployment_whatever_the_host_header_says(asking: Asking) -> None:
    send = asking.side.wire.send
    plain = send("GET", "/.well-known/authzen-configuration")
    assert plain.status == 200
    said = plain.json()
    assert said["access_evaluation_endpoint"] == said["policy_decision_point"] + EVALUATION
    assert {"access_evaluations_endpoint", "search_subject_endpoint", "search_resource_endpoint"} <= set(said)
    assert send("POST", "/.well-known/authzen-configuration", body={}).status == 405


def test_every_question_is_on_record_with_its_answer(asking: Asking) -> None:
    asking.post(
        EVALUATIONS,
        {"subject": ALICE, "action": {"name": "write"}, "evaluations": [{"resource": ACTIVE}, {"resource": ARCHIVED}]},
    )
    leaves = asking.side.wire.send("GET", "/v1/audit/leaves?limit=1000", credential=asking.side.admin).body
    start, found = 0, b""
    while True:
        answer = asking.side.wire.send(
            "GET", f"/v1/audit/leaves?limit=1000&start={start}", credential=asking.side.admin
        )
        found += answer.body
        if "partywall-next-start" not in answer.headers:
            break
        start = int(answer.headers["partywall-next-start"])
    text = found.replace(b" ", b"").decode()
    assert leaves
    assert '"permitted":"10"' in text
    assert '"verdict":"denyarchived"' in text
    assert '"action":"decision.evaluate"' in text
    assert "archived-secret" not in text
