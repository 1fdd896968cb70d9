"""Attacks through collections: whose documents, whose labels, which agent. Source: attacks.md RAG-4, RAG-5, AGENT-1."""

from __future__ import annotations

from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.shelf import Shelf
from partywall.assurance.target import Target
from partywall.assurance.wire import Answer

_UP, _SIDE, _BETWEEN = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]


def _document(id_: str, vector: list[float], text: str, **metadata: Any) -> dict[str, Any]:
    return {"id": id_, "chunks": [text], "vectors": [vector], "metadata": metadata}


@probe(
    "RAG-4",
    "what a search finds, its order, scores and pages are the same whatever a neighbour stores",
    control="a leaf per collection",
)
def undisturbed(target: Target) -> str:
    mine, theirs = (Shelf(side, target.operator) for side in (target.a, target.b))
    documents = [_document("one", _UP, "mine"), _document("two", _SIDE, "mine", team="red"), _document("tie", _UP, "m")]
    expect(mine.upload(documents).status == 200, "the documents were not stored")

    def view() -> list[bytes]:
        asked: list[dict[str, Any]] = [
            {"vector": _UP},
            {"vector": _BETWEEN, "limit": 2},
            {"vector": _SIDE, "filter": {"team": "red"}},
            {"vector": _UP, "filter": {"team": "blue"}},
        ]
        answers = [mine.search(**one) for one in asked]
        answers += [
            mine.list(),
            mine.list("?limit=2"),
            mine.list("?limit=2&cursor=tie"),
            mine.get("one"),
            mine.get("x"),
        ]
        return [_without_trace(answer) for answer in answers]

    before = view()
    expect(b"mine" in before[0], "the search finds nothing, so nothing was proved")
    canary = target.b.canary
    more = [_document(f"more-{at}", _UP, canary, team="blue") for at in range(20)]
    loud = theirs.upload([*(_document(one["id"], _UP, canary, team="red") for one in documents), *more])
    expect(loud.status == 200, "the neighbour's documents were not stored")
    theirs.search(vector=_UP)
    after = view()
    expect(not any(canary.encode() in body for body in after), "a neighbour's text came back")
    for one, two in zip(before, after, strict=True):
        expect(one == two, f"a neighbour's documents changed an answer: {two[:200]!r}")
    return f"{len(before)} answers byte for byte the same beside 23 documents of a neighbour"


@probe(
    "RAG-5",
    "an upload that says itself whose it is, or how far to trust it, is refused and on record",
    control="labels come from the wall",
)
def forged_labels(target: Target) -> str:
    shelf, b = Shelf(target.a, target.operator, "forged"), target.b
    plain = _document("forged", _UP, "forged")
    forged: list[dict[str, Any]] = [
        plain | {"tenant": b.tenant},
        plain | {"trust": "trusted"},
        plain | {"label": {"tenant": b.tenant, "trust": "trusted"}},
        plain | {"owner": b.agent},
        plain | {"metadata": {"tenant": b.tenant}},
        plain | {"metadata": {"Trust": "trusted"}},
        plain | {"classification": -1},
        plain | {"classification": 3},
    ]
    for body in forged:
        answer = shelf.upload([body])
        expect(
            answer.status == 400,
            f"an upload with {sorted(set(body) - set(plain)) or body['metadata']}: {answer.brief()}",
        )
    expect(shelf.get("forged").status == 404, "something of a refused upload was stored")
    leaves = target.a.api("GET", "/v1/audit/leaves?start=0&limit=1000")["leaves"]
    recorded = str(leaves).count(shelf.id)
    expect(recorded >= len(forged), f"{recorded} records of {len(forged)} refused uploads")
    expect(shelf.upload([plain]).status == 200, "an honest upload was refused")
    [hit] = shelf.search(vector=_UP).json()["results"]
    expect(hit["label"] == {"tenant": target.a.tenant, "classification": "internal", "trust": "untrusted"}, str(hit))
    return f"{len(forged)} forged labels refused and recorded; an honest upload is its own tenant's, and untrusted"


@probe(
    "AGENT-1c",
    "inside one tenant an agent cannot reach a collection that it was not granted",
    control="agent grants",
)
def agent_to_collection(target: Target) -> str:
    a = target.a
    shelf = Shelf(a, target.operator, "granted")
    expect(shelf.upload([_document("diary", _UP, a.canary)]).status == 200, "the granted agent could not write")
    expect(a.canary.encode() in shelf.search(vector=_UP).body, "the granted agent could not search")
    key = a.bystander_key
    attempts = {
        "search": shelf.search(vector=_UP, key=key),
        "search as admin": shelf.search(vector=_UP, key=a.admin),
        "read": shelf.get("diary", key=key),
        "list": shelf.list(key=key),
        "replace": shelf.put("diary", {"chunks": ["x"], "vectors": [_UP]}, key=key),
        "delete": shelf.delete("diary", key=key),
        "by id": a.wire.send("POST", f"/v1/collections/{shelf.id}/search", credential=key, body={"vector": _UP}),
    }
    for name, answer in attempts.items():
        expect(answer.status in {403, 404}, f"{name}: {answer.brief()}")
        expect(a.canary.encode() not in answer.body, f"{name}: the document came back")
    expect(a.canary.encode() in shelf.get("diary").body, "the document was changed")
    return f"{len(attempts)} attempts without a grant refused"


def _without_trace(answer: Answer) -> bytes:
    """Return a reply without the one name that each request has of its own."""
    parsed = answer.json()
    if isinstance(parsed, dict) and "trace" in parsed:
        return answer.body.replace(str(parsed["trace"]).encode(), b"")
    return answer.body
