"""Collections through the real deployment: made by an admin, filled and searched by whom it grants them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.scenarios.platform_fixture import Platform
from tests.scenarios.test_embeddings_door import wait_for_embeddings

from partywall.assurance.shelf import Shelf

UP, SIDE = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]


@pytest.fixture(scope="module")
def sides(platform: Platform) -> Any:
    wait_for_embeddings(platform)
    return platform.two_tenants()


@pytest.fixture(scope="module")
def shelf(platform: Platform, sides: Any) -> Shelf:
    """With the deployment's own model."""
    return Shelf(sides[0], platform.operator_key(), "handbook", local=True)


@pytest.fixture(scope="module")
def plain(platform: Platform, sides: Any) -> Shelf:
    """With vectors of 3 dimensions, which come with the documents."""
    return Shelf(sides[0], platform.operator_key(), "plain")


def ids(answer: Any) -> list[str]:
    assert answer.status == 200, answer.body
    return [one["document"] for one in answer.json()["results"]]


def chunk(id_: str, vector: list[float] = UP, **more: Any) -> dict[str, Any]:
    return {"id": id_, "chunks": [f"text of {id_}"], "vectors": [vector]} | more


def test_text_is_cut_embedded_found_by_meaning_and_given_back_whole(shelf: Shelf) -> None:
    mail = "Mail to our support address is answered within one working day. " * 60
    holiday = "Every employee has thirty days of paid holiday. They lapse in March. " * 60
    written = shelf.put("mail", {"text": mail, "metadata": {"team": "support", "year": 2026}})
    assert written.status == 200, written.body
    [entry] = written.json()["documents"]
    assert entry["chunks"] > 1
    assert (entry["changed"], entry["classification"], entry["trust"]) == (True, "internal", "untrusted")
    shelf.put("holiday", {"text": holiday, "metadata": {"team": "people", "year": 2026}})

    found = shelf.search(text="how long until somebody replies to an e-mail?", limit=1).json()["results"][0]
    assert found["document"] == "mail"
    assert found["chunk"].startswith("mail#")
    assert found["text"] in mail
    assert 0.2 < found["score"] <= 1
    assert found["label"] == {"tenant": shelf.side.tenant, "classification": "internal", "trust": "untrusted"}
    assert set(ids(shelf.search(text="vacation", limit=3))) == {"holiday"}
    assert set(ids(shelf.search(text="vacation", filter={"team": "support"}, limit=50))) == {"mail"}
    assert set(ids(shelf.search(text="vacation", filter={"year": 2026}, limit=50))) == {"mail", "holiday"}
    assert ids(shelf.search(text="vacation", filter={"year": "2026"})) == []
    got = shelf.get("mail").json()
    assert got["text"] == mail
    assert got["metadata"] == {"team": "support", "year": 2026}
    assert len(got["parts"]) == got["chunks"]


def test_the_same_document_again_changes_nothing_and_another_replaces_it_whole(shelf: Shelf) -> None:
    body = {"text": "One short fact.", "metadata": {"n": 1}}
    assert shelf.put("fact", body).json()["documents"][0]["changed"] is True
    first = shelf.get("fact").body
    again = shelf.put("fact", body).json()["documents"][0]
    assert (again["changed"], again["chunks"]) == (False, None)
    assert shelf.get("fact").body == first
    assert shelf.put("fact", body | {"metadata": {"n": 2}}).json()["documents"][0]["changed"] is True
    assert shelf.put("fact", {"chunks": ["a", "b"]}).json()["documents"][0]["chunks"] == 2
    got = shelf.get("fact").json()
    assert ([part["text"] for part in got["parts"]], got["metadata"]) == (["a", "b"], {})
    assert "text" not in got
    assert shelf.delete("fact").json() == {"id": "fact", "deleted": True}
    assert shelf.delete("fact").json() == {"id": "fact", "deleted": False}
    assert shelf.get("fact").status == 404


def test_a_search_is_the_same_bytes_each_time(shelf: Shelf, plain: Shelf) -> None:
    plain.upload([chunk(id_) for id_ in ("c", "a", "b")])
    assert len({shelf.search(text="holiday pay").body for _ in range(5)}) == 1
    assert len({plain.search(vector=UP).body for _ in range(5)}) == 1
    assert ids(plain.search(vector=UP, limit=3)) == ["a", "b", "c"]


def test_documents_are_listed_in_pages_that_hold_when_others_come(platform: Platform, sides: Any) -> None:
    paged = Shelf(sides[0], platform.operator_key(), "paged")
    assert paged.upload([chunk(f"d{at:02}") for at in range(5)]).status == 200
    first = paged.list("?limit=2").json()
    assert [one["id"] for one in first["documents"]] == ["d00", "d01"]
    paged.upload([chunk("c"), chunk("d015")])
    second = paged.list(f"?limit=2&cursor={first['next_cursor']}").json()
    assert [one["id"] for one in second["documents"]] == ["d015", "d02"]
    last = paged.list(f"?limit=100&cursor={second['next_cursor']}").json()
    assert ([one["id"] for one in last["documents"]], last["next_cursor"]) == (["d03", "d04"], None)


