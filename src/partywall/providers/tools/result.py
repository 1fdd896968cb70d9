"""Results of tools, rebuilt from what is known: nothing that a server adds to a result passes unseen.

Text, images, audio, links and embedded resources keep their listed members, within limits; `_meta`, annotations, icons
and anything unknown are dropped. Source: components.md, attacks.md MCP-1 and PI-4.
"""

from __future__ import annotations

from typing import Any, Final

from partywall.errors import BadReply, Malformed, ProviderRefused
from partywall.providers.tools.schema import compile_schema
from partywall.wire.strict_json import check_bounds

PARTS_LIMIT: Final = 256
ERROR_CHARACTERS: Final = 2_000
_MEMBERS: Final = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name", "title", "description", "mimeType"),
}
_REQUIRED: Final = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name"),
}
_RESOURCE: Final = ("uri", "mimeType", "text", "blob")


def rebuild(response: dict[str, Any], output_schema: str | None) -> tuple[dict[str, Any], bool]:
    """Return (MCP tool result, whether it is an error) from a JSON-RPC response of a tool server.

    output_schema: as approved. A JSON-RPC error becomes an error result, so that an agent can read it.
    Raises: BadReply; ProviderRefused when the server asks the client for input.
    """
    if "error" in response:
        return _from_error(response["error"]), True
    raw_result = response["result"]
    if not isinstance(raw_result, dict):
        raise BadReply("the tool's result is not an object")
    if raw_result.get("resultType", "complete") != "complete":
        raise ProviderRefused("the tool asks its caller for input, which is not carried here", code="input-required")
    failed = raw_result.get("isError", False)
    content = raw_result.get("content", [])
    if not isinstance(failed, bool) or not isinstance(content, list) or len(content) > PARTS_LIMIT:
        raise BadReply("the tool's result is not one")
    result: dict[str, Any] = {"content": [part_of(part) for part in content], "isError": failed}
    structured = raw_result.get("structuredContent")
    if output_schema is not None and not failed:
        _check_output(structured, output_schema)
    if structured is not None:
        _bounded(structured)
        result["structuredContent"] = structured
    return result, failed


def _from_error(error: Any) -> dict[str, Any]:
    if (
        not isinstance(error, dict)
        or not isinstance(error.get("code"), int)
        or not isinstance(error.get("message"), str)
    ):
        raise BadReply("the tool server's error is not one")
    text = f"The tool server answered with error {error['code']}: {error['message'][:ERROR_CHARACTERS]}"
    return {"content": [{"type": "text", "text": text}], "isError": True}


def part_of(part: Any) -> dict[str, Any]:
    """Return one part of content, rebuilt. Raises: BadReply."""
    if not isinstance(part, dict):
        raise BadReply("a part of the tool's result is not an object")
    kind = part.get("type")
    if kind == "resource":
        return {"type": "resource", "resource": resource_of(part.get("resource"))}
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return {"type": "text", "text": "[a part of a kind that is not carried here was removed]"}
    return {"type": kind, **_texts(part, _MEMBERS[kind], _REQUIRED[kind])}


def resource_of(resource: Any) -> dict[str, str]:
    """Return the contents of one resource, rebuilt. Raises: BadReply."""
    if not isinstance(resource, dict) or ("text" in resource) == ("blob" in resource):
        raise BadReply("a resource in the tool's result holds neither text nor bytes, or both")
    return _texts(resource, _RESOURCE, ("uri",))


def _texts(part: dict[str, Any], members: tuple[str, ...], required: tuple[str, ...]) -> dict[str, str]:
    kept = {name: part[name] for name in members if part.get(name) is not None}
    if any(name not in kept for name in required) or not all(isinstance(value, str) for value in kept.values()):
        raise BadReply("a part of the tool's result is not well-formed")
    return kept


def _check_output(structured: Any, output_schema: str) -> None:
    try:
        compile_schema(output_schema, strict=False).check(structured)
    except Malformed as error:
        text = "the tool's result is not what its output schema promises"
        raise BadReply(text, code="bad-structured-content", private=error.code) from error


def _bounded(structured: Any) -> None:
    try:
        check_bounds(structured)
    except Malformed as error:
        raise BadReply("the tool's structured result is too large") from error
