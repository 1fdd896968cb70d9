"""One gateway worker: everything it needs, wired once. It parses hostile bytes, so it holds the least.

`Gateway` names each part in a method of its own, so that a knock-out (`knockouts/`) can replace exactly one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import uvicorn

from partywall.decision.decide import Decider
from partywall.decision.ports import Ledger, Provider
from partywall.errors import Unavailable
from partywall.gateway.authenticate import Authenticator
from partywall.gateway.authzen import AuthzenDoor
from partywall.gateway.code_grant import AUTHORIZATION_CODE, REFRESH_TOKEN, SignInGrant
from partywall.gateway.connection import Connection
from partywall.gateway.enrolment import Enrolment
from partywall.gateway.exchange import TokenExchange
from partywall.gateway.health import Readiness
from partywall.gateway.http import Door, HttpServer
from partywall.gateway.mcp import McpDoor
from partywall.gateway.mcp_authorization import Challenges
from partywall.gateway.oauth import Grant, OAuthDoor
from partywall.gateway.openai import OpenAiDoor
from partywall.gateway.openapi_door import OpenApiDoor
from partywall.gateway.pipeline import Pipeline
from partywall.gateway.rest import RestDoor
from partywall.gateway.revocation import RevocationDoor
from partywall.gateway.sign_in import SignInDoor
from partywall.gateway.sign_in_steps import Steps
from partywall.ipc import Client
from partywall.ledger.client import LedgerClient
from partywall.providers.by_action import ByAction
from partywall.providers.collections.provider import CollectionProvider
from partywall.providers.decisions.provider import DecisionProvider
from partywall.providers.embeddings.client import EmbeddingClient
from partywall.providers.memory.provider import MemoryProvider
from partywall.providers.models.embed import EmbedProvider
from partywall.providers.models.provider import ModelProvider
from partywall.providers.operator.audit import AuditProvider
from partywall.providers.operator.bootstrap import BootstrapProvider
from partywall.providers.operator.federation import IssuerIdentifier, RefusalProvider
from partywall.providers.operator.provider import OperatorProvider
from partywall.providers.operator.sign_in import SignInProvider
from partywall.providers.operator.table import KINDS
from partywall.providers.tools.provider import ToolProvider
from partywall.reach import Reach, parse_networks
from partywall.settings import Home, Settings
from partywall.store.collections import StoredCollections
from partywall.store.directory import ControlDirectory
from partywall.store.dsn import read_dsn
from partywall.store.memory import StoredMemories
from partywall.store.pool import TenantPool
from partywall.telemetry.log import Log
from partywall.wire.oauth import TOKEN_EXCHANGE

START_LIMIT_S = 30.0
SWITCH_INTERVAL_S = 0.0001
"""The HTTP client hands over replies under the interpreter lock: at the default, each waits up to 5 ms."""


GARBAGE_THRESHOLD = 10_000
"""Objects between two young collections: a request makes hundreds, and few of them in cycles."""

_DIGITS = b"abcdefghijklmnopqrstuvwxyz234567"
_FIVE_BITS = bytes(_DIGITS[byte & 31] for byte in range(256))
_LAST_BITS = bytes(_DIGITS[(byte & 7) << 2] for byte in range(256))


class IdSource:
    """Fresh random ids, each as `format_id` would write 128 random bits; draws entropy for many at once."""

    def __init__(self, batch: int = 256) -> None:
        self._batch = batch
        self._ready: list[str] = []

    def __call__(self, prefix: str) -> str:
        if not self._ready:
            head = os.urandom(25 * self._batch).translate(_FIVE_BITS).decode()
            last = os.urandom(self._batch).translate(_LAST_BITS).decode()
            self._ready = [head[25 * at : 25 * at + 25] + last[at] for at in range(self._batch)]
        return f"{prefix}_{self._ready.pop()}"


class Gateway:
    """The parts of one worker, made in the order in which they need each other."""

    def __init__(self, home: Home, settings: Settings, log: Log, *, index: int) -> None:
        self.home = home
        self.settings = settings
        self.log = log
        self.clock: Callable[[], float] = time.time
        self.region = settings.region
        secrets_dir: Path = home.secrets("gateway")
        self.issuer = Client(home.issuer_socket)
        self.embeddings = EmbeddingClient(Client(home.embeddings_socket))
        self.ledger_client = LedgerClient(home.ledger_socket)
        self.enrolment = Enrolment(self.issuer, worker=f"gateway-{index}", clock=self.clock, log=log)
        self.directory = self.make_directory(read_dsn(secrets_dir / "control.dsn"))
        self.pool = TenantPool(
            read_dsn(secrets_dir / "data.dsn"),
            self.enrolment.token_key,
            clock=self.clock,
            life_s=settings.store.tenant_token_s,
            limit=settings.store.pool_limit,
        )
        self.ledger = self.make_ledger()
        self.authenticator = self.make_authenticator()
        self.providers = self.make_providers()
        self.pipeline = self.make_pipeline()
        self.sign_in_steps = Steps(self.pipeline, region=self.region, clock=self.clock)
        doors = self.make_doors()
        self.http = HttpServer(
            [*doors, OpenApiDoor(doors)],
            log=log,
            body_limit_bytes=settings.gateway.body_limit_bytes,
            concurrent_limit=settings.gateway.concurrent_limit,
            health=self.make_readiness(),
        )

    def make_directory(self, dsn: str) -> ControlDirectory:
        """Facts."""
        return ControlDirectory(dsn, self.log, region=self.region)

    def make_ledger(self) -> Ledger:
        """Records."""
        return self.ledger_client

    def make_authenticator(self) -> Authenticator:
        """Credentials to principals."""
        return Authenticator(
            self.directory,
            region=self.region,
            clock=self.clock,
            facts_limit_age_s=self.settings.gateway.facts_limit_age_s,
        )

    def make_decider(self) -> Decider:
        """Policy."""
        return Decider()

    def make_models(self) -> Provider:
        """Language models."""
        gateway = self.settings.gateway
        return ModelProvider(
            region=self.region,
            clock=self.clock,
            timeout_s=gateway.upstream_timeout_s,
            reply_limit_bytes=gateway.reply_limit_bytes,
        )

    def make_embed(self) -> Provider:
        """Embedding models: the deployment's own, and upstreams."""
        gateway = self.settings.gateway
        return EmbedProvider(
            self.embeddings,
            region=self.region,
            clock=self.clock,
            timeout_s=gateway.upstream_timeout_s,
            reply_limit_bytes=gateway.reply_limit_bytes,
        )

    def make_collections(self) -> Provider:
        """Documents that can be searched."""
        limits = self.settings.collections
        return CollectionProvider(
            StoredCollections(self.pool, exact_limit_chunks=limits.exact_limit_chunks),
            self.embeddings,
            clock=self.clock,
            tenant_limit_bytes=limits.tenant_limit_bytes,
        )

    def make_tools(self) -> Provider:
        """MCP tool servers."""
        return ToolProvider(
            self.directory,
            clock=self.clock,
            timeout_s=self.settings.gateway.upstream_timeout_s,
            reach=self.make_reach(),
        )

    def make_reach(self) -> Reach:
        """Where tenants' tool servers may lie."""
        tools = self.settings.tools
        return Reach(parse_networks(tools.private_networks), loopback=tools.loopback)

    def make_memory(self) -> Provider:
        """Agents' memory."""
        return MemoryProvider(StoredMemories(self.pool), clock=self.clock)

    def make_audit(self) -> Provider:
        """A tenant's own log."""
        return AuditProvider(self.ledger_client, self.enrolment.signer, clock=self.clock, region=self.region)

    def make_decisions(self) -> Provider:
        """What the wall would answer: with a memory of its own, so that questions cost the road none of its."""
        return DecisionProvider(self.directory, self.make_decider(), lambda: self.providers, clock=self.clock)

    def make_operators(self) -> dict[str, Provider]:
        """Operator actions, one provider a kind."""
        return {
            kind: OperatorProvider(
                kind,
                self.issuer,
                self.enrolment.signer,
                audience=self.enrolment.audience,
                clock=self.clock,
                region=self.region,
                refused=self.enrolment.refused,
                settled=self.directory.refresh,
                is_tenant=lambda tenant: self.directory.tenant(tenant) is not None,
            )
            for kind in KINDS
        }

    def make_sign_in(self) -> Provider:
        """Steps of people's sign-in, in the issuer."""
        return SignInProvider(
            self.issuer,
            self.enrolment.signer,
            audience=self.enrolment.audience,
            clock=self.clock,
            region=self.region,
            refused=self.enrolment.refused,
        )

    def make_providers(self) -> Mapping[str, Provider]:
        """Every provider, by resource kind."""
        bootstrap = BootstrapProvider(self.issuer, clock=self.clock, region=self.region, settled=self.directory.refresh)
        operators = self.make_operators()
        return {
            "model": ByAction(self.make_models(), self.make_embed()),
            "tool": self.make_tools(),
            "memory": self.make_memory(),
            "audit": self.make_audit(),
            "decision": self.make_decisions(),
            "bootstrap": bootstrap,
            "federation": RefusalProvider(region=self.region),
            "sign-in": self.make_sign_in(),
            **operators,
            "collection": ByAction(self.make_collections(), operators["collection"]),
        }

    def make_pipeline(self) -> Pipeline:
        """The road."""
        return Pipeline(
            directory=self.directory,
            ledger=self.ledger,
            decider=self.make_decider(),
            providers=self.providers,
            settings=self.settings.gateway,
            region=self.region,
            clock=self.clock,
            new_id=IdSource(),
            log=self.log,
        )

    def make_doors(self) -> list[Door]:
        """Every door that leads to the road."""
        return [
            OpenAiDoor(self.pipeline, self.authenticator),
            McpDoor(self.pipeline, self.authenticator, Challenges(self.settings.public_url)),
            SignInDoor(self.sign_in_steps, public_url=self.settings.public_url),
            OAuthDoor(self.make_grants(), log=self.log),
            RevocationDoor(self.pipeline, self.authenticator, self.sign_in_steps),
            AuthzenDoor(self.pipeline, self.authenticator, base_url=self.settings.public_url),
            RestDoor(self.pipeline, self.authenticator, self.directory, region=self.region, clock=self.clock),
        ]

    def make_grants(self) -> dict[str, Grant]:
        """What the token endpoint gives, by grant type."""
        exchange = TokenExchange(
            self.pipeline,
            self.authenticator,
            self.directory,
            IssuerIdentifier(self.issuer),
            region=self.region,
            trust_domain=self.settings.federation.trust_domain,
            clock=self.clock,
        )
        sign_in: dict[str, Grant] = {
            grant: SignInGrant(grant, self.sign_in_steps, self.pipeline, region=self.region, clock=self.clock)
            for grant in (AUTHORIZATION_CODE, REFRESH_TOKEN)
        }
        return {TOKEN_EXCHANGE: exchange, **sign_in}

    async def start(self) -> None:
        """Enrol, load the facts, and look at the database role. Raises: Unavailable: this worker must not serve."""
        await self.enrolment.start()
        await self.directory.start()
        await self.pool.start()

    def make_readiness(self) -> Readiness:
        """What this worker needs, each part by name."""
        limit_s = self.settings.gateway.facts_limit_age_s

        async def facts() -> bool:
            return self.directory.age_s() <= limit_s

        async def issuer() -> bool:
            return self.enrolment.is_live()

        return Readiness(
            {"facts": facts, "issuer": issuer, "ledger": self.ledger_client.status, "data": self.pool.ping}
        )

    async def close(self) -> None:
        """Let go of everything."""
        await self.enrolment.close()
        await self.directory.close()
        await self.pool.close()
        for provider in self.providers.values():
            close = getattr(provider, "close", None)
            if close is not None:
                await close()
        await self.issuer.close()
        await self.ledger_client.close()


