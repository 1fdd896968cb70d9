"""The REST door: operators and tenant-admins at work, audit reads, memory, public keys and the first key.

A route says what is asked (`rest_routes.py`); this module reads the bytes, knows who asks, and submits. Two paths ask
for no credential: `/.well-known/jwks.json` (public keys, nothing of any tenant) and `/v1/bootstrap`, which carries its
own and is few a minute; it takes the road as `system:bootstrap`, so it is on record before anything happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Clock, Directory, Effect
from partywall.decision.principal import Kind, Principal
from partywall.errors import Bug, LimitExceeded, Malformed, Unavailable
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.http import Request
from partywall.gateway.rest_routes import ROUTES, Asked, Route, Router, prefixes_of, refuse_unknown
from partywall.gateway.routes.document import PUBLIC, Described, Doc, Documented
from partywall.gateway.routes.request import conditions_of
from partywall.wire import replies
from partywall.wire.conditions import ANY, etag_of, parse_tags
from partywall.wire.jwks import jwks
from partywall.wire.strict_json import parse_json

JWKS_PATH: Final = "/.well-known/jwks.json"
BOOTSTRAP_PATH: Final = "/v1/bootstrap"
BOOTSTRAP_BURST: Final = 5
BOOTSTRAP_REFILL_S: Final = 12.0
QUERY_LIMIT_BYTES: Final = 1024
SELF: Final = "self"
JWKS_LIFE_S: Final = 60
_PRIVATE: Final = {"cache-control": "no-store"}

PREFIXES: Final = (JWKS_PATH, BOOTSTRAP_PATH, *prefixes_of(ROUTES))


OPEN: Final = (
    Described(
        "GET",
        JWKS_PATH,
        Doc(
            summary="Read the public keys that verify access tokens",
            tag="keys",
            who=PUBLIC,
            reply=replies.PublicKeys,
            media_type="application/jwk-set+json",
        ),
    ),
    Described(
        "POST",
        BOOTSTRAP_PATH,
        Doc(
            summary="Exchange the one-time bootstrap token for the first operator's key",
            tag="keys",
            who=PUBLIC,
            reply=replies.FirstKey,
            request=replies.BootstrapToken,
        ),
    ),
)
"""Paths that this door finds by itself."""


class Submitter(Protocol):
    """The road (`gateway/pipeline.py`)."""

    async def submit(self, principal: Principal, call: Call) -> Effect: ...


class Allowance:
    """So many at once, and one more every refill_s: for a door that anybody may knock on."""

    def __init__(self, clock: Clock, *, burst: int, refill_s: float) -> None:
        self._clock = clock
        self._burst = float(burst)
        self._refill_s = refill_s
        self._left = self._burst
        self._at_s = clock()

    def take(self) -> None:
        """Use one. Raises: LimitExceeded when there is none."""
        now_s = self._clock()
        self._left = min(self._burst, self._left + max(0.0, now_s - self._at_s) / self._refill_s)
        self._at_s = now_s
        if self._left < 1.0:
            raise LimitExceeded("too many attempts", code="too-many-attempts", retry_after_s=self._refill_s)
        self._left -= 1.0


class RestDoor:
    """Parses, submits, replies. Nothing that it read from a request names a tenant."""

    prefixes = PREFIXES
    routes: tuple[Documented, ...] = (*OPEN, *ROUTES)
    openai_errors = False

    def __init__(
        self, pipeline: Submitter, authenticator: Authenticator, directory: Directory, *, region: str, clock: Clock
    ) -> None:
        self._pipeline = pipeline
        self._authenticator = authenticator
        self._directory = directory
        self._region = region
        self._clock = clock
        self._router: Router[Route] = Router(ROUTES)
        self._bootstraps = Allowance(clock, burst=BOOTSTRAP_BURST, refill_s=BOOTSTRAP_REFILL_S)

    async def __call__(self, request: Request) -> None:
        if request.path == JWKS_PATH:
            await self._publish_keys(request)
        elif request.path == BOOTSTRAP_PATH:
            await self._bootstrap(request)
        else:
            principal = self._authenticator.authenticate(request.credential())
            request.of(principal.tenant)
            route, names = self._router.match(request.method, request.path)
            call = route.call(await _asked(request, route, names))
            if call.name == SELF:
                call = msgspec.structs.replace(call, name=principal.id)
            effect = await self._pipeline.submit(principal, call)
            await _reply(request, effect, tagged=route.doc.etag)

    async def _publish_keys(self, request: Request) -> None:
        _only(request, "GET")
        if self._directory.age_s() == float("inf"):
            raise Unavailable("the keys are not loaded yet", retry_after_s=1.0)
        body = msgspec.json.encode(jwks(self._directory.verification_keys()))
        await request.reply(
            200,
            body,
            media_type="application/jwk-set+json",
            headers={"cache-control": f"public, max-age={JWKS_LIFE_S}"},
        )

    async def _bootstrap(self, request: Request) -> None:
        _only(request, "POST")
        self._bootstraps.take()
        body = parse_body(request.header("content-type"), await request.body())
        token = (body or {}).get("token")
        if body is None or set(body) != {"token"} or not isinstance(token, str) or not 0 < len(token) <= 256:
            raise Malformed('the body is {"token": …}', code="bad-request")
        call = Call(
            action=ActionType.OPERATOR_KEY,
            kind="bootstrap",
            name="*",
            payload={"token": token},
            trace_id=request.trace_id,
            parameters={"operation": "bootstrap"},
        )
        await _reply(request, await self._pipeline.submit(self._first(), call))

    def _first(self) -> Principal:
        """Return who asks before there is anybody: the token in the payload is what the issuer then checks."""
        return Principal(
            kind=Kind.SYSTEM,
            id="system:bootstrap",
            region=self._region,
            tenant=None,
            credential="bootstrap",
            expires_at_s=self._clock() + 60.0,
            scopes=frozenset({ActionType.OPERATOR_KEY}),
        )


async def _asked(request: Request, route: Route, names: Mapping[str, str]) -> Asked:
    conditions = conditions_of(
        request.method,
        request.header("if-match"),
        request.header("idempotency-key"),
        conditional=route.doc.conditional,
        idempotent=getattr(route, "idempotent", route.doc.idempotent),
    )
    return Asked(
        path=names,
        query=parse_query(request.query),
        body=parse_body(request.header("content-type"), await request.body()),
        trace_id=request.trace_id,
        conditions=conditions,
    )


async def _reply(request: Request, effect: Effect, *, tagged: bool = False) -> None:
    """Send the effect. tagged: it is the representation of one resource, which the caller may have already."""
    if not isinstance(effect.body, bytes):
        raise Bug("a stream on a door that has none")
    headers = _PRIVATE | effect.headers
    if tagged:
        headers["etag"] = tag = etag_of(effect.body)
        known = request.header("if-none-match")
        if request.method == "GET" and known is not None and not {tag, ANY}.isdisjoint(parse_tags(known, weak=True)):
            await request.reply(304, headers=headers, media_type=effect.media_type)
            return
    await request.reply(200, effect.body, media_type=effect.media_type, headers=headers)


def _only(request: Request, method: str) -> None:
    refuse_unknown(parse_query(request.query), ())
    if request.method != method:
        raise Malformed(f"use {method} here", code="method-not-allowed")


def parse_query(raw_query: bytes) -> Mapping[str, str]:
    """Return the query's parameters. Raises: Malformed when it is long, not UTF-8, or names one twice."""
    if not raw_query:
        return {}
    if len(raw_query) > QUERY_LIMIT_BYTES:
        raise Malformed("the query is too long", code="bad-query")
    try:
        pairs = parse_qsl(
            raw_query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16
        )
    except ValueError as error:
        raise Malformed("the query cannot be read", code="bad-query") from error
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise Malformed("a query parameter twice", code="bad-query")
    return parameters


def parse_body(content_type: str | None, raw_body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a body is, None when there is none. Raises: Malformed."""
    if not raw_body:
        return None
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != "application/json" or parameters.strip().lower() not in {"", "charset=utf-8"}:
        raise Malformed("the body must be application/json", code="unsupported-media-type")
    value = parse_json(raw_body)
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object", code="bad-request")
    return value
