"""The AuthZEN door: other systems ask the wall's decision point, over the Authorization API 1.0.

It parses (`wire/authzen.py`), submits and replies. Errors are a status and a message in plain text, as section 11.3 of
the specification has them; a refusal is no error but `decision: false`. The metadata document asks for no credential:
it names this deployment's own addresses and nothing of any tenant. Source: docs/adr/0014-authzen.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Effect
from partywall.decision.principal import Principal
from partywall.errors import Bug, Malformed, NotFound, PartywallError
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.http import Request
from partywall.gateway.http_errors import headers_of, status_of
from partywall.gateway.routes.authzen import AUTHZEN
from partywall.gateway.routes.document import Documented
from partywall.wire import authzen
from partywall.wire.strict_json import parse_json

REQUEST_ID: Final = "x-request-id"
_REQUEST_ID: Final = re.compile(r"[\x20-\x7e]{1,256}", re.ASCII)
_PRIVATE: Final = {"cache-control": "no-store"}
_PATHS: Final = {authzen.EVALUATION_PATH, authzen.EVALUATIONS_PATH, *authzen.SEARCH_PATHS}


class Submits(Protocol):
    """The only road, as a door sees it."""

    async def submit(self, principal: Principal, call: Call) -> Effect: ...


class AuthzenDoor:
    """Parses, submits, replies. base_url: as callers reach this deployment, from its settings."""

    prefixes: tuple[str, ...] = ("/access/v1", authzen.CONFIGURATION_PATH)
    routes: tuple[Documented, ...] = AUTHZEN
    openai_errors = False

    def __init__(self, pipeline: Submits, authenticator: Authenticator, *, base_url: str) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._configuration = msgspec.json.encode(authzen.configuration(base_url))

    async def __call__(self, request: Request) -> None:
        """Answer one request."""
        echoed: dict[str, str] = {}
        try:
            echoed = echo(request)
            if request.path == authzen.CONFIGURATION_PATH:
                await self._describe(request, echoed)
            else:
                await self._answer(request, echoed)
        except Bug:
            raise
        except PartywallError as error:
            status = 400 if error.code == "unsupported-media-type" else status_of(error)
            body, headers = error.public.encode(), headers_of(error) | echoed | _PRIVATE
            await request.reply(status, body, media_type="text/plain; charset=utf-8", headers=headers)

    async def _answer(self, request: Request, echoed: Mapping[str, str]) -> None:
        principal = self._authenticator.authenticate(request.credential())
        request.of(principal.tenant)
        if request.path not in _PATHS:
            raise NotFound("there is nothing here")
        _only(request, "POST")
        body = parse_body(request.header("content-type"), await request.body())
        effect = await self._pipeline.submit(principal, call_of(request.path, body, principal, request.trace_id))
        if not isinstance(effect.body, bytes):
            raise Bug("a decision is a stream")
        await request.reply(200, effect.body, headers=_PRIVATE | dict(echoed))

    async def _describe(self, request: Request, echoed: Mapping[str, str]) -> None:
        _only(request, "GET")
        headers = {"cache-control": "public, max-age=3600"} | dict(echoed)
        await request.reply(200, self._configuration, headers=headers)


def echo(request: Request) -> dict[str, str]:
    """Return the header that repeats the request's own id. Raises: Malformed for one that cannot be repeated."""
    said = request.header(REQUEST_ID)
    if said is None:
        return {}
    if not _REQUEST_ID.fullmatch(said):
        raise Malformed("x-request-id is at most 256 printable ASCII characters", code="bad-request-id")
    return {REQUEST_ID: said}


def parse_body(content_type: str | None, raw: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is. Raises: Malformed."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise Malformed("send application/json", code="unsupported-media-type")
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object", code="bad-request")
    return value


def call_of(path: str, body: dict[str, Any], principal: Principal, trace_id: str) -> Call:
    """Return the call that a body at one of the paths makes. Raises: Malformed."""
    wanted = authzen.SEARCH_PATHS.get(path)
    question: authzen.Question
    if wanted is not None:
        question = authzen.parse_search(body, wanted)
    elif path == authzen.EVALUATION_PATH:
        question = authzen.parse_evaluation(body)
    else:
        question = authzen.parse_evaluations(body)
    return Call(
        action=ActionType.DECISION_EVALUATE if wanted is None else ActionType.DECISION_SEARCH,
        kind="decision",
        name=principal.id,
        payload=question,
        trace_id=trace_id,
        parameters={"api": path.removeprefix("/access/v1/")},
    )


def _only(request: Request, method: str) -> None:
    if request.query:
        raise Malformed("no query parameters are taken here", code="unknown-parameter")
    if request.method != method:
        raise Malformed(f"use {method} here", code="method-not-allowed")