async def serve(
    home: Home,
    settings: Settings,
    log: Log,
    stop: asyncio.Event,
    *,
    index: int,
    listener: socket.socket,
    make: Callable[..., Gateway] = Gateway,
) -> None:
    """Serve on the listener until stop is set, then drain. Raises: Unavailable when it must not or cannot serve."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(GARBAGE_THRESHOLD)
    gateway = make(home, settings, log, index=index)
    await _start(gateway, stop)
    if stop.is_set():
        return
    gc.collect()
    gc.freeze()  # what is here now stays: no collection walks it again
    config = uvicorn.Config(
        gateway.http,
        http=Connection,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.gateway.drain_s),
        h11_max_incomplete_event_size=65_536,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    log.info("gateway.ready", worker=index, port=listener.getsockname()[1])
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    gateway.http.draining = True
    server.should_exit = True
    drain = asyncio.get_running_loop().call_later(settings.gateway.drain_s * 0.8, gateway.pipeline.streams.drain)
    await serving
    drain.cancel()
    stopping.cancel()
    await gateway.close()


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Signals belong to `app.py`."""

    def capture_signals(self) -> object:  # type: ignore[override]
        """Signals belong to `app.py`."""
        return contextlib.nullcontext()


async def _start(gateway: Gateway, stop: asyncio.Event) -> None:
    """Start, waiting for the processes it needs; a role or database that is not safe is final at once."""
    deadline_s = time.monotonic() + START_LIMIT_S
    while not stop.is_set():
        try:
            await gateway.start()
            return
        except Unavailable as error:
            if error.code.startswith(("unsafe-", "old-", "loud-")) or time.monotonic() > deadline_s:
                raise
            gateway.log.warning("gateway.waiting", code=error.code)
            await asyncio.sleep(0.3)
