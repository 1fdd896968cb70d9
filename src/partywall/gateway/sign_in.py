"""The sign-in door: the authorization endpoint, the callback of identity providers, and the documents for clients.

| path | what |
|---|---|
| `GET /v1/oauth/authorize` | a client's request: a page that asks the person |
| `POST /v1/oauth/authorize` | the person's answer: on to the tenant's identity provider, or back to the client |
| `GET /v1/oauth/callback[/{idp}]` | the identity provider's answer: a code, back to the client |
| `/.well-known/oauth-authorization-server`, `/.well-known/oauth-protected-resource[/mcp/{server}]` | public documents |

Each step takes the road as `system:sign-in`, is few a second, and is judged in the issuer. No address here is made of a
request's Host. Source: RFC 6749, RFC 8414, RFC 9728, RFC 9207; docs/adr/0012-sign-in.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from partywall.decision.action import ActionType
from partywall.errors import Bug, Malformed, NotFound, PartywallError
from partywall.gateway.http import Request
from partywall.gateway.http_errors import headers_of, status_of
from partywall.gateway.mcp_authorization import RESOURCE_METADATA, SCOPES
from partywall.gateway.oauth import TOKEN_PATH
from partywall.gateway.revocation import REVOKE_PATH
from partywall.gateway.routes.document import Documented
from partywall.gateway.routes.sign_in import routes_of
from partywall.gateway.sign_in_pages import HEADERS, MEDIA_TYPE, consent_page, error_page
from partywall.gateway.sign_in_steps import Steps
from partywall.wire.oauth import TOKEN_EXCHANGE
from partywall.wire.sign_in import ATTEMPT, CALLBACK_PATH, parse_request, parse_step

AUTHORIZE_PATH: Final = "/v1/oauth/authorize"
SERVER_METADATA: Final = "/.well-known/oauth-authorization-server"
QUERY_LIMIT_BYTES: Final = 8_192
FIELDS_LIMIT: Final = 32
COOKIE_LIFE_S: Final = 600
METADATA_LIFE_S: Final = 300
SCOPES_SUPPORTED: Final = tuple(action.value for action in ActionType if not action.startswith("system."))
_SERVER: Final = re.compile(r"/mcp/[a-z][a-z0-9_-]{0,62}", re.ASCII)
_OWN_CALLBACK: Final = re.compile(rf"{CALLBACK_PATH}/idp_[a-z2-7]{{26}}", re.ASCII)
_REDIRECT: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class SignInDoor:
    """Speaks to browsers and to clients that look for their way. public_url: the deployment's own origin."""

    prefixes: tuple[str, ...] = (AUTHORIZE_PATH, CALLBACK_PATH, SERVER_METADATA, RESOURCE_METADATA)
    routes: tuple[Documented, ...] = routes_of(CALLBACK_PATH)
    openai_errors = False

    def __init__(self, steps: Steps, *, public_url: str) -> None:
        self._steps = steps
        self._public_url = public_url
        self._server_metadata = msgspec.json.encode(server_metadata(public_url))

    async def __call__(self, request: Request) -> None:
        """Answer one request: documents as JSON, everything else as pages and redirections."""
        if request.path == SERVER_METADATA:
            await self._publish(request, self._server_metadata)
        elif request.path.startswith(RESOURCE_METADATA):
            await self._publish(request, self._resource_metadata(request.path[len(RESOURCE_METADATA) :]))
        else:
            try:
                await self._step(request)
            except Bug:
                raise
            except PartywallError as error:
                page = error_page(error.public, error.code)
                headers = HEADERS | headers_of(error)
                await request.reply(status_of(error), page, media_type=MEDIA_TYPE, headers=headers)

    async def _step(self, request: Request) -> None:
        if request.path == AUTHORIZE_PATH and request.method == "GET":
            await self._begin(request)
        elif request.path == AUTHORIZE_PATH and request.method == "POST":
            await self._choose(request)
        elif request.path == CALLBACK_PATH and request.method == "GET":
            await self._call_back(request, None)
        elif _OWN_CALLBACK.fullmatch(request.path) and request.method == "GET":
            await self._call_back(request, request.path.rpartition("/")[2])
        elif request.path in {AUTHORIZE_PATH, CALLBACK_PATH}:
            raise Malformed("open this address in a browser", code="method-not-allowed")
        else:
            raise NotFound("there is nothing here")

    async def _begin(self, request: Request) -> None:
        reply = await self._steps.take(parse_request(parse_fields(request.query)), request.trace_id)
        if "location" in reply:
            await _redirect(request, reply["location"])
            return
        page = consent_page(
            action=f"{self._public_url}{AUTHORIZE_PATH}",
            attempt=reply["attempt"],
            form=reply["form"],
            client=reply["client"]["name"],
            host=reply["client"]["host"],
            redirect_uri=reply["redirect_uri"],
            scopes=reply["scopes"],
            resource=reply["resource"],
            lasting_s=reply["lasting_s"],
            tenant=reply["tenant"],
        )
        cookie = set_cookie(reply["attempt"], reply["cookie"])
        await request.reply(200, page, media_type=MEDIA_TYPE, headers=HEADERS | {"set-cookie": cookie})

    async def _choose(self, request: Request) -> None:
        origin = request.header("origin")
        if origin is not None and origin != self._public_url:
            raise Malformed(f"this page belongs to {self._public_url}: begin there", code="foreign-origin")
        fields = parse_form(request.header("content-type"), await request.body())
        cookie = self._cookie(request, fields.get("attempt", ""))
        given: dict[str, Any] = {"form": fields.get("form"), "cookie": cookie}
        if fields.get("choice") == "continue":
            step = parse_step({"step": "continue", "tenant": fields.get("tenant"), **given})
        else:
            step = parse_step({"step": "cancel", **given})
        reply = await self._steps.take(step, request.trace_id)
        kept = set_cookie(reply["attempt"], reply["cookie"]) if "cookie" in reply else forget_cookie(fields["attempt"])
        await _redirect(request, reply["location"], kept, status=303)

    async def _call_back(self, request: Request, at: str | None) -> None:
        fields = parse_fields(request.query)
        known = {name: fields[name] for name in ("state", "code", "error", "iss") if name in fields}
        attempt = fields.get("state", "").partition(".")[0]
        step = parse_step({"step": "callback", "cookie": self._cookie(request, attempt), "at": at, **known})
        reply = await self._steps.take(step, request.trace_id)
        await _redirect(request, reply["location"], forget_cookie(attempt))

    def _cookie(self, request: Request, attempt: str) -> str:
        """Return what this browser keeps of an attempt. Raises: Malformed when it keeps nothing."""
        if ATTEMPT.fullmatch(attempt):
            for pair in (request.header("cookie") or "").split(";"):
                name, _, value = pair.strip().partition("=")
                if name == _cookie_name(attempt):
                    return value
        text = "this sign-in was begun in another browser, or its cookie is gone: begin anew"
        raise Malformed(text, code="bad-sign-in")

    def _resource_metadata(self, path: str) -> bytes:
        """Return a resource's document (RFC 9728), for every name alike. Raises: NotFound."""
        if path not in {"", "/"} and not _SERVER.fullmatch(path):
            raise NotFound("there is nothing here")
        named = bool(path.strip("/"))
        return msgspec.json.encode(
            {
                "resource": f"{self._public_url}{path}" if named else self._public_url,
                "authorization_servers": [self._public_url],
                "bearer_methods_supported": ["header"],
                "scopes_supported": list(SCOPES) if named else list(SCOPES_SUPPORTED),
                "resource_name": "Partywall",
            }
        )

    async def _publish(self, request: Request, document: bytes) -> None:
        if request.method != "GET":
            raise Malformed("use GET here", code="method-not-allowed")
        headers = {"cache-control": f"public, max-age={METADATA_LIFE_S}", "access-control-allow-origin": "*"}
        await request.reply(200, document, headers=headers)


