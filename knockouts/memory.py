"""Gateways whose memory is not one subject's alone. Source: attacks.md, AGENT-1, NI-*."""

from __future__ import annotations

import json

from knockouts.knocked import Knocked
from partywall.decision.permit import Permit
from partywall.decision.ports import Effect, Provider, Road
from partywall.providers.memory.provider import MemoryProvider
from partywall.store.memory import StoredMemories


class MemoryShared(Knocked):
    """Keeps one cache of memory keys for everybody."""

    name = "memory-shared"

    def make_memory(self) -> Provider:
        keys: set[str] = set()

        class Shared(MemoryProvider):
            async def perform(self, permit: Permit, payload: bytes, road: Road) -> Effect:
                operation = json.loads(payload)
                if "key" in operation:
                    keys.add(operation["key"])
                effect = await super().perform(permit, payload, road)
                if operation["operation"] == "list":
                    effect.body = json.dumps({"keys": sorted(keys)}).encode()
                return effect

        return Shared(StoredMemories(self.pool), clock=self.clock)
