"""The token endpoint: `POST /v1/oauth/token`, a form in and a token out, one handler for each grant type.

It asks for no credential in a header: what proves who asks is in the form, and each grant says how it is verified.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from partywall.errors import Bug, Malformed, PartywallError
from partywall.gateway.form import FORM, parse_form
from partywall.gateway.http import Request
from partywall.gateway.oauth_errors import oauth_body, oauth_headers, oauth_status
from partywall.gateway.rest import parse_query
from partywall.gateway.rest_routes import refuse_unknown
from partywall.gateway.routes.document import PUBLIC, Described, Doc, Documented
from partywall.telemetry.log import Log
from partywall.wire import replies

TOKEN_PATH: Final = "/v1/oauth/token"  # noqa: S105 - a path
GRANT_LIMIT: Final = 128
_PRIVATE: Final = {"cache-control": "no-store", "pragma": "no-cache"}

Grant = Callable[[Request, Mapping[str, str]], Awaitable[bytes]]
"""Answers one grant type: (request, form) -> the token response, JSON. Raises: errors, as `oauth_errors.py` tells them.
"""

ROUTES: Final = (
    Described(
        "POST",
        TOKEN_PATH,
        Doc(
            summary="Exchange a token (RFC 8693), or ask for a transaction token",
            tag="tokens",
            who=PUBLIC,
            request=replies.TokenRequest,
            request_media_type=FORM,
            reply=replies.IssuedToken,
            faults={"application/json": replies.OAuthFault},
        ),
    ),
)


class OAuthDoor:
    """grants: by grant type. Everything that it answers with an error takes OAuth's form."""

    prefixes = (TOKEN_PATH,)
    routes: tuple[Documented, ...] = ROUTES
    openai_errors = False

    def __init__(self, grants: Mapping[str, Grant], *, log: Log) -> None:
        self._grants = grants
        self._log = log

    async def __call__(self, request: Request) -> None:
        try:
            body = await self._answer(request)
        except PartywallError as error:
            if isinstance(error, Bug):
                self._log.error("request.bug", error, trace_id=request.trace_id, code=error.code)
            await request.reply(oauth_status(error), oauth_body(error), headers=oauth_headers(error))
            return
        await request.reply(200, body, headers=_PRIVATE)

    async def _answer(self, request: Request) -> bytes:
        if request.path != TOKEN_PATH or request.method != "POST":
            raise Malformed(f"use POST {TOKEN_PATH}", code="method-not-allowed")
        refuse_unknown(parse_query(request.query), ())
        form = parse_form(request.header("content-type"), await request.body())
        kind = form.get("grant_type")
        if kind is None:
            raise Malformed("grant_type is missing", code="invalid-request")
        grant = self._grants.get(kind)
        if grant is None:
            raise Malformed("there is no such grant_type here", code="unsupported-grant-type")
        return await grant(request, form)
