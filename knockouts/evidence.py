"""Gateways whose records are not what they should be. Source: attacks.md, AU-*, MCP-1."""

from __future__ import annotations

import hashlib
import json
from contextvars import ContextVar
from typing import Any

import msgspec

from knockouts.knocked import Knocked, swap
from partywall.decision.action import Resource
from partywall.decision.permit import PermitClaims
from partywall.decision.ports import Call, Ledger, Provider
from partywall.decision.record import Phase, Record
from partywall.gateway import openai, rest_routes
from partywall.providers.operator.audit import AuditProvider
from partywall.providers.operator.provider import OperatorProvider
from partywall.wire.ids import TenantId


class DenialsUnrecorded(Knocked):
    """Records what was done, not what was refused."""

    name = "denials-unrecorded"

    def make_ledger(self) -> Ledger:
        inner = super().make_ledger()

        class Forgetful:
            async def append(self, record: Record, *, durable: bool) -> None:
                if record.phase is not Phase.DENIAL:
                    await inner.append(record, durable=durable)

        return Forgetful()


class RecordsRaw(Knocked):
    """Puts what was said into the record."""

    name = "records-raw"

    def make_doors(self) -> list[Any]:
        swap(openai, "_sanitized", lambda chat: {"messages": msgspec.to_builtins(chat.messages)})
        return super().make_doors()


class AuditAnyLog(Knocked):
    """Reads the log that the caller names."""

    name = "audit-any-log"

    def make_audit(self) -> Provider:
        named: ContextVar[str | None] = ContextVar("named", default=None)
        original = rest_routes.AuditRoute.call

        def loose(route: Any, asked: Any) -> Call:
            query = dict(asked.query)
            named.set(query.pop("log", None))
            return original(route, msgspec.structs.replace(asked, query=query))

        swap(rest_routes.AuditRoute, "call", loose)

        class Anybody(AuditProvider):
            async def _read(self, claims: PermitClaims, payload: bytes, now_s: float) -> Any:
                log = named.get()
                if log is None:
                    return await super()._read(claims, payload, now_s)
                query = json.dumps({**json.loads(payload), "log": log}).encode()
                action = msgspec.structs.replace(
                    claims.action, resource=Resource(self._region, TenantId(log), "audit", "*")
                )
                digest = hashlib.sha256(query).digest()
                widened = msgspec.structs.replace(claims, action=action, tenant=TenantId(log), payload_sha256=digest)
                return await super()._read(widened, query, now_s)

        return Anybody(self.ledger_client, self.enrolment.signer, clock=self.clock, region=self.region)


class SearchAnyLog(Knocked):
    """Searches the log of whatever resource a filter names, as one index for everybody would."""

    name = "search-any-log"

    def make_audit(self) -> Provider:
        class Everybody(AuditProvider):
            async def _read(self, claims: PermitClaims, payload: bytes, now_s: float) -> Any:
                asked = json.loads(payload)
                named = asked.get("search", {}).get("filters", {}).get("resource", "").split(":")
                if len(named) != 4 or named[2] == asked["log"]:
                    return await super()._read(claims, payload, now_s)
                log = TenantId(named[2])
                query = json.dumps(asked | {"log": log}).encode()
                action = msgspec.structs.replace(claims.action, resource=Resource(self._region, log, "audit", "*"))
                digest = hashlib.sha256(query).digest()
                widened = msgspec.structs.replace(claims, action=action, tenant=log, payload_sha256=digest)
                return await super()._read(widened, query, now_s)

        return Everybody(self.ledger_client, self.enrolment.signer, clock=self.clock, region=self.region)


class TenantUntold(Knocked):
    """Keeps to the platform's own log what an operator does to a tenant."""

    name = "tenant-untold"

    def make_operators(self) -> dict[str, Provider]:
        swap(OperatorProvider, "_told", lambda _self, _rule, _operation: None)
        return super().make_operators()
