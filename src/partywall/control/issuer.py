"""The issuer process: the only one that holds signing keys and the owner's right over both databases.

It answers three messages on one socket (`wire/control.py`): enrol a worker, perform a permitted operator action,
exchange the bootstrap token. Source: architecture.md "Processes", ADR-0007.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from partywall import signing
from partywall.control.bootstrap import FILE, bootstrap
from partywall.control.database import Database, next_revision
from partywall.control.enrolment import enrol
from partywall.control.federation.part import Federation, admit
from partywall.control.keyring import Keyring
from partywall.control.leaf_upkeep import tend_leaves
from partywall.control.once import Done, perform
from partywall.control.operations import check_fit, decode_operation, prevalidate
from partywall.control.rule import Mode
from partywall.control.sign_in.part import SignInPart
from partywall.control.upkeep import prepare, read_dsn, tend, until_prepared
from partywall.control.work import Reply, Work
from partywall.decision.action import PLATFORM
from partywall.decision.manifest import canonical_json
from partywall.decision.principal import Kind
from partywall.errors import CallerFault, Malformed, PartywallError
from partywall.ipc import Server, callers, one_by_one
from partywall.settings import Home, Settings
from partywall.telemetry.log import Log
from partywall.version import __version__
from partywall.wire.control import (
    Bootstrap,
    Enrol,
    Enrolled,
    Identified,
    Identify,
    IssuerRequest,
    Perform,
    Performed,
    SignInStep,
    Unidentified,
)
from partywall.wire.ids import TenantId
from partywall.wire.permit import SignedPermit

_encode = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(IssuerRequest)


class Issuer:
    """Answers workers. Every answer is a typed error or a committed change."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        log: Log,
        *,
        control: Database,
        data: Database,
        keyring: Keyring,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.boot = secrets.token_hex(16)
        self._home = home
        self._settings = settings
        self._log = log
        self._control = control
        self._data = data
        self._keyring = keyring
        self._clock = clock
        public_key = keyring.permit_key.public_key().public_bytes_raw()
        self._permits = signing.PermitVerifier(public_key, f"issuer/{self.boot}")
        self.federation = Federation(home, settings, control, clock=clock)
        self.sign_in = SignInPart(home, settings, control, self.federation, clock=clock)

    async def answer(self, peer_uid: int, body: bytes) -> bytes:
        """Return the encoded reply to one message. Raises: the errors that each message's function names."""
        try:
            request = _request.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed("not a message to the issuer") from error
        started_at_s = time.monotonic()
        try:
            return _encode(await self._dispatch(request))
        except PartywallError as error:
            write = self._log.info if isinstance(error, CallerFault) else self._log.warning
            write("issuer.refused", code=error.code, error=type(error).__name__, uid=peer_uid)
            raise
        finally:
            duration_ms = round((time.monotonic() - started_at_s) * 1000, 3)
            self._log.info("issuer.answered", action=type(request).__name__, duration_ms=duration_ms, uid=peer_uid)

    async def _dispatch(
        self, request: Enrol | Perform | Bootstrap | Identify | SignInStep
    ) -> Enrolled | Performed | Identified | Unidentified:
        if isinstance(request, Enrol):
            return await enrol(request, self._keyring.permit_key, self._data, boot=self.boot, now_s=self._clock())
        if isinstance(request, Perform):
            done = await self._perform(request)
            return Performed(done.body, replayed=done.replayed)
        if isinstance(request, Identify):
            return await self.federation.identify(request)
        if isinstance(request, SignInStep):
            permit = self._permits.verify(request.permit, hashlib.sha256(request.payload).digest(), self._clock())
            return Performed(canonical_json(await self.sign_in.take(permit, request.payload)))
        return Performed(canonical_json(await self._bootstrap(request)))

    async def _perform(self, request: Perform) -> Done:
        digest = hashlib.sha256(request.payload).digest()
        permit = self._permits.verify(request.permit, digest, self._clock())
        operation = decode_operation(request.payload)
        rule = check_fit(permit, operation, self._settings.region)
        checked = await prevalidate(operation)
        if checked is None:
            checked = await self.federation.check(operation, permit)
        async with self._work(rule.mode, permit, checked) as work:
            done = await perform(work, operation, request.payload, rule.run, rule.current, secret=rule.secret)
        if rule.mode is Mode.CHANGES:
            self.federation.changed()
        self._log.info("issuer.performed", action=permit.action, act=permit.act, tenant=permit.tenant)
        return done

    async def _bootstrap(self, request: Bootstrap) -> Reply:
        async with self._work(Mode.CHANGES) as work:
            reply = await bootstrap(work, request.token)
        (self._home.issuer / FILE).unlink(missing_ok=True)
        self._log.info("issuer.bootstrapped")
        return reply

    @contextlib.asynccontextmanager
    async def _work(
        self, mode: Mode, permit: SignedPermit | None = None, checked: object = None
    ) -> AsyncIterator[Work]:
        """One transaction, with the caller looked up inside it. permit: None for the bootstrap token."""
        now_s = self._clock()
        async with self._control.transaction() as connection:
            revision = await next_revision(connection) if mode is Mode.CHANGES else 0
            credential = None
            if permit is not None:
                credential = await admit(connection, permit, now_s, lock=mode is Mode.ISSUES, checked=checked)
            yield Work(
                connection=connection,
                data=self._data,
                revision=revision,
                now_s=now_s,
                region=self._settings.region,
                settings=self._settings.issuer,
                keyring=self._keyring,
                tenant=PLATFORM if permit is None else TenantId(permit.tenant),
                kind=Kind.PLATFORM_OPERATOR if permit is None else Kind(permit.principal_kind),
                principal="bootstrap" if permit is None else permit.principal,
                credential=credential,
                checked=checked,
                trust_domain=self._settings.federation.trust_domain,
            )