def server_metadata(public_url: str) -> dict[str, Any]:
    """Return what the authorization server says of itself (RFC 8414)."""
    return {
        "issuer": public_url,
        "authorization_endpoint": f"{public_url}{AUTHORIZE_PATH}",
        "token_endpoint": f"{public_url}{TOKEN_PATH}",
        "revocation_endpoint": f"{public_url}{REVOKE_PATH}",
        "jwks_uri": f"{public_url}/.well-known/jwks.json",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", TOKEN_EXCHANGE],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "scopes_supported": [*SCOPES_SUPPORTED, "offline_access"],
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
    }


def parse_fields(raw: bytes) -> Mapping[str, str]:
    """Return form-encoded fields. Raises: Malformed when long, not UTF-8, or when one stands twice (RFC 6749 3.1)."""
    if len(raw) > QUERY_LIMIT_BYTES:
        raise Malformed("the request is too long", code="invalid-request")
    try:
        text = raw.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_LIMIT)
    except ValueError as error:
        raise Malformed("the request cannot be read", code="invalid-request") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("a parameter stands twice", code="invalid-request")
    return fields


def parse_form(content_type: str | None, raw: bytes) -> Mapping[str, str]:
    """Return a form's fields. Raises: Malformed."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Malformed("send application/x-www-form-urlencoded", code="unsupported-media-type")
    return parse_fields(raw)


def _cookie_name(attempt: str) -> str:
    return f"__Host-{attempt}"


def set_cookie(attempt: str, sealed: str) -> str:
    """Return the cookie by which a browser is known to be the one that began: of this host alone, and no script's."""
    return f"{_cookie_name(attempt)}={sealed}; Path=/; Max-Age={COOKIE_LIFE_S}; Secure; HttpOnly; SameSite=Lax"


def forget_cookie(attempt: str) -> str:
    """Return what makes the browser forget."""
    return f"{_cookie_name(attempt)}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"


async def _redirect(request: Request, location: str, cookie: str | None = None, *, status: int = 302) -> None:
    headers = _REDIRECT | {"location": location} | ({} if cookie is None else {"set-cookie": cookie})
    await request.reply(status, headers=headers, media_type="text/plain")
