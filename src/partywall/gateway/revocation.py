"""The revocation endpoint: `POST /v1/oauth/revoke`, by which whoever holds a token ends it (RFC 7009).

A refresh token ends with every access token that came of it. A token that is none, or none any more, is answered as one
that was ended: its holder is rid of it either way. An API key is not ended here: a tenant administrator does that.
"""

from __future__ import annotations

from typing import Final

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call
from partywall.errors import Bug, Malformed, PartywallError, Unauthenticated
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.form import parse_form
from partywall.gateway.http import Request
from partywall.gateway.oauth_errors import oauth_body, oauth_headers, oauth_status
from partywall.gateway.rest import Submitter
from partywall.gateway.routes.document import PUBLIC, Described, Doc, Documented
from partywall.gateway.sign_in_steps import Steps
from partywall.providers.operator import table
from partywall.wire import replies
from partywall.wire.operations import TokenEnd
from partywall.wire.sign_in import parse_step

REVOKE_PATH: Final = "/v1/oauth/revoke"


ROUTE: Final = Described(
    "POST",
    REVOKE_PATH,
    Doc(
        summary="End an access token (RFC 7009)",
        tag="tokens",
        who=PUBLIC,
        request=replies.RevokedToken,
        request_media_type="application/x-www-form-urlencoded",
        reply=dict[str, str],
        faults={"application/json": replies.OAuthFault},
    ),
)


class RevocationDoor:
    """Parses, submits as the token's own holder, and replies."""

    prefixes: tuple[str, ...] = (REVOKE_PATH,)
    routes: tuple[Documented, ...] = (ROUTE,)
    openai_errors = False

    def __init__(self, pipeline: Submitter, authenticator: Authenticator, steps: Steps) -> None:
        self._steps = steps
        self._pipeline = pipeline
        self._authenticator = authenticator

    async def __call__(self, request: Request) -> None:
        """Answer one request."""
        try:
            await self._end(request)
        except Bug:
            raise
        except PartywallError as error:
            await request.reply(oauth_status(error), oauth_body(error), headers=oauth_headers(error))
            return
        await request.reply(200, b"{}", headers={"cache-control": "no-store"})

    async def _end(self, request: Request) -> None:
        if request.path != REVOKE_PATH or request.method != "POST":
            raise Malformed(f"use POST {REVOKE_PATH}", code="method-not-allowed")
        token = parse_form(request.header("content-type"), await request.body()).get("token")
        if token is None:
            raise Malformed("token is missing", code="invalid-request")
        if token.startswith("pwr_"):
            await self._steps.take(parse_step({"step": "end", "refresh_token": token}), request.trace_id)
            return
        try:
            principal = self._authenticator.holder(token)
        except Unauthenticated:
            return
        if not principal.credential.startswith("tok_"):
            raise Malformed("an API key is revoked by a tenant administrator", code="unsupported-token-type")
        request.of(principal.tenant)
        operation = TokenEnd(subject=principal.id)
        call = Call(
            action=ActionType.OPERATOR_TOKEN,
            kind=table.RULES[TokenEnd].kind,
            name=table.target_of(operation),
            payload=msgspec.to_builtins(operation),
            trace_id=request.trace_id,
            parameters=table.parameters_of(operation),
        )
        ending = msgspec.structs.replace(principal, scopes=frozenset({ActionType.OPERATOR_TOKEN}))
        await self._pipeline.submit(ending, call)
