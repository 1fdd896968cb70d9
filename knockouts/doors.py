"""Gateways whose doors parse or forward carelessly. Source: attacks.md, KV-*, WIRE-*, ID-2."""

from __future__ import annotations

import json
from typing import Any

from knockouts.knocked import REQUEST, Knocked, Remembering, swap
from partywall.decision import facts as facts_module
from partywall.decision.labels import Label
from partywall.decision.permit import PermitClaims
from partywall.decision.ports import Effect, Provider
from partywall.gateway import openai
from partywall.providers.models import provider as models
from partywall.providers.models.provider import ModelProvider
from partywall.wire.openai import ChatRequest, parse_chat


class LenientParse(Knocked):
    """Takes the first of two keys, as some parsers do."""

    name = "lenient-parse"

    def make_doors(self) -> list[Any]:
        def first_wins(raw: bytes) -> Any:
            return json.loads(raw, object_pairs_hook=lambda pairs: dict(reversed(pairs)))

        swap(openai, "parse_json", first_wins)
        return super().make_doors()


class CredentialForwarded(Remembering):
    """Hands the caller's credential to the upstream, as many proxies do."""

    name = "credential-forwarded"

    def make_models(self) -> Provider:
        class Forwarding(ModelProvider):
            async def _ask(self, model: facts_module.ModelFacts, claims: PermitClaims, payload: bytes) -> Any:
                request = REQUEST.get()
                forwarded = {"authorization": f"Bearer {request and request.credential()}"}
                url = model.upstream + models.CHAT_PATH
                return await self._upstreams.post(claims.tenant, url, payload, headers=forwarded)

        return Forwarding(region=self.region, clock=self.clock)


class FieldsForwarded(Knocked):
    """Sends on whatever fields the caller sent."""

    name = "fields-forwarded"

    def make_doors(self) -> list[Any]:
        given: dict[int, dict[str, Any]] = {}
        strict, build = parse_chat, models.upstream_bytes

        def loose(value: Any) -> ChatRequest:
            known = {name: inner for name, inner in value.items() if name in ChatRequest.__struct_fields__}
            chat = strict(known)
            given[id(chat)] = value
            return chat

        def forward(request: ChatRequest, model: Any) -> bytes:
            body = {**json.loads(build(request, model)), **given.get(id(request), {})}
            return json.dumps(body | {"model": model.upstream_model}).encode()

        swap(openai, "parse_chat", loose)
        swap(models, "upstream_bytes", forward)
        return super().make_doors()


class ReplyForwarded(Knocked):
    """Gives back the upstream's reply as it is."""

    name = "reply-forwarded"

    def make_models(self) -> Provider:
        class Forwarding(ModelProvider):
            async def _complete(
                self, model: facts_module.ModelFacts, claims: PermitClaims, payload: bytes, label: Label
            ) -> Effect:
                response = await self._ask(model, claims, payload)
                return Effect(body=await response.read(self._reply_limit_bytes), label=label)

        return Forwarding(region=self.region, clock=self.clock)
