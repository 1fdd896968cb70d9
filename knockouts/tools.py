"""Gateways without one control of the tool door each. Source: attacks.md, MCP-*."""

from __future__ import annotations

from typing import Any

from knockouts.knocked import Knocked, swap
from partywall.decision.ports import Provider
from partywall.providers.tools import drift, schema


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
