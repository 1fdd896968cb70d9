"""MCP over streamable HTTP, as far as the wall speaks it: JSON-RPC messages in, replies out. Pure.

Two eras of the protocol: `2025-11-25` (and `2025-06-18`, alike in what is carried here), where `initialize` negotiates,
and `2026-07-28`, where each request carries an envelope in `_meta` that its headers repeat. No sessions in either.
Unknown members and parameters are refused; of `_meta` only the envelope is read, and nothing of it goes further.
Source: MCP specification 2025-11-25 and 2026-07-28, docs/adr/0009-mcp.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from partywall.errors import CallerFault, Malformed
from partywall.wire.strict_json import parse_json

LEGACY: Final = ("2025-06-18", "2025-11-25")
MODERN: Final = "2026-07-28"
SUPPORTED: Final = (*LEGACY, MODERN)

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000
HEADER_MISMATCH: Final = -32020
UNSUPPORTED_VERSION: Final = -32022

META_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
META_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
META_CLIENT: Final = "io.modelcontextprotocol/clientInfo"
ROUTING_HEADERS: Final = ("mcp-protocol-version", "mcp-method", "mcp-name")
SESSION_HEADER: Final = "mcp-session-id"

TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
ID_LIMIT: Final = 128
_BASE64: Final = re.compile(r"=\?base64\?(?P<payload>.*)\?=", re.DOTALL)

RequestId = str | int


class RpcFault(CallerFault):
    """A message that is answered with a JSON-RPC error. request_id: None before one was read."""

    default_code = "malformed"

    def __init__(self, rpc_code: int, public: str, *, request_id: RequestId | None = None, data: Any = None) -> None:
        super().__init__(public)
        self.rpc_code = rpc_code
        self.request_id = request_id
        self.data = data


class Message(msgspec.Struct, frozen=True):
    """One JSON-RPC request, or a notification (id None)."""

    id: RequestId | None
    method: str
    params: dict[str, Any]


class Initialize(msgspec.Struct, frozen=True):
    """version: what the client proposes."""

    version: str


class Discover(msgspec.Struct, frozen=True):
    """`server/discover`."""


class Ping(msgspec.Struct, frozen=True):
    """`ping`."""


class ListTools(msgspec.Struct, frozen=True):
    """`tools/list`; the whole list is one page."""


class CallTool(msgspec.Struct, frozen=True):
    """`tools/call`. name: may be any text; arguments: an object, bounded, not validated yet.

    progress: the caller's token, when it wants to be told of progress; it goes no further than its own reply.
    """

    name: str
    arguments: dict[str, Any]
    progress: RequestId | None = None


class ListOffers(msgspec.Struct, frozen=True):
    """`prompts/list`, `resources/list` or `resources/templates/list`; member: of the result. One page, as tools."""

    method: str
    member: str


class GetPrompt(msgspec.Struct, frozen=True):
    """`prompts/get`. arguments: text by name, not validated yet."""

    name: str
    arguments: dict[str, Any]


class ReadResource(msgspec.Struct, frozen=True):
    """`resources/read`. uri: may be any text."""

    uri: str


class Complete(msgspec.Struct, frozen=True):
    """`completion/complete` of a prompt's argument or a template's variable. about: `prompts/…` or `templates/…`."""

    about: str
    argument: str
    value: str


class Notified(msgspec.Struct, frozen=True):
    """A notification: taken and dropped, since nothing here outlives a request."""


Asked = (
    Initialize | Discover | Ping | ListTools | CallTool | ListOffers | GetPrompt | ReadResource | Complete | Notified
)


def parse_message(raw: bytes) -> Message:
    """Return the JSON-RPC request or notification. raw: bounded by the door. Raises: RpcFault."""
    try:
        value = parse_json(raw)
    except Malformed as error:
        code = PARSE_ERROR if error.code == "malformed-json" else INVALID_REQUEST
        raise RpcFault(code, error.public) from error
    if not isinstance(value, dict):
        raise RpcFault(INVALID_REQUEST, "the body must be one JSON-RPC request or notification, not a batch")
    request_id = _request_id(value)
    if value.get("jsonrpc") != "2.0" or not isinstance(method := value.get("method"), str):
        raise RpcFault(INVALID_REQUEST, "not a JSON-RPC 2.0 request", request_id=request_id)
    if value.keys() - {"jsonrpc", "id", "method", "params"}:
        raise RpcFault(INVALID_REQUEST, "a JSON-RPC request has no other members", request_id=request_id)
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise RpcFault(INVALID_PARAMS, "params must be an object", request_id=request_id)
    return Message(request_id, method, params)


def _request_id(value: dict[str, Any]) -> RequestId | None:
    """Return the id, None when the message has none (a notification). Raises: RpcFault."""
    if "id" not in value:
        return None
    request_id = value["id"]
    if isinstance(request_id, bool) or not isinstance(request_id, (str, int)):
        raise RpcFault(INVALID_REQUEST, "an id is a string or an integer")
    if isinstance(request_id, str) and len(request_id) > ID_LIMIT:
        raise RpcFault(INVALID_REQUEST, f"an id has at most {ID_LIMIT} characters")
    return request_id


_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Methods whose `mcp-name` header repeats a parameter."""


