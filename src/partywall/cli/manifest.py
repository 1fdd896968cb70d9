"""Asks an MCP server over streamable HTTP for its tools, and for what else it offers: `initialize` and its lists.

Source: MCP 2025-11-25, "Streamable HTTP", "Tools", "Prompts" and "Resources".
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any, Final

import click
from pyreqwest.client import SyncClient, SyncClientBuilder
from pyreqwest.exceptions import RequestError

from partywall.decision.manifest import OFFERS, prompt_schema
from partywall.version import __version__

PROTOCOL: Final = "2025-11-25"
LIMIT_BYTES: Final = 4 * 1024 * 1024
PAGES_LIMIT: Final = 64
TIMEOUT_S: Final = 30.0


def fetch_tools(url: str, *, offers: bool = False) -> list[dict[str, Any]]:
    """Return the tools in the form that `POST /v1/servers` takes. Raises: click.ClickException.

    offers: prompts, resources and resource templates too, as entries `prompt.<name>`, `resource.<name>` and
    `template.<name>`.
    """
    session = _Session(url)
    hello = session.call("initialize", {
        "protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": "partywall", "version": __version__},
    })  # fmt: skip
    session.version = str(hello.get("protocolVersion", PROTOCOL))
    session.notify("notifications/initialized")
    said = hello.get("capabilities") or {}
    entries = [_spec(tool) for tool in session.listed("tools/list", "tools")] if "tools" in said or not offers else []
    if offers and "prompts" in said:
        entries += [_prompt(prompt) for prompt in session.listed("prompts/list", "prompts")]
    if offers and "resources" in said:
        entries += [_resource(one, "resource", "uri") for one in session.listed("resources/list", "resources")]
        templates = session.listed("resources/templates/list", "resourceTemplates")
        entries += [_resource(one, "template", "uriTemplate") for one in templates]
    return entries


def _spec(tool: dict[str, Any]) -> dict[str, Any]:
    spec = {"name": tool["name"], "description": tool.get("description") or "", "input_schema": tool["inputSchema"]}
    if tool.get("outputSchema") is not None:
        spec["output_schema"] = tool["outputSchema"]
    if tool.get("annotations"):
        spec["annotations"] = {name: value for name, value in tool["annotations"].items() if value is not None}
    return spec


def _prompt(prompt: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": _named("prompt", prompt["name"]),
        "description": prompt.get("description") or "",
        "input_schema": prompt_schema(prompt.get("arguments") or []),
        "annotations": {OFFERS: {"prompt": prompt["name"]}},
    }


def _resource(one: dict[str, Any], kind: str, member: str) -> dict[str, Any]:
    offer = {kind: one[member]} | ({"mimeType": one["mimeType"]} if one.get("mimeType") else {})
    variables = (
        {name: {"type": "string"} for name in re.findall(r"\{(\w+)\}", one[member])} if kind == "template" else {}
    )
    return {
        "name": _named(kind, one["name"]),
        "description": one.get("description") or "",
        "input_schema": {"type": "object", "properties": variables},
        "annotations": {OFFERS: offer},
    }


def _named(kind: str, name: str) -> str:
    """Return what grants call it: letters, digits, dots and dashes."""
    return f"{kind}.{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}"[:128]


class _Session:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client: SyncClient = SyncClientBuilder().timeout(timedelta(seconds=TIMEOUT_S)).no_proxy().build()
        self._id: str | None = None
        self._sequence = 0
        self.version: str | None = None

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._sequence += 1
        data, media = self._send({"jsonrpc": "2.0", "id": self._sequence, "method": method, "params": params})
        try:
            answer = _answer(data, media, self._sequence)
        except (ValueError, KeyError, TypeError):
            raise click.ClickException(f"{self._url} does not answer like an MCP server") from None
        if "error" in answer:
            raise click.ClickException(f"{self._url} refused {method}: {answer['error'].get('message', '')}")
        return dict(answer["result"])

    def listed(self, method: str, member: str) -> list[dict[str, Any]]:
        """Return every entry of a list, all pages."""
        entries: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(PAGES_LIMIT):
            page = self.call(method, {"cursor": cursor} if cursor else {})
            entries += page.get(member, [])
            cursor = page.get("nextCursor")
            if not cursor:
                return entries
        raise click.ClickException(f"{self._url} lists its {member} on more than {PAGES_LIMIT} pages")

    def notify(self, method: str) -> None:
        self._send({"jsonrpc": "2.0", "method": method})

    def _send(self, message: dict[str, Any]) -> tuple[bytes, str]:
        request = (
            self._client.post(self._url)
            .header("Content-Type", "application/json")
            .header("Accept", "application/json, text/event-stream")
            .body_bytes(json.dumps(message).encode())
        )
        if self.version is not None:
            request = request.header("MCP-Protocol-Version", self.version)
        if self._id is not None:
            request = request.header("Mcp-Session-Id", self._id)
        try:
            response = request.build().send()
            data = bytes(response.bytes())
        except RequestError as error:
            raise click.ClickException(f"{self._url} is out of reach: is the MCP server running?") from error
        if not 200 <= response.status < 300:
            raise click.ClickException(f"{self._url} answered with status {response.status}")
        if len(data) > LIMIT_BYTES:
            raise click.ClickException(f"{self._url} answered with more than {LIMIT_BYTES} bytes")
        self._id = response.headers.get("mcp-session-id") or self._id
        return data, response.headers.get("content-type") or ""


def _answer(data: bytes, media: str, sequence: int) -> dict[str, Any]:
    """Return the answer to one request: the body, or the event of a stream that carries its id."""
    if not media.startswith("text/event-stream"):
        return dict(json.loads(data))
    for event in data.decode().replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        message = json.loads("\n".join(lines)) if any(lines) else {}
        if message.get("id") == sequence:
            return dict(message)
    raise ValueError("no answer in the stream")
