"""Attacks through the decision point: whose subjects and resources it speaks of. Source: attacks.md, AZ-1."""

from __future__ import annotations

from typing import Any

from partywall.assurance.probe import expect, probe
from partywall.assurance.target import Side, Target
from partywall.assurance.wire import Answer

_NOBODY = "a" * 26
_USE: dict[str, Any] = {"name": "model.request"}


@probe(
    "AZ-1",
    "the decision point neither evaluates nor lists a neighbour's subjects and resources",
    control="decisions of one cell",
)
def only_its_own(target: Target) -> str:
    a, b = target.a, target.b
    ours = _evaluate(a, a.agent, a.model)
    expect(ours.status == 200 and ours.json()["decision"] is True, f"its own agent's own model: {ours.brief()}")
    answers = {
        _evaluate(a, subject, model).body
        for subject, model in (
            (b.agent, b.model),
            (f"agt_{_NOBODY}", f"mdl_{_NOBODY}"),
            (b.agent, a.model),
            (a.agent, b.model),
            (a.agent, f"mdl_{_NOBODY}"),
        )
    }
    expect(len(answers) == 1, "a neighbour's and nobody's are told apart")
    expect(b'"decision":false' in answers.pop(), "a neighbour's agent or model was decided about")
    found = [
        _search(a, "subject", subject={"type": "agent"}, action=_USE, resource={"type": "model", "id": a.model}),
        _search(a, "subject", subject={"type": "agent"}, action=_USE, resource={"type": "model", "id": b.model}),
        _search(a, "resource", subject=_agent(a.agent), action=_USE, resource={"type": "model"}),
        _search(a, "resource", subject=_agent(b.agent), action=_USE, resource={"type": "model"}),
        _search(a, "action", subject=_agent(b.agent), resource={"type": "model", "id": b.model}),
    ]
    expect([len(one) for one in found] == [1, 0, 1, 0, 0], f"searches found {[len(one) for one in found]}")
    return "5 evaluations alike to the byte, 5 searches with nothing of the neighbour"


def _agent(subject: str) -> dict[str, str]:
    return {"type": "agent", "id": subject}


def _evaluate(side: Side, subject: str, model: str) -> Answer:
    body = {"subject": _agent(subject), "action": _USE, "resource": {"type": "model", "id": model}}
    return side.wire.send("POST", "/access/v1/evaluation", credential=side.admin, body=body)


def _search(side: Side, wanted: str, **body: Any) -> list[Any]:
    found = side.api("POST", f"/access/v1/search/{wanted}", body)["results"]
    return list(found)
