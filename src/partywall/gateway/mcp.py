"""The MCP door: `/mcp/{server}`, streamable HTTP, no sessions and no state.

One JSON reply per POST; a tool's call whose caller wants to be told of progress is answered with a stream of events.

| of a request | pass | strip | refuse |
|---|---|---|---|
| JSON-RPC | id, method, params | | batches, other members, other methods |
| params | name, arguments (validated), uri, ref, argument | `_meta`, clientInfo, capabilities | everything else |
| headers | the credential, to authenticate | all others, to the tool | a foreign Origin, a session id, a mismatch |

`initialize` and `server/discover` ask the wall whether the caller may see the server (`tool.list`), as `tools/list`
does: a server of another tenant is not found at the first message. Source: docs/adr/0009-mcp.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import nullcontext
from typing import Any, Final, Protocol

import msgspec

from partywall.decision.action import ActionType
from partywall.decision.ports import Call, Effect
from partywall.decision.principal import Principal
from partywall.errors import BadReply, Bug, Denied, Malformed, NotFound, PartywallError, Unauthenticated
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.http import Request
from partywall.gateway.http_errors import headers_of, problem_body
from partywall.gateway.mcp_authorization import OUT_OF_SCOPE, Challenges
from partywall.gateway.mcp_errors import as_result, as_rpc_error, status_of_rpc
from partywall.gateway.routes.document import MEMBERS, Described, Doc, Documented
from partywall.version import __version__
from partywall.wire import mcp, replies

_PATH: Final = re.compile(r"/mcp/([a-z][a-z0-9_-]{0,62})", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.ASCII)
_encode = msgspec.json.Encoder(order="sorted").encode


ROUTES: Final = (
    Described(
        "POST",
        "/mcp/{server}",
        Doc(
            summary="Speak MCP (streamable HTTP) to a registered server",
            tag="servers",
            who=MEMBERS,
            request=replies.RpcRequest,
            reply=replies.RpcReply,
            faults={"application/json": replies.RpcReply},
            also={202: "A notification was taken."},
            errors={404: ("not-found",)},
            example={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
            event_stream=True,
        ),
    ),
)
"""What the OpenAPI document says of this door."""


class Submits(Protocol):
    """The only road, as a door sees it."""

    async def submit(self, principal: Principal, call: Call) -> Effect: ...


class McpDoor:
    """Speaks MCP to callers and asks the pipeline for everything."""

    prefixes: tuple[str, ...] = ("/mcp/",)
    routes: tuple[Documented, ...] = ROUTES
    openai_errors = False

    def __init__(self, pipeline: Submits, authenticator: Authenticator, challenges: Challenges) -> None:
        self._authenticator = authenticator
        self._pipeline = pipeline
        self._challenges = challenges

    async def __call__(self, request: Request) -> None:
        """Answer one request. Raises: Unauthenticated, NotFound, Malformed, LimitExceeded before a message is read."""
        check_origin(request.header("origin"))
        if request.method != "POST":
            raise Malformed("this endpoint takes POST only: it keeps no streams or sessions", code="method-not-allowed")
        server = _PATH.fullmatch(request.path)
        try:
            await self._serve(request, None if server is None else server[1])
        except Unauthenticated as error:
            challenge = self._challenges.unauthenticated(None if server is None else server[1])
            body = problem_body(error, request.trace_id)
            await request.reply(
                401, body, media_type="application/problem+json", headers={"www-authenticate": challenge}
            )

    async def _serve(self, request: Request, server: str | None) -> None:
        resource = None if server is None else self._challenges.resource(server)
        principal = self._authenticator.authenticate(request.credential(), resource=resource)
        request.of(principal.tenant)
        if server is None:
            raise NotFound("there is nothing here")
        check_media_types(request.header("content-type"), request.header("accept"))
        modern = _trimmed(request, "mcp-protocol-version") == mcp.MODERN
        try:
            await self._answer(request, principal, server, modern=modern)
        except mcp.RpcFault as fault:
            status = status_of_rpc(fault.rpc_code, modern=modern)
            await _reply(request, status, mcp.error_reply(fault.request_id, fault.rpc_code, fault.public, fault.data))

    async def _answer(self, request: Request, principal: Principal, server: str, *, modern: bool) -> None:
        message = mcp.parse_message(await request.body())
        check_version(message, request, modern=modern)
        asked = mcp.parse_asked(message, modern=modern)
        if isinstance(asked, mcp.Notified):
            await request.reply(202)
            return
        streams = takes_events(request.header("accept"))
        session = _Exchange(self._pipeline, principal, server, request.trace_id, modern=modern, streams=streams)
        try:
            # A 2026-07-28 caller cancels by closing the connection; before, going away was not cancelling.
            with request.cancelled_when_gone() if modern else nullcontext():
                result = await session.result(asked)
        except (Unauthenticated, Bug):
            raise
        except PartywallError as error:
            status, body = as_rpc_error(error, message.id)
            await _reply(request, status, body, headers_of(error) | self._step_up(error, principal, server, asked))
            return
        if isinstance(result, Told):
            await request.reply_stream(result.frames(message.id))
        else:
            await _reply(request, 200, mcp.reply(message.id, result))

    def _step_up(self, error: PartywallError, principal: Principal, server: str, asked: mcp.Asked) -> dict[str, str]:
        """Return the challenge to a token that lacks the scope; nothing for every other refusal."""
        if error.code != OUT_OF_SCOPE:
            return {}
        lists = isinstance(asked, mcp.Initialize | mcp.Discover | mcp.ListTools | mcp.ListOffers)
        action = ActionType.TOOL_LIST if lists else ActionType.TOOL_CALL
        challenge = self._challenges.out_of_scope(server, principal, action)
        return {} if challenge is None else {"www-authenticate": challenge}


class _Exchange:
    """One request of one principal at one server."""

    def __init__(
        self, pipeline: Submits, principal: Principal, server: str, trace_id: str, *, modern: bool, streams: bool
    ) -> None:
        self._streams = streams
        self._pipeline = pipeline
        self._principal = principal
        self._server = server
        self._trace_id = trace_id
        self._modern = modern

    async def result(self, asked: mcp.Asked) -> dict[str, Any] | Told:
        """Return the result of a request. Raises: PartywallError when it is none."""
        if isinstance(asked, mcp.Ping):
            return {}
        if isinstance(asked, mcp.CallTool):
            return await self._call(asked)
        if isinstance(asked, (mcp.GetPrompt, mcp.ReadResource, mcp.Complete)):
            return await self._carry(asked)
        return await self._list(asked)

    async def _list(self, asked: mcp.Asked) -> dict[str, Any]:
        """Return what the caller may see of the server: the first message is already on the road."""
        if isinstance(asked, mcp.ListOffers):
            listed = await self._submit(
                ActionType.TOOL_LIST, self._server, {"of": asked.member}, {"method": asked.method}
            )
            return mcp.list_result(asked.member, listed.get(asked.member, []), modern=self._modern)
        method = {mcp.Initialize: "initialize", mcp.Discover: "server/discover"}.get(type(asked), "tools/list")
        listed = await self._submit(ActionType.TOOL_LIST, self._server, {}, {"method": method})
        if isinstance(asked, mcp.Initialize):
            return mcp.initialize_result(asked.version, __version__)
        if isinstance(asked, mcp.Discover):
            return mcp.discover_result(__version__)
        return mcp.tools_result(listed["tools"], modern=self._modern)

    async def _carry(self, asked: mcp.GetPrompt | mcp.ReadResource | mcp.Complete) -> dict[str, Any]:
        """Return a prompt, a resource or a completion. A refusal is its program's to handle: a protocol error."""
        method, what, payload = _parts(asked)
        parameters = {"method": method, "arguments": len(payload)}
        result = await self._submit(ActionType.TOOL_CALL, f"{self._server}/{what}", payload, parameters)
        if isinstance(asked, mcp.ReadResource):
            return mcp.read_result(result, modern=self._modern)
        return mcp.call_result(result, modern=self._modern)

    async def _call(self, asked: mcp.CallTool) -> dict[str, Any] | Told:
        parameters = {"method": "tools/call", "arguments": len(asked.arguments)}
        name = f"{self._server}/{asked.name}"
        try:
            if asked.progress is not None and self._streams:
                effect = await self._put(ActionType.TOOL_CALL, name, asked.arguments, parameters, stream=True)
                if not isinstance(effect.body, bytes):
                    return Told(effect.body, asked.progress, modern=self._modern)
                result = _decoded(effect.body)
            else:
                result = await self._submit(ActionType.TOOL_CALL, name, asked.arguments, parameters)
        except (Unauthenticated, Bug):
            raise
        except PartywallError as error:
            refusal = as_result(error, modern=self._modern)
            if refusal is None or self._wants_step_up(error):
                raise
            return refusal
        return mcp.call_result(result, modern=self._modern)

    def _wants_step_up(self, error: PartywallError) -> bool:
        """A token that lacks the scope is its client's business, which can ask for more: no result for the model."""
        return error.code == OUT_OF_SCOPE and self._principal.credential.startswith("tok_")

    async def _submit(
        self, action: ActionType, name: str, payload: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        effect = await self._put(action, name, payload, parameters)
        if not isinstance(effect.body, bytes):
            raise Bug("a tool's effect is a stream")
        return _decoded(effect.body)

    async def _put(
        self,
        action: ActionType,
        name: str,
        payload: dict[str, Any],
        parameters: dict[str, Any],
        *,
        stream: bool = False,
    ) -> Effect:
        call = Call(
            action=action,
            kind="tool",
            name=name,
            payload=payload,
            trace_id=self._trace_id,
            parameters=parameters,
            stream=stream,
        )
        return await self._pipeline.submit(self._principal, call)


class Told:
    """A tool's call under way that tells of its progress. token: the caller's own. Source: MCP "Progress"."""

    def __init__(self, body: AsyncIterator[bytes], token: mcp.RequestId, *, modern: bool) -> None:
        self._body = body
        self._token = token
        self._modern = modern

    async def frames(self, request_id: mcp.RequestId | None) -> AsyncGenerator[bytes, None]:
        """Yield one server-sent event a notification, and the response last."""
        try:
            async for chunk in self._body:
                yield b"event: message\ndata: " + _encode(self._message(_decoded(chunk), request_id)) + b"\n\n"
        finally:
            close = getattr(self._body, "aclose", None)
            if close is not None:
                await close()

    def _message(self, event: dict[str, Any], request_id: mcp.RequestId | None) -> dict[str, Any]:
        if "progress" in event:
            return mcp.progress_event(self._token, event["progress"])
        if "result" in event:
            return mcp.reply(request_id, mcp.call_result(event["result"], modern=self._modern))
        code = str(event.get("fault", "internal"))
        text = f"The tool failed or was stopped: {code}. Whether it acted is on record with your tenant."
        return mcp.reply(request_id, mcp.refused_result(text, {"code": code}, modern=self._modern))


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadReply("the tool's result could not be carried") from error


def _parts(asked: mcp.GetPrompt | mcp.ReadResource | mcp.Complete) -> tuple[str, str, dict[str, Any]]:
    """Return the method, what is named below the server, and what a policy sees of it."""
    if isinstance(asked, mcp.GetPrompt):
        return "prompts/get", f"prompts/{asked.name}", asked.arguments
    if isinstance(asked, mcp.ReadResource):
        return "resources/read", f"resources/{asked.uri}", {"uri": asked.uri}
    return "completion/complete", f"completions/{asked.about}", {"argument": asked.argument, "value": asked.value}


def check_origin(origin: str | None) -> None:
    """Raises: Denied for a browser's request from elsewhere than this machine (DNS rebinding)."""
    if origin is not None and not _ORIGIN.fullmatch(origin):
        raise Denied("requests from web pages of other origins are not taken", code="foreign-origin")


def check_media_types(content_type: str | None, accept: str | None) -> None:
    """Raises: Malformed unless the body is JSON and a JSON reply is acceptable."""
    if (content_type or "").partition(";")[0].strip().lower() != "application/json":
        raise Malformed("send application/json", code="unsupported-media-type")
    kinds = {part.partition(";")[0].strip().lower() for part in (accept or "*/*").split(",")}
    if not kinds & {"application/json", "application/*", "*/*"}:
        raise Malformed("accept application/json", code="not-acceptable")


def takes_events(accept: str | None) -> bool:
    """Tell whether a caller said that it takes a stream of events."""
    return "text/event-stream" in {part.partition(";")[0].strip().lower() for part in (accept or "").split(",")}


def check_version(message: mcp.Message, request: Request, *, modern: bool) -> None:
    """Raises: RpcFault for a version that is not served, a broken envelope, or a session that nobody gave."""
    version = _trimmed(request, "mcp-protocol-version")
    if version is not None and version not in mcp.SUPPORTED:
        raise mcp.unsupported(version, message.id)
    if request.header(mcp.SESSION_HEADER) is not None:
        text = "there are no sessions here: leave the session id out"
        raise mcp.RpcFault(mcp.INVALID_REQUEST, text, request_id=message.id)
    if modern and message.id is not None:
        headers = {name: value for name in mcp.ROUTING_HEADERS if (value := _trimmed(request, name)) is not None}
        mcp.check_envelope(message, headers)


def _trimmed(request: Request, name: str) -> str | None:
    """Return a header without the white space around it, which is none of its value (RFC 9110 5.5)."""
    value = request.header(name)
    return None if value is None else value.strip(" \t")


async def _reply(request: Request, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    await request.reply(status, _encode(body), headers={"cache-control": "no-store"} | (headers or {}))