def check_envelope(message: Message, headers: Mapping[str, str]) -> None:
    """Raises: RpcFault unless a 2026-07-28 request's `_meta` is whole and its headers say the same.

    headers: names in lower case, each once (the door refuses duplicates).
    """
    meta = message.params.get("_meta")
    if not isinstance(meta, dict) or META_VERSION not in meta or not isinstance(meta.get(META_CAPABILITIES), dict):
        raise _fault(message, INVALID_PARAMS, f"params._meta must hold {META_VERSION} and {META_CAPABILITIES}")
    if meta[META_VERSION] != headers.get("mcp-protocol-version"):
        raise _fault(message, HEADER_MISMATCH, "mcp-protocol-version does not match params._meta")
    if headers.get("mcp-method") != message.method:
        raise _fault(message, HEADER_MISMATCH, "mcp-method does not match the body's method")
    named = _NAMED.get(message.method)
    if named is not None and decode_header(headers.get("mcp-name")) != message.params.get(named):
        raise _fault(message, HEADER_MISMATCH, "mcp-name does not match the body's name")
    if meta[META_VERSION] != MODERN:
        raise unsupported(str(meta[META_VERSION]), message.id)


def unsupported(requested: str, request_id: RequestId | None = None) -> RpcFault:
    """Return the refusal of a protocol version, which names those that are served."""
    data = {"supported": list(SUPPORTED), "requested": requested[:64]}
    return RpcFault(UNSUPPORTED_VERSION, "Unsupported protocol version", request_id=request_id, data=data)


def encode_header(text: str) -> str:
    """Return text as a header's value: as it is, or `=?base64?…?=` when it would not survive."""
    if text.isascii() and text.isprintable() and text == text.strip() and not _BASE64.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def decode_header(text: str | None) -> str | None:
    """Return a header's value, `=?base64?…?=` decoded; None when it is absent or not canonical."""
    match = None if text is None else _BASE64.fullmatch(text)
    if match is None:
        return text
    payload = match["payload"]
    try:
        decoded = base64.b64decode(payload, validate=True)
        return decoded.decode() if base64.b64encode(decoded).decode() == payload else None
    except (binascii.Error, ValueError):
        return None


_KNOWN: Final = {
    "initialize": frozenset({"protocolVersion", "capabilities", "clientInfo", "_meta"}),
    "server/discover": frozenset({"_meta"}),
    "ping": frozenset({"_meta"}),
    "tools/list": frozenset({"_meta"}),
    "tools/call": frozenset({"name", "arguments", "_meta"}),
    "prompts/list": frozenset({"_meta"}),
    "prompts/get": frozenset({"name", "arguments", "_meta"}),
    "resources/list": frozenset({"_meta"}),
    "resources/templates/list": frozenset({"_meta"}),
    "resources/read": frozenset({"uri", "_meta"}),
    "completion/complete": frozenset({"ref", "argument", "_meta"}),
}
"""Methods and the parameters that each may have: everything else is refused."""


def parse_asked(message: Message, *, modern: bool) -> Asked:
    """Return what a message asks. Raises: RpcFault (method not found, unknown or wrong parameters)."""
    if message.id is None:
        return Notified()
    known = _KNOWN.get(message.method)
    if known is None or (modern and message.method in {"initialize", "ping"}):
        raise _fault(message, METHOD_NOT_FOUND, "Method not found")
    params = message.params
    if params.keys() - known:
        raise _fault(message, INVALID_PARAMS, f"{message.method} takes only {', '.join(sorted(known))}")
    if not isinstance(params.get("_meta", {}), dict):
        raise _fault(message, INVALID_PARAMS, "_meta must be an object")
    if message.method == "initialize":
        return _initialize(message)
    if message.method == "server/discover":
        return Discover()
    if message.method in _LISTS:
        return ListOffers(message.method, _LISTS[message.method])
    return _PARSERS[message.method](message)


def _initialize(message: Message) -> Initialize:
    params = message.params
    version, client = params.get("protocolVersion"), params.get("clientInfo")
    if not isinstance(version, str) or not isinstance(params.get("capabilities"), dict) or not isinstance(client, dict):
        raise _fault(message, INVALID_PARAMS, "initialize takes protocolVersion, capabilities and clientInfo")
    return Initialize(version)


def _call_tool(message: Message) -> CallTool:
    name, arguments = message.params.get("name"), message.params.get("arguments")
    if not isinstance(name, str):
        raise _fault(message, INVALID_PARAMS, "name must be a string")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise _fault(message, INVALID_PARAMS, "arguments must be an object")
    return CallTool(name, arguments, _progress_token(message))


