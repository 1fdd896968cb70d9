"""Gateways with one control replaced each; `CAUGHT_BY` says which probe must see the leak."""

from __future__ import annotations

import base64
import hashlib
import json
from contextvars import ContextVar
from typing import Any, ClassVar

import msgspec

from knockouts.mark import StampedHttp, StampedLedger
from partywall.decision import facts as facts_module
from partywall.decision.action import ActionType, Resource
from partywall.decision.decide import Decider
from partywall.decision.facts import KeyFacts, State, TenantFacts
from partywall.decision.labels import Label
from partywall.decision.permit import Permit, PermitClaims
from partywall.decision.ports import Call, Effect, Ledger, Provider, Road
from partywall.decision.principal import Principal
from partywall.decision.record import Phase, Record
from partywall.decision.verdict import Allow, Deny, NeedsApproval, Verdict
from partywall.errors import Denied, PartywallError
from partywall.gateway import authenticate, openai, rest_routes
from partywall.gateway.access_token import Claims, VerifiedToken
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.http import Request
from partywall.gateway.pipeline import Pipeline
from partywall.gateway.worker import Gateway
from partywall.providers.memory.provider import MemoryProvider
from partywall.providers.models import provider as models
from partywall.providers.models.provider import ModelProvider
from partywall.providers.operator.audit import AuditProvider
from partywall.providers.tools import drift, schema
from partywall.store.directory import ControlDirectory
from partywall.store.memory import StoredMemories
from partywall.wire.ids import KeyId, TenantId
from partywall.wire.openai import ChatRequest, parse_chat

REQUEST: ContextVar[Request | None] = ContextVar("request", default=None)
"""The request under way: what a careless implementation keeps at hand."""


def swap(owner: Any, name: str, replacement: Any) -> None:
    """Replace one attribute of a module or class, in this process only."""
    if not hasattr(owner, name):
        raise AttributeError(f"{owner} has no {name} to knock out")
    setattr(owner, name, replacement)


class Knocked(Gateway):
    """The product, stamped. Subclasses replace one part."""

    name: ClassVar[str] = "nothing"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.http: Any = StampedHttp(self.http, self.name)

    def make_ledger(self) -> Ledger:
        return StampedLedger(super().make_ledger(), self.name)


class _Remembering(Knocked):
    """Keeps the request at hand for the careless parts."""

    def make_doors(self) -> list[Any]:
        return [_remember(door) for door in super().make_doors()]


def _remember(door: Any) -> Any:
    class Remembered:
        prefixes = door.prefixes
        openai_errors = door.openai_errors

        async def __call__(self, request: Request) -> None:
            REQUEST.set(request)
            await door(request)

    return Remembered()


# --- identity ---------------------------------------------------------------------------------------------------------


class TokenUnverified(Knocked):
    """Believes what a token says."""

    name = "token-unverified"

    def make_authenticator(self) -> Authenticator:
        def believe(raw_token: str, directory: Any, *, region: str, now_s: float) -> VerifiedToken:
            _head, body, _signature = raw_token.split(".")
            claims = msgspec.convert(json.loads(base64.urlsafe_b64decode(body + "==")), Claims)
            return VerifiedToken(next(iter(directory.verification_keys())), claims)

        swap(authenticate, "verify_access_token", believe)
        return super().make_authenticator()


class _OldDirectory(ControlDirectory):
    """Never forgets a key, and never hears of a revocation."""

    _seen: ClassVar[dict[KeyId, KeyFacts]] = {}

    def key(self, key: KeyId) -> KeyFacts | None:
        found = super().key(key)
        if found is not None:
            self._seen[key] = found
        return found or self._seen.get(key)

    def is_revoked(self, credential: str) -> bool:
        return False


class RevocationIgnored(Knocked):
    """Serves whoever was once let in."""

    name = "revocation-ignored"

    def make_directory(self, dsn: str) -> ControlDirectory:
        return _OldDirectory(dsn, self.log, region=self.region)


class _Unsuspended(_OldDirectory):
    def tenant(self, tenant: TenantId) -> TenantFacts | None:
        facts = super().tenant(tenant)
        if facts is None:
            return None
        awake = {name: msgspec.structs.replace(subject, state=State.ACTIVE) for name, subject in facts.subjects.items()}
        return msgspec.structs.replace(facts, subjects=awake)


class SuspensionIgnored(Knocked):
    """Takes every subject for active."""

    name = "suspension-ignored"

    def make_directory(self, dsn: str) -> ControlDirectory:
        return _Unsuspended(dsn, self.log, region=self.region)