def test_one_bad_document_of_a_request_keeps_all_of_them_out(plain: Shelf) -> None:
    plain.delete("good")
    answer = plain.upload([chunk("good"), chunk("bad", [1.0])])
    assert (answer.status, answer.json()["code"]) == (400, "bad-dimensions")
    assert plain.upload([chunk("good"), chunk("good")]).status == 400
    assert plain.upload([chunk("good"), {"id": "bad", "chunks": ["text without a vector"]}]).status >= 400
    assert plain.get("good").status == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad-request"),
        ({"text": "x", "chunks": ["x"]}, "bad-request"),
        ({"text": ""}, "bad-request"),
        ({"chunks": []}, "bad-request"),
        ({"chunks": ["x", ""]}, "bad-request"),
        ({"chunks": ["x"], "vectors": []}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP, UP]}, "bad-request"),
        ({"text": "x", "vectors": [UP]}, "bad-request"),
        ({"chunks": ["x"], "vectors": [[0.0, 0.0, 0.0]]}, "bad-vector"),
        ({"chunks": ["x"], "vectors": [[1e38, 1e38, 1e38]]}, "bad-vector"),
        ({"chunks": ["x"], "vectors": [UP], "metadata": {"a b": 1}}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP], "metadata": {"a": [1]}}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP], "metadata": {"a": "x" * 2_000}}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP], "metadata": {f"n{at}": 1 for at in range(40)}}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP], "classification": 4}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP], "classification": 3}, "above-clearance"),
        ({"chunks": ["x"], "vectors": [UP], "id": "other"}, "bad-request"),
        ({"chunks": ["x"], "vectors": [UP], "operation": "delete"}, "bad-request"),
        ({"chunks": ["x"] * 1_001}, "bad-request"),
    ],
)
def test_what_is_no_document_is_refused_and_nothing_is_stored(plain: Shelf, body: dict[str, Any], code: str) -> None:
    answer = plain.put("never", body)
    assert (answer.status, answer.json()["code"]) == (400, code)
    assert plain.get("never").status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "x", "vector": UP},
        {"text": ""},
        {"text": "x" * 9_000},
        {"vector": []},
        {"vector": [0.0, 0.0, 0.0]},
        {"vector": [1.0, 2.0]},
        {"vector": UP, "limit": 0},
        {"vector": UP, "limit": 51},
        {"vector": UP, "filter": {"tenant": "x"}},
        {"vector": UP, "filter": ["x"]},
        {"vector": UP, "offset": 1},
        {"vector": ["x"]},
    ],
)
def test_what_is_no_search_is_refused(plain: Shelf, body: dict[str, Any]) -> None:
    assert plain.search(**body).status == 400


def test_limits_are_typed(plain: Shelf) -> None:
    many = plain.upload([{"id": f"d{at}", "chunks": ["x"] * 200} for at in range(6)])
    assert (many.status, many.json()["code"]) == (429, "too-many-chunks")
    assert plain.upload([chunk(f"d{at}") for at in range(101)]).status == 400
    assert plain.put("long", {"text": "x" * 1_100_000}).status == 413


def test_above_the_readers_clearance_a_document_is_not_there(platform: Platform, sides: Any) -> None:
    mixed = Shelf(sides[0], platform.operator_key(), "mixed")
    side = mixed.side
    low = side.api("POST", "/v1/subjects", {"kind": "agent", "slug": "low", "clearance": 1})
    grants = [one for one in mixed.grants() if one["action"] != "embed"]
    side.api("PUT", f"/v1/subjects/{low['id']}/grants", {"grants": grants})
    key = side.new_key(low["id"])
    assert mixed.upload([chunk("open", SIDE), chunk("shut", UP, classification=2)]).status == 200
    assert ids(mixed.search(vector=UP)) == ["shut", "open"]
    assert ids(mixed.search(vector=UP, key=key)) == ["open"]
    assert [one["id"] for one in mixed.list(key=key).json()["documents"]] == ["open"]
    assert mixed.get("shut", key=key).status == 404
    assert mixed.delete("shut", key=key).json()["deleted"] is False
    taken = mixed.upload([chunk("shut", SIDE)], key=key)
    assert (taken.status, taken.json()["code"]) == (409, "conflict")
    assert mixed.get("shut").json()["classification"] == "confidential"