def _progress_token(message: Message) -> RequestId | None:
    token = message.params.get("_meta", {}).get("progressToken")
    if token is None:
        return None
    if (
        isinstance(token, bool)
        or not isinstance(token, (str, int))
        or (isinstance(token, str) and len(token) > ID_LIMIT)
    ):
        raise _fault(message, INVALID_PARAMS, f"a progress token is an integer or at most {ID_LIMIT} characters")
    return token


def _get_prompt(message: Message) -> GetPrompt:
    asked = _call_tool(message)
    return GetPrompt(asked.name, asked.arguments)


def _read_resource(message: Message) -> ReadResource:
    uri = message.params.get("uri")
    if not isinstance(uri, str):
        raise _fault(message, INVALID_PARAMS, "uri must be a string")
    return ReadResource(uri)


def _complete(message: Message) -> Complete:
    ref, argument = message.params.get("ref"), message.params.get("argument")
    if not isinstance(ref, dict) or not isinstance(argument, dict) or argument.keys() != {"name", "value"}:
        raise _fault(message, INVALID_PARAMS, "completion/complete takes ref and argument {name, value}")
    kinds = {"ref/prompt": ("prompts", ref.get("name")), "ref/resource": ("templates", ref.get("uri"))}
    kind, name = kinds.get(str(ref.get("type")), ("", None))
    if not isinstance(name, str) or not all(isinstance(value, str) for value in argument.values()):
        raise _fault(message, INVALID_PARAMS, "ref names a prompt or a resource template; name and value are text")
    return Complete(f"{kind}/{name}", argument["name"], argument["value"])


_LISTS: Final = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_PARSERS: Final[dict[str, Callable[[Message], Asked]]] = {
    "ping": lambda _message: Ping(),
    "tools/list": lambda _message: ListTools(),
    "tools/call": _call_tool,
    "prompts/get": _get_prompt,
    "resources/read": _read_resource,
    "completion/complete": _complete,
}


def _fault(message: Message, rpc_code: int, public: str) -> RpcFault:
    return RpcFault(rpc_code, public, request_id=message.id)


# --- replies ----------------------------------------------------------------------------------------------------------


def negotiate(proposed: str) -> str:
    """Return the handshake version to answer with: the client's when it is served, else the newest."""
    return proposed if proposed in LEGACY else LEGACY[-1]


def initialize_result(proposed: str, version: str) -> dict[str, Any]:
    """Return the result of `initialize`. version: the product's."""
    return {
        "protocolVersion": negotiate(proposed),
        "capabilities": CAPABILITIES,
        "serverInfo": {"name": "partywall", "version": version},
    }


def discover_result(version: str) -> dict[str, Any]:
    """Return the result of `server/discover`. version: the product's."""
    return {
        "supportedVersions": list(SUPPORTED),
        "capabilities": CAPABILITIES,
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "partywall", "version": version}},
        **_PRIVATE,
    }


CAPABILITIES: Final[dict[str, Any]] = {"completions": {}, "prompts": {}, "resources": {}, "tools": {}}
_PRIVATE: Final = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}


def list_result(member: str, entries: list[Any], *, modern: bool) -> dict[str, Any]:
    """Return the result of a list of prompts, resources or templates: one caller's own, as `tools_result`."""
    return {member: entries} | (_PRIVATE if modern else {})


def read_result(result: dict[str, Any], *, modern: bool) -> dict[str, Any]:
    """Return the result of `resources/read`; it is not to be cached for another."""
    return result | (_PRIVATE if modern else {})


def tools_result(tools: list[Any], *, modern: bool) -> dict[str, Any]:
    """Return the result of `tools/list`; it is one caller's own and not to be cached for another."""
    return {"tools": tools} | (_PRIVATE if modern else {})


def call_result(result: dict[str, Any], *, modern: bool) -> dict[str, Any]:
    """Return the result of `tools/call`."""
    return result | ({"resultType": "complete"} if modern else {})


def refused_result(text: str, about: dict[str, Any], *, modern: bool) -> dict[str, Any]:
    """Return a tool result that says why the wall did not do it: text for a model, `about` for a program."""
    content = [{"type": "text", "text": text}]
    return call_result({"content": content, "isError": True, "_meta": {"partywall/refusal": about}}, modern=modern)


def progress_event(token: RequestId, progress: dict[str, Any]) -> dict[str, Any]:
    """Return the notification of progress for the caller's own token."""
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, **progress}}


def reply(request_id: RequestId | None, result: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON-RPC success."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_reply(request_id: RequestId | None, rpc_code: int, message: str, data: Any = None) -> dict[str, Any]:
    """Return a JSON-RPC error."""
    error = {"code": rpc_code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": request_id, "error": error}
