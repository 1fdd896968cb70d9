"""Digests of a tool server's manifest: what a tenant-admin approved, in 64 hex digits.

The issuer computes them at registration and the tool provider again over what the server lists later: a tool whose
digest changed is refused until it is approved anew. Source: attacks.md MCP-3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from partywall.errors import Malformed

OFFERS: Final = "partywall/offers"
"""The annotation that says that an approved entry is a prompt, resource or template and no tool."""

_encode = msgspec.json.Encoder(order="sorted").encode


def canonical_json(value: Any) -> bytes:
    """Return JSON without white space, object keys sorted, UTF-8. value: JSON types only."""
    return _encode(value)


def tool_digest(
    name: str,
    description: str,
    input_schema: Mapping[str, Any],
    output_schema: Mapping[str, Any] | None = None,
    annotations: Mapping[str, Any] | None = None,
) -> str:
    """Return the SHA-256 (hex) of one tool's manifest entry, as `tools/list` gives it.

    Digested: canonical JSON of {name, description, inputSchema, outputSchema?, annotations?}. An absent description
    is ""; an absent output schema is left out; absent, empty or all-null annotations are left out, and so are the
    null members of others (an SDK writes what it knows as null, a server leaves it out).
    Invariant: any other change of any of the five changes the digest.
    """
    entry: dict[str, Any] = {"name": name, "description": description, "inputSchema": input_schema}
    if output_schema is not None:
        entry["outputSchema"] = output_schema
    hints = {key: value for key, value in (annotations or {}).items() if value is not None}
    if hints:
        entry["annotations"] = hints
    return hashlib.sha256(canonical_json(entry)).hexdigest()


def manifest_digest(tool_digests: Mapping[str, str]) -> str:
    """Return the SHA-256 (hex) over all approved tools: canonical JSON of {tool name: tool digest}."""
    return hashlib.sha256(canonical_json(tool_digests)).hexdigest()


def prompt_schema(arguments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the input schema of a prompt with these arguments, as a server lists them: all of them are text.

    Raises: Malformed for a list that is none.
    """
    properties: dict[str, Any] = {}
    required: list[str] = []
    for argument in arguments:
        name, said = argument.get("name"), argument.get("description") or ""
        if not isinstance(name, str) or not isinstance(said, str) or name in properties:
            raise Malformed("a prompt's arguments have names, each once", code="bad-manifest")
        properties[name] = {"type": "string"} | ({"description": said} if said else {})
        if argument.get("required") is True:
            required.append(name)
    return {"type": "object", "properties": properties} | ({"required": sorted(required)} if required else {})
