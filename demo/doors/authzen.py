"""The decision point (AuthZEN 1.0): questions about the neighbour's subjects and resources."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from demo.doors.attempt import NOBODY, Request, Try, by_name
from demo.doors.memory import MISSING_AGENT
from demo.doors.openai import MISSING_MODEL
from demo.tenants import Tenant

EVALUATION: Final = "/access/v1/evaluation"


def here(a: Tenant) -> bool:
    """Whether a tenant's own question about itself is answered."""
    own = _may(a.key, a.agent, "memory", "memory", a.agent)
    a.made["decision.evaluate"] += 1
    answer = a.wire.send("POST", own.path, credential=a.key, body=own.body)
    return answer.status == 200 and bool(answer.json()["decision"])


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """May its agent do something, may mine use what is its, who may use what is its."""
    real, twin = by_name(partial(_its_agent, a.key), b.agent, MISSING_AGENT)
    yield Try(tried="what its agent may do", request=real, twin=twin, refused=(200, 404))
    resources = (
        ("its tool server", "tool", f"{b.server_slug}/{b.safe_tool}", f"{NOBODY}/{b.safe_tool}"),
        ("its model, by id", "model", b.model or MISSING_MODEL, MISSING_MODEL),
        ("its agent's memory", "memory", b.agent, MISSING_AGENT),
    )
    for what, kind, name, missing in resources:
        action = {"tool": "tool.call", "model": "model.request"}.get(kind, kind)
        real, twin = by_name(partial(_may, a.key, a.agent, action, kind), name, missing)
        yield Try(tried=f"whether its own agent may use {what}", request=real, twin=twin, refused=(200, 404))
        real, twin = by_name(partial(_who_may, a.key, action, kind), name, missing)
        yield Try(tried=f"who may use {what}", request=real, twin=twin, refused=(200, 404))


def _its_agent(key: str, agent: str) -> Request:
    return _may(key, agent, "memory", "memory", agent)


def _may(key: str, agent: str, action: str, kind: str, name: str) -> Request:
    body = {
        "subject": {"type": "agent", "id": agent},
        "action": {"name": action},
        "resource": {"type": kind, "id": name},
    }
    return Request(path=EVALUATION, body=body, credential=key, acts="decision.evaluate")


def _who_may(key: str, action: str, kind: str, name: str) -> Request:
    body: dict[str, Any] = {
        "subject": {"type": "agent"},
        "action": {"name": action},
        "resource": {"type": kind, "id": name},
    }
    return Request(path="/access/v1/search/subject", body=body, credential=key, acts="decision.search")
