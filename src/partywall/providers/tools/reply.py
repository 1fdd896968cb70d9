"""Replies to prompts, resources and completions, rebuilt from what is known, as `result.py` rebuilds tools' results."""

from __future__ import annotations

from typing import Any, Final

from partywall.errors import BadReply, ProviderRefused
from partywall.providers.tools.result import PARTS_LIMIT, part_of, resource_of

VALUES_LIMIT: Final = 100
VALUE_CHARACTERS: Final = 1_024
DESCRIPTION_CHARACTERS: Final = 4_096


def rebuild_reply(method: str, response: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a carried request that is no tool call, from a JSON-RPC response.

    Raises: ProviderRefused for an error of the server's, without its text; BadReply.
    """
    if "error" in response:
        error = response["error"]
        code = error.get("code") if isinstance(error, dict) else None
        if type(code) is not int:
            raise BadReply("the tool server's error is not one")
        raise ProviderRefused(f"the tool server answered with error {code}", code="tool-server-error")
    raw_result = response["result"]
    if not isinstance(raw_result, dict):
        raise BadReply("the tool server's result is not an object")
    if raw_result.get("resultType", "complete") != "complete":
        raise ProviderRefused("the server asks its caller for input, which is not carried here", code="input-required")
    return _REBUILT[method](raw_result)


def _prompt(raw_result: dict[str, Any]) -> dict[str, Any]:
    messages = _listed(raw_result, "messages")
    said = raw_result.get("description")
    described = {"description": said[:DESCRIPTION_CHARACTERS]} if isinstance(said, str) else {}
    return described | {"messages": [_message(message) for message in messages]}


def _message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or message.get("role") not in {"user", "assistant"}:
        raise BadReply("a message of the prompt has no role")
    return {"role": message["role"], "content": part_of(message.get("content"))}


def _contents(raw_result: dict[str, Any]) -> dict[str, Any]:
    return {"contents": [resource_of(one) for one in _listed(raw_result, "contents")]}


def _completion(raw_result: dict[str, Any]) -> dict[str, Any]:
    said = raw_result.get("completion")
    values = said.get("values") if isinstance(said, dict) else None
    if not isinstance(said, dict) or not isinstance(values, list):
        raise BadReply("the completion holds no values")
    kept = [value for value in values[:VALUES_LIMIT] if isinstance(value, str) and len(value) <= VALUE_CHARACTERS]
    completion: dict[str, Any] = {"values": kept}
    if type(said.get("total")) is int and said["total"] >= 0:
        completion["total"] = said["total"]
    if isinstance(said.get("hasMore"), bool):
        completion["hasMore"] = said["hasMore"]
    return {"completion": completion}


def _listed(raw_result: dict[str, Any], member: str) -> list[Any]:
    listed = raw_result.get(member)
    if not isinstance(listed, list) or not 0 < len(listed) <= PARTS_LIMIT:
        raise BadReply(f"the tool server's result holds no {member}, or too many")
    return listed


_REBUILT: Final = {"prompts/get": _prompt, "resources/read": _contents, "completion/complete": _completion}
