"""What an attempt is: one request of one tenant that must be refused, its twin, and how the answer is judged."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from demo.tenants import Tenant
from partywall.assurance.wire import Answer, Wire

NOBODY: Final = "nobody"
"""A slug that no tenant uses."""
VARYING_HEADERS: Final = frozenset({"date"})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. acts: the action type that the ledger must show for it, when an agent asks and the wall decides."""

    method: str = "POST"
    path: str
    body: Any = None
    raw: bytes | None = None
    credential: str | None
    headers: dict[str, str] = {}
    acts: str = ""


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """What is tried. refused: the statuses that refuse (a 200 only with an error in it).

    twin: the same request with a name that nobody has; its answer must be the same to the byte.
    until_s: tried again until it is refused, at most this long (revocation may take 5 s).
    answered: it asks only of one's own side, so it is answered: the answer must tell nothing of the neighbour.
    """

    tried: str
    request: Request
    refused: tuple[int, ...]
    twin: Request | None = None
    until_s: float = 0.0
    answered: bool = False


class Door(msgspec.Struct, frozen=True):
    """A way in. layer: what it guards; here: whether this version serves it; alone: needs no neighbour."""

    name: str
    layer: str
    tries: Callable[[Tenant, Tenant], Iterator[Try]]
    here: Callable[[Tenant], bool] = lambda _tenant: True
    alone: bool = False


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as it went. reason: as the refused caller read it; same: whether its twin's answer was the same.

    act, leaf: the denial's action and its place in the attacker's own log; '' and None when it was refused before it
    became an action of anyone (no valid credential, or not a valid request).
    """

    door: str
    layer: str
    who: str
    whose: str
    tried: str
    status: int
    code: str
    reason: str
    held: bool
    same: bool | None
    at_s: float
    trace: str
    act: str = ""
    leaf: int | None = None


def by_name(build: Callable[[str], Request], real: str, missing: str) -> tuple[Request, Request]:
    """Return a request that names something of the neighbour's, and its twin that names nothing."""
    return build(real), build(missing)


def attempt(door: Door, tried: Try, a: Tenant, b: Tenant) -> Attempt:
    """Make one attempt and judge it: refused, nothing told of the neighbour, and no different from a missing name."""
    trace = secrets.token_hex(16)
    at_s, deadline = time.time(), time.monotonic() + tried.until_s
    answer = _send(a, tried.request, trace)
    while tried.until_s and not _refuses(answer, tried.refused) and time.monotonic() < deadline:
        time.sleep(0.05)
        answer = _send(a, tried.request, trace)
    same = None if tried.twin is None else _bytes(answer) == _bytes(_send(a, tried.twin, trace))
    told = b is not a and any(secret in answer.body for secret in b.secrets)
    code, reason = explain(answer)
    refused = _refuses(answer, tried.refused)
    if tried.answered:
        refused, code, reason = answer.status == 200, "", "answered from its own side: nothing of the neighbour in it"
    return Attempt(
        door=door.name,
        layer=door.layer,
        who=a.slug,
        whose=b.slug,
        tried=tried.tried,
        status=answer.status,
        code=code,
        reason="it told something of the neighbour" if told else reason,
        held=refused and not told and same is not False,
        same=same,
        at_s=at_s,
        trace=trace,
    )


def _send(a: Tenant, request: Request, trace: str) -> Answer:
    if request.acts:
        a.made[request.acts] += 1
    headers = {"traceparent": f"00-{trace}-{trace[:16]}-00", **request.headers}
    wire: Wire = a.wire
    return wire.send(
        request.method,
        request.path,
        credential=request.credential,
        body=request.body,
        raw=request.raw,
        headers=headers,
    )


def _refuses(answer: Answer, statuses: tuple[int, ...]) -> bool:
    return answer.status in statuses and (answer.status != 200 or _holds_refusal(answer.json()))


def _holds_refusal(parsed: Any) -> bool:
    """Whether a 200 says no: a JSON-RPC error, a tool's error result, a negative decision, an empty search."""
    if not isinstance(parsed, dict):
        return False
    if parsed.get("decision") is False or parsed.get("results") == []:
        return True
    result = parsed.get("result")
    return "error" in parsed or (isinstance(result, dict) and bool(result.get("isError")))


def _bytes(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in VARYING_HEADERS)
    return answer.status, headers, answer.body


def explain(answer: Answer) -> tuple[str, str]:
    """Return (code, reason) of a refusal in any of the doors' forms: RFC 9457, OpenAI, JSON-RPC, a tool's result."""
    parsed = answer.json()
    if not isinstance(parsed, dict):
        return "", answer.body[:200].decode(errors="replace")
    error, result = parsed.get("error"), parsed.get("result")
    if isinstance(error, dict):
        data = error.get("data")
        code = data.get("code") if isinstance(data, dict) else error.get("code")
        return str(code or error.get("code") or ""), str(error.get("message", ""))
    if isinstance(error, str):
        return error, str(parsed.get("error_description", ""))
    if isinstance(result, dict):
        about = next((value for value in (result.get("_meta") or {}).values() if isinstance(value, dict)), {})
        return str(about.get("code") or "error-result"), _text(result)
    if "decision" in parsed or "results" in parsed:
        return _decided(parsed)
    return str(parsed.get("code", "")), str(parsed.get("detail", "") or json.dumps(parsed)[:200])


def _decided(parsed: dict[str, Any]) -> tuple[str, str]:
    if parsed.get("results") == []:
        return "no results", "nobody and nothing is found"
    context = parsed.get("context")
    reason = context.get("reason") if isinstance(context, dict) else None
    return f"decision: {str(parsed.get('decision')).lower()}", str(reason or "no")


def _text(result: dict[str, Any]) -> str:
    return " ".join(str(part.get("text", "")) for part in result.get("content", []) if isinstance(part, dict))
