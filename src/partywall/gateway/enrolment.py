"""A worker's short-lived rights: its certificate for permits and its tenant-token key, renewed half-way."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from partywall.decision.ports import Clock
from partywall.errors import PartywallError, Unavailable
from partywall.ipc import Client
from partywall.signing import PermitSigner
from partywall.store.tenant_token import TokenKey
from partywall.telemetry.log import Log
from partywall.wire.control import Enrol, Enrolled, IssuerReply

RETRY_S = 0.5
_encode = msgspec.msgpack.Encoder().encode
_reply = msgspec.msgpack.Decoder(IssuerReply)


class Enrolment:
    """What the issuer lends to one worker. Before it and past its end, everything that needs it denies."""

    def __init__(self, issuer: Client, *, worker: str, clock: Clock, log: Log) -> None:
        self.signer = PermitSigner()
        self._issuer = issuer
        self._worker = worker
        self._clock = clock
        self._log = log
        self._key: TokenKey | None = None
        self._boot = ""
        self._renew_at_s = 0.0
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Enrol, and keep doing so in the background. Raises: Unavailable."""
        await self.renew()
        self._task = asyncio.ensure_future(self._renew_forever())

    async def close(self) -> None:
        """Stop renewing."""
        if self._task is not None:
            self._task.cancel()

    def audience(self) -> str:
        """The audience of permits for the issuer."""
        return f"issuer/{self._boot}"

    def refused(self) -> None:
        """Enrol again soon: the issuer did not take a permit (it restarted)."""
        self._again.set()

    def token_key(self) -> TokenKey:
        """The key of tenant tokens. Raises: Unavailable when it ended."""
        if self._key is None or self._clock() >= self._key.expires_at_s:
            raise Unavailable("the issuer is out of reach", code="not-enrolled", retry_after_s=1.0)
        return self._key

    def is_live(self) -> bool:
        """Whether the rights still hold."""
        return self._key is not None and self._clock() < self._key.expires_at_s

    async def renew(self) -> None:
        """Enrol once. Raises: Unavailable."""
        request = _encode(Enrol(worker=self._worker, public_key=self.signer.public_key))
        reply = _reply.decode(await self._issuer.call(request))
        if not isinstance(reply, Enrolled):
            raise Unavailable("the issuer did not enrol this worker", retry_after_s=1.0)
        self.signer.renew(reply.certificate, reply.expires_at_s)
        self._key = TokenKey(reply.token_key_id, reply.token_key, reply.expires_at_s)
        self._boot = reply.boot
        self._renew_at_s = (self._clock() + reply.expires_at_s) / 2

    async def _renew_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), max(RETRY_S, self._renew_at_s - self._clock()))
            self._again.clear()
            try:
                await self.renew()
            except PartywallError as error:
                self._log.warning("enrolment.failed", code=error.code)
                await asyncio.sleep(RETRY_S)
                self._again.set()
