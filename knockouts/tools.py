"""Gateways without one control of the tool door each. Source: attacks.md, MCP-*."""

from __future__ import annotations

from typing import Any

import msgspec

from knockouts.knocked import REQUEST, Knocked, Remembering, swap
from partywall.decision.facts import ServerFacts
from partywall.decision.ports import Provider
from partywall.providers.tools import carried, drift, schema
from partywall.providers.tools.exchange import Exchange
from partywall.providers.tools.provider import ToolProvider
from partywall.providers.tools.upstream import request_body
from partywall.reach import Address, Reach


class ManifestUnpinned(Knocked):
    """Calls a tool whatever it has become."""

    name = "manifest-unpinned"

    def make_tools(self) -> Provider:
        async def trust(_self: Any, _tool: Any, *, timeout_s: float) -> None:
            del timeout_s

        swap(drift.Manifest, "check", trust)
        return super().make_tools()


class SchemaOff(Knocked):
    """Sends any arguments."""

    name = "schema-off"

    def make_tools(self) -> Provider:
        swap(schema.Schema, "check", lambda _self, _value: None)
        return super().make_tools()


class AddressNamed(Remembering):
    """Calls whatever address the request names."""

    name = "address-named"

    def make_tools(self) -> Provider:
        class Obliging(ToolProvider):
            def _link(self, server: ServerFacts, tenant: str) -> Any:
                request = REQUEST.get()
                named = request.header("x-mcp-server-url") if request is not None else None
                return super()._link(server if named is None else msgspec.structs.replace(server, url=named), tenant)

        return Obliging(self.directory, clock=self.clock, reach=self.make_reach())


class PayloadPasted(Knocked):
    """Pastes arguments into the text of the request."""

    name = "payload-pasted"

    def make_tools(self) -> Provider:
        built = request_body

        def paste(method: str, params: dict[str, Any]) -> bytes:
            arguments = params.get("arguments", {})
            if any(not isinstance(value, str) for value in arguments.values()):
                return built(method, params)
            members = ", ".join(f'"{name}": "{value}"' for name, value in arguments.items())
            pasted = b'"arguments":{%b}' % members.encode("utf-8", "surrogatepass")
            return built(method, params | {"arguments": {}}).replace(b'"arguments":{}', pasted)

        swap(carried, "request_body", paste)
        return super().make_tools()


class ToolCredentialForwarded(Remembering):
    """Passes the caller's token on to the tool server."""

    name = "tool-credential-forwarded"

    def make_tools(self) -> Provider:
        post = Exchange.post

        async def forward(exchange: Any, url: str, body: bytes, headers: Any, **limits: Any) -> Any:
            request = REQUEST.get()
            given = {"authorization": f"Bearer {request and request.credential()}"}
            return await post(exchange, url, body, {**headers, **given}, **limits)

        swap(Exchange, "post", forward)
        return super().make_tools()


class ReachOff(Knocked):
    """Calls tool servers wherever they lie."""

    name = "reach-off"

    def make_reach(self) -> Reach:
        class Anywhere(Reach):
            def allows(self, address: Address) -> bool:
                return True

        return Anywhere()
