"""The memory of agents: read, written, listed and deleted with the neighbour's agent as its owner."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from demo.doors.attempt import Request, Try, by_name
from demo.tenants import Tenant

MISSING_AGENT: Final = "agt_" + "a" * 26
_VERBS: Final = (
    ("read its secret", "GET", "/secret", None),
    ("overwrite its secret", "PUT", "/secret", {"value": "mine now"}),
    ("delete its secret", "DELETE", "/secret", None),
    ("list its memory", "GET", "", None),
)


def tries(a: Tenant, b: Tenant) -> Iterator[Try]:
    """Each verb on the neighbour's agent's memory."""
    for tried, method, key, body in _VERBS:
        real, twin = by_name(partial(_of, a.key, method, key, body), b.agent, MISSING_AGENT)
        yield Try(tried=tried, request=real, twin=twin, refused=(404,))


def _of(credential: str, method: str, key: str, body: Any, owner: str) -> Request:
    path = f"/v1/memory{key}?owner={owner}"
    return Request(method=method, path=path, body=body, credential=credential, acts="memory")
