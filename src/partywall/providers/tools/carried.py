"""The requests that are carried to a tool server: which approved entry each is of, and its exact bytes. Pure.

| call name below its server | method | entry |
|---|---|---|
| `<tool>` | tools/call | the tool |
| `prompts/<name>` | prompts/get | the prompt |
| `resources/<uri>` | resources/read | the resource, or the template that the URI fits |
| `completions/prompts/<name>`, `completions/templates/<template>` | completion/complete | that prompt or template |

Everything else is not found. Source: docs/adr/0009-mcp.md.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from partywall.decision.facts import ServerFacts, ToolFacts
from partywall.errors import Malformed, NotFound
from partywall.providers.tools.offers import kind_of, offer_of, prompt_named, resource_at, template_named
from partywall.providers.tools.schema import compile_schema
from partywall.providers.tools.upstream import request_body
from partywall.wire.mcp import TOOL_NAME

NOT_HERE: Final = "there is no such tool server or tool here"
VALUE_LIMIT: Final = 4_096


class Carried(msgspec.Struct, frozen=True):
    """One request. header: what its `mcp-name` says. variables: of the template. told: its progress is passed on."""

    tool: ToolFacts
    method: str
    header: str = ""
    variables: dict[str, str] = {}
    told: bool = False

    def body(self, payload: Any, *, progress: bool = False) -> bytes:
        """Return the request's bytes. payload: the door's; progress: of a tool's call, to be told of.

        Raises: Malformed (`invalid-arguments`).
        """
        if not isinstance(payload, dict):
            raise Malformed("arguments must be an object", code="invalid-arguments")
        if self.method == "resources/read":
            compile_schema(self.tool.schema, strict=True).check(self.variables)
            return request_body(self.method, {"uri": self.header})
        if self.method == "completion/complete":
            return request_body(self.method, {"ref": self._reference(), "argument": self._argument(payload)})
        compile_schema(self.tool.schema, strict=True).check(payload)
        if self.method == "prompts/get" and not all(isinstance(value, str) for value in payload.values()):
            raise Malformed("a prompt's arguments are text", code="invalid-arguments")
        told = progress and self.method == "tools/call"
        return request_body(self.method, {"name": self.header, "arguments": payload}, progress=told)

    def _reference(self) -> dict[str, str]:
        offer = offer_of(self.tool.annotations)
        if offer.kind == "prompt":
            return {"type": "ref/prompt", "name": offer.name}
        return {"type": "ref/resource", "uri": offer.name}

    def _argument(self, payload: dict[str, Any]) -> dict[str, str]:
        """Return what completes: the name is one that was approved."""
        name, value = payload.get("argument"), payload.get("value")
        known = msgspec.json.decode(self.tool.schema).get("properties", {})
        if not isinstance(name, str) or name not in known:
            raise Malformed("there is no such argument to complete", code="invalid-arguments")
        if not isinstance(value, str) or len(value) > VALUE_LIMIT:
            raise Malformed(f"a value to complete has at most {VALUE_LIMIT} characters", code="invalid-arguments")
        return {"name": name, "value": value}


def carried(server: ServerFacts, rest: str) -> Carried:
    """Return the request that rest, the call's name below its server, means there. Raises: NotFound."""
    kind, slash, name = rest.partition("/")
    if not slash:
        tool = server.tools.get(rest) if TOOL_NAME.fullmatch(rest) else None
        if tool is not None and kind_of(tool) == "tool":
            return Carried(tool, "tools/call", tool.name)
    elif kind == "prompts" and (tool := prompt_named(server, name)) is not None:
        return Carried(tool, "prompts/get", name)
    elif kind == "resources" and (found := resource_at(server, name)) is not None:
        return Carried(found[0], "resources/read", name, found[1])
    elif kind == "completions":
        return _completion(server, name)
    raise NotFound(NOT_HERE)


def _completion(server: ServerFacts, about: str) -> Carried:
    kind, _, name = about.partition("/")
    finder = {"prompts": prompt_named, "templates": template_named}.get(kind)
    tool = None if finder is None else finder(server, name)
    if tool is None:
        raise NotFound(NOT_HERE)
    return Carried(tool, "completion/complete")