def test_searching_by_text_takes_a_grant_to_embed_and_says_so(shelf: Shelf) -> None:
    side = shelf.side
    reads = [one for one in shelf.grants() if one["action"] == "retrieval.search"]
    key = side.new_key(side.subject("no-embed", reads))
    refused = shelf.search(text="holiday", key=key)
    assert (refused.status, refused.json()["code"]) == (403, "denied-embed")
    assert "embed" in refused.json()["detail"]
    vector = [1.0] + [0.0] * 383
    assert shelf.search(vector=vector, key=key).status == 200
    scoped = side.new_key(shelf.agent, scopes=["retrieval.search"])
    assert shelf.search(text="holiday", key=scoped).json()["code"] == "denied-embed"
    assert shelf.put("x", {"text": "x"}, key=scoped).status == 403


def test_a_nested_embed_is_on_record_under_its_search_and_no_text_is(shelf: Shelf) -> None:
    question = "a question that is asked once"
    assert shelf.search(text=question).status == 200
    leaves = shelf.side.api("GET", "/v1/audit/leaves?limit=1000")["leaves"]
    text = json.dumps(leaves)
    assert question not in text
    assert '"collection.search"' in text
    searches = [one for one in leaves if "retrieval.search" in json.dumps(one) and '"by": "text"' in json.dumps(one)]
    embeds = [one for one in leaves if '"embed"' in json.dumps(one)]
    acts = {act for one in searches for act in _strings(one) if act.startswith("act_")}
    assert any(act in acts for one in embeds for act in _strings(one))


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


def test_a_collection_is_made_shown_listed_and_deleted_by_its_admin_alone(platform: Platform, sides: Any) -> None:
    gone = Shelf(sides[0], platform.operator_key(), "gone")
    side, other = sides
    path = f"/v1/collections/{gone.id}"
    shown = side.wire.send("GET", path, credential=side.admin)
    assert (shown.status, shown.json()["slug"], shown.json()["dimensions"]) == (200, "gone", 3)
    assert gone.id in {one["id"] for one in side.api("GET", "/v1/collections?limit=200")["collections"]}
    assert side.wire.send("POST", "/v1/collections", credential=side.admin,
                          body={"slug": "gone", "model": gone.model}).status == 409  # fmt: skip
    for key in (gone.key, side.key, platform.operator_key()):
        for method, body in (("GET", None), ("DELETE", None)):
            assert side.wire.send(method, path, credential=key, body=body).status in {403, 404}
        assert side.wire.send("GET", "/v1/collections", credential=key).status in {403, 404}
    assert side.wire.send("DELETE", path, credential=other.admin).status == 404
    assert gone.upload([chunk("a")]).status == 200
    assert side.wire.send("DELETE", path, credential=side.admin).json() == {"deleted": gone.id}
    assert side.wire.send("GET", path, credential=side.admin).status == 404
    assert gone.search(vector=UP).status == 404
    held = {one["id"]: one for one in side.api("GET", "/v1/subjects?limit=200")["subjects"]}[gone.agent]
    assert gone.id not in json.dumps(held)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"slug": "a", "model": "absent"}, 400),
        ({"slug": "a", "model": "probe-model"}, 400),
        ({"slug": "A", "model": "x"}, 400),
        ({"slug": "a"}, 400),
        ({"slug": "a", "model": "x", "tenant": "ten_" + "a" * 26}, 400),
        ({"slug": "a", "model": "x", "dimensions": 3}, 400),
    ],
)
def test_what_is_no_collection_is_refused(shelf: Shelf, body: dict[str, Any], status: int) -> None:
    answer = shelf.side.wire.send("POST", "/v1/collections", credential=shelf.side.admin, body=body)
    assert answer.status == status


def test_a_neighbour_with_the_same_names_finds_its_own_and_nothing_else(platform: Platform, sides: Any) -> None:
    operator = platform.operator_key()
    mine, theirs = (Shelf(side, operator, "same") for side in sides)
    mine.upload([chunk("a")])
    theirs.upload([chunk("b", SIDE)])
    assert (ids(mine.search(vector=UP)), ids(theirs.search(vector=UP))) == (["a"], ["b"])
    by_id = sides[1].wire.send("POST", f"/v1/collections/{mine.id}/search", credential=theirs.key, body={"vector": UP})
    nobody = sides[1].wire.send(
        "POST", f"/v1/collections/col_{'a' * 26}/search", credential=theirs.key, body={"vector": UP}
    )
    assert (by_id.status, nobody.status) == (404, 404)
    assert by_id.body.replace(by_id.json()["trace"].encode(), b"") == nobody.body.replace(
        nobody.json()["trace"].encode(), b""
    )
    grant = {"grants": [{"action": "ingest", "resource": f"collection/{mine.id}"}]}
    assert sides[1].wire.send(
        "PUT", f"/v1/subjects/{theirs.agent}/grants", credential=sides[1].admin, body=grant
    ).status == 404  # fmt: skip