async def serve(home: Home, settings: Settings, log: Log, stop: asyncio.Event) -> None:
    """Run the issuer until stop is set. Waits for its databases; the socket appears when it can answer."""
    control = Database(read_dsn(home, "control"), application="partywall-issuer")
    data = Database(read_dsn(home, "data"), application="partywall-issuer")
    keyring = Keyring(
        home.issuer, access_token_s=settings.issuer.access_token_s, rotation_s=settings.issuer.key_rotation_s
    )
    await control.open()
    await data.open()
    try:
        attempt = functools.partial(prepare, home, settings, control, keyring, time.time)
        if await until_prepared(attempt, log, stop):
            issuer = Issuer(home, settings, log, control=control, data=data, keyring=keyring)
            upkeep = _upkeep(
                tend(home, control, keyring, time.time, log),
                tend_leaves(
                    read_dsn(home, "data"),
                    control,
                    data,
                    log,
                    exact_limit_chunks=settings.collections.exact_limit_chunks,
                ),
            )
            await _answer_until(issuer, upkeep, home, log, stop)
            await issuer.federation.close()
    finally:
        await control.close()
        await data.close()


async def _upkeep(*jobs: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(*jobs)


async def _answer_until(
    issuer: Issuer, upkeep: Coroutine[Any, Any, None], home: Home, log: Log, stop: asyncio.Event
) -> None:
    home.issuer_socket.parent.mkdir(parents=True, exist_ok=True)
    server = Server(
        home.issuer_socket,
        one_by_one(issuer.answer),
        allowed_uids=callers(home),
        on_bug=lambda error: log.error("issuer.bug", error),
    )
    upkeep_task = asyncio.get_running_loop().create_task(upkeep)
    try:
        await server.start()
        log.info("issuer.ready", pid=os.getpid(), version=__version__)
        await stop.wait()
    finally:
        await server.close()
        upkeep_task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await upkeep_task
        log.info("issuer.stopped")