class StreamUnchecked(Knocked):
    """Decides once, when a stream opens."""

    name = "stream-unchecked"

    def make_pipeline(self) -> Pipeline:
        pipeline = super().make_pipeline()
        pipeline.streams._still_allowed = lambda _envelope: None  # noqa: SLF001  # that is the knock-out
        return pipeline


class TenantHeader(_Remembering):
    """Lets a header say whose the request is."""

    name = "tenant-header"

    def make_authenticator(self) -> Authenticator:
        directory = self.directory

        class Trusting(Authenticator):
            def authenticate(self, raw_credential: str | None) -> Principal:
                principal = super().authenticate(raw_credential)
                request = REQUEST.get()
                named = request.header("x-tenant-id") if request is not None else None
                facts = directory.tenant(TenantId(named)) if named else None
                if facts is None:
                    return principal
                agent = next(s.id for s in facts.subjects.values() if s.grants)
                return msgspec.structs.replace(principal, tenant=facts.id, id=agent)

        return Trusting(directory, region=self.region, clock=self.clock)


# --- decision ---------------------------------------------------------------------------------------------------------


class _Permissive(Decider):
    """Allows what is known and of these actions, whoever asks."""

    actions: ClassVar[frozenset[ActionType]] = frozenset()

    def decide(self, envelope: Any, facts: Any, **what: Any) -> Verdict:
        if envelope.action.type in self.actions and what["known"]:
            return Allow(policy_revision="knocked-out")
        return super().decide(envelope, facts, **what)


class GrantsOff(Knocked):
    """Needs no grant for models and tools."""

    name = "grants-off"

    def make_decider(self) -> Decider:
        class Grantless(_Permissive):
            actions = frozenset({ActionType.MODEL_REQUEST, ActionType.TOOL_CALL})

        return Grantless()


class RolesOff(Knocked):
    """Does not ask which kind of principal it is."""

    name = "roles-off"

    def make_decider(self) -> Decider:
        class Flat(_Permissive):
            actions = frozenset(ActionType)

        return Flat()


class AgentScopeOff(Knocked):
    """Opens every memory of a tenant to all of its agents."""

    name = "agent-scope-off"

    def make_decider(self) -> Decider:
        class Shared(_Permissive):
            actions = frozenset({ActionType.MEMORY})

        return Shared()


class ConcealOff(Knocked):
    """Says `forbidden` of what exists elsewhere."""

    name = "conceal-off"

    def make_pipeline(self) -> Pipeline:
        pipeline = super().make_pipeline()
        directory, refuse = self.directory, pipeline._refuse  # noqa: SLF001

        async def talkative(journey: Any, verdict: Deny | NeedsApproval) -> PartywallError:
            error = await refuse(journey, verdict)
            everything = msgspec.json.encode(list(directory._tenants.values()))  # noqa: SLF001
            name = journey.call.name.partition("/")[0].encode()
            return Denied("it belongs to somebody else") if len(name) > 20 and name in everything else error

        pipeline._refuse = talkative  # type: ignore[method-assign]  # noqa: SLF001
        return pipeline


# --- doors and providers ----------------------------------------------------------------------------------------------


class LenientParse(Knocked):
    """Takes the first of two keys, as some parsers do."""

    name = "lenient-parse"

    def make_doors(self) -> list[Any]:
        def first_wins(raw: bytes) -> Any:
            return json.loads(raw, object_pairs_hook=lambda pairs: dict(reversed(pairs)))

        swap(openai, "parse_json", first_wins)
        return super().make_doors()


class CredentialForwarded(_Remembering):
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


# --- evidence ---------------------------------------------------------------------------------------------------------


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


CAUGHT_BY: tuple[tuple[type[Knocked], str], ...] = (
    (CredentialForwarded, "ID-2"),
    (TokenUnverified, "ID-8"),
    (RevocationIgnored, "ID-5"),
    (StreamUnchecked, "ID-5s"),
    (SuspensionIgnored, "ID-10"),
    (ConcealOff, "NI-1"),
    (MemoryShared, "NI-2"),
    (TenantHeader, "FORGE-1"),
    (RolesOff, "ROLE-1"),
    (AgentScopeOff, "AGENT-1"),
    (LenientParse, "WIRE-1"),
    (FieldsForwarded, "KV-1"),
    (ReplyForwarded, "KV-4"),
    (GrantsOff, "MODEL-1"),
    (GrantsOff, "MCP-2"),
    (RecordsRaw, "MCP-1"),
    (ManifestUnpinned, "MCP-3"),
    (SchemaOff, "MCP-5s"),
    (TokenUnverified, "ID-3"),
    (AuditAnyLog, "AU-2"),
    (DenialsUnrecorded, "AU-5"),
)
