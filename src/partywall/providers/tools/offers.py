"""What a server offers beside tools: prompts, resources and resource templates, each approved and granted like a tool.

An approved entry whose annotations say `partywall/offers` is one of these; its own name is what grants and policies
call it. Listing shows the entry as it was approved. Pure. Source: docs/adr/0009-mcp.md.

| annotation | what it is | its input schema says |
|---|---|---|
| `{"prompt": NAME}` | the server's prompt of that name | the prompt's arguments (`prompt_schema`) |
| `{"resource": URI, "mimeType": …}` | one resource | nothing |
| `{"template": URI with {names}, "mimeType": …}` | every resource that fits | the template's variables |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from partywall.decision.facts import ServerFacts, ToolFacts
from partywall.decision.manifest import OFFERS
from partywall.errors import Malformed

URI_LIMIT: Final = 2_048
_VARIABLE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}", re.ASCII)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:[!-~]{1,2000}", re.ASCII)
Text = Annotated[str, Meta(min_length=1, max_length=URI_LIMIT)]
Kind = Literal["tool", "prompt", "resource", "template"]


class Offer(msgspec.Struct, frozen=True):
    """What an approved entry is. name: the prompt's, the resource's URI, or the template; empty for a tool."""

    kind: Kind
    name: str = ""
    mime_type: str | None = None


class _Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    prompt: Text | None = None
    resource: Text | None = None
    template: Text | None = None
    mime_type: Text | None = None


@lru_cache(maxsize=4_096)
def offer_of(annotations: str) -> Offer:
    """Return what an entry with these annotations (canonical JSON) is. Raises: Malformed for one that is nothing."""
    said = msgspec.json.decode(annotations)
    if not isinstance(said, dict) or OFFERS not in said:
        return Offer("tool")
    try:
        offer = msgspec.convert(said[OFFERS], _Said)
    except msgspec.ValidationError as error:
        raise Malformed(f"{OFFERS}: {error}", code="bad-manifest") from error
    said_of: dict[Kind, str | None] = {
        "prompt": offer.prompt,
        "resource": offer.resource,
        "template": offer.template,
    }
    named = [(kind, name) for kind, name in said_of.items() if name is not None]
    if len(named) != 1:
        raise Malformed(f"{OFFERS} names one prompt, resource or template", code="bad-manifest")
    kind, name = named[0]
    if kind != "prompt" and not _URI.fullmatch(name):
        raise Malformed(f"{OFFERS}: not a URI", code="bad-manifest")
    return Offer(kind, name, offer.mime_type)


def kind_of(tool: ToolFacts) -> Kind | None:
    """Return what an approved entry is; None for one whose annotations cannot be read: it is nothing then."""
    try:
        return offer_of(tool.annotations).kind
    except (Malformed, msgspec.DecodeError):
        return None


def prompt_named(server: ServerFacts, name: str) -> ToolFacts | None:
    """Return the approved entry of a prompt, or None."""
    return _find(server, "prompt", lambda offer: offer.name == name)


def resource_at(server: ServerFacts, uri: str) -> tuple[ToolFacts, dict[str, str]] | None:
    """Return the approved entry that a URI is of, with its template's variables; a resource of its own comes first."""
    if not _URI.fullmatch(uri):
        return None
    exact = _find(server, "resource", lambda offer: offer.name == uri)
    if exact is not None:
        return exact, {}
    for _name, tool in sorted(server.tools.items()):
        if kind_of(tool) == "template":
            match = _pattern(offer_of(tool.annotations).name).fullmatch(uri)
            if match is not None:
                return tool, match.groupdict()
    return None


def template_named(server: ServerFacts, template: str) -> ToolFacts | None:
    """Return the approved entry of a resource template, or None."""
    return _find(server, "template", lambda offer: offer.name == template)


def _find(server: ServerFacts, kind: Kind, fits: Any) -> ToolFacts | None:
    for _name, tool in sorted(server.tools.items()):
        if kind_of(tool) == kind and fits(offer_of(tool.annotations)):
            return tool
    return None


@lru_cache(maxsize=1_024)
def _pattern(template: str) -> re.Pattern[str]:
    """Return what fits a template: each variable is one segment, so that no value reaches another resource."""
    parts, at, seen = [], 0, set[str]()
    for match in _VARIABLE.finditer(template):
        name = match[1]
        parts.append(re.escape(template[at : match.start()]))
        parts.append(
            f"(?P={name})" if name in seen else f"(?P<{name}>(?!\\.{{1,2}}(?:/|$))[A-Za-z0-9_.~@:+-]{{1,256}})"
        )
        seen.add(name)
        at = match.end()
    return re.compile("".join((*parts, re.escape(template[at:]))), re.ASCII)


def prompt_entry(tool: ToolFacts) -> dict[str, Any]:
    """Return a prompt as `prompts/list` gives it, from what was approved."""
    schema: Mapping[str, Any] = json.loads(tool.schema)
    required = schema.get("required", [])
    arguments = [
        {"name": name, "required": name in required}
        | ({"description": said} if (said := one.get("description")) else {})
        for name, one in schema.get("properties", {}).items()
    ]
    entry = {"name": offer_of(tool.annotations).name, "description": tool.description}
    return entry | ({"arguments": arguments} if arguments else {})


def resource_entry(tool: ToolFacts) -> dict[str, Any]:
    """Return a resource or template as its list gives it, from what was approved."""
    offer = offer_of(tool.annotations)
    member = "uri" if offer.kind == "resource" else "uriTemplate"
    entry = {member: offer.name, "name": tool.name, "description": tool.description}
    return entry | ({} if offer.mime_type is None else {"mimeType": offer.mime_type})
