"""The control database's facts in one worker's memory: polled each second, never asked on the road.

One statement asks whether the revision moved; only what changed is loaded, from one snapshot, and becomes visible in
one step of the event loop. A database that is down or hung makes `age_s` grow and stops nothing else: the road denies
when the facts are too old. Source: ADR-0007, attacks.md ID-5 and ID-9.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import asyncpg

from partywall.decision.facts import KeyFacts, State, TenantFacts
from partywall.store.directory_rows import Changes, read_changes
from partywall.telemetry.log import Log
from partywall.wire.ids import KeyId, TenantId

STATEMENT_TIMEOUT_S: Final = 2.0
PRUNE_S: Final = 60.0
_POLL: Final = "select n, pg_postmaster_start_time() as started from control.revision"


CHANNEL: Final = "partywall_revision"


class ControlDirectory:
    """Implements `decision.ports.Directory`. dsn: the `pw_directory` role's. region: only its tenants are loaded.

    A session's revocation arrives as that of each of its tokens: a session's name is one tenant's own, and the
    question `is_revoked` knows no tenant.
    """

    def __init__(
        self,
        dsn: str,
        log: Log,
        *,
        region: str,
        poll_s: float = 1.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dsn = dsn
        self._log = log
        self._region = region
        self._poll_s = poll_s
        self._clock = clock
        self._monotonic = monotonic
        self._revision = -1
        self._confirmed_at_s = float("-inf")
        self._pruned_at_s = monotonic()
        self._tenants: dict[TenantId, TenantFacts] = {}
        self._keys: dict[KeyId, KeyFacts] = {}
        self._revocations: dict[str, float | None] = {}
        self._verification_keys: dict[str, tuple[bytes, float | None]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._connection: asyncpg.Connection | None = None
        self._started: datetime | None = None
        self._out_of_reach = False
        self._task: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()
        self._told = asyncio.Event()

    async def start(self) -> None:
        """Load everything once and go on polling. When the database is out of reach: return, stay empty, retry."""
        await self.refresh()
        self._task = asyncio.get_running_loop().create_task(self._poll_forever())

    async def close(self) -> None:
        """Stop polling and drop the connection; what was loaded stays and ages."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._drop()

    async def refresh(self) -> None:
        """Ask now and not at the next poll: whoever has just changed something sees it. Never raises."""
        async with self._asking:
            await self._poll_once()

    @property
    def revision(self) -> int:
        """The newest revision loaded; -1 before the first."""
        return self._revision

    def age_s(self) -> float:
        """Seconds since the question that the database last answered; infinite before the first answer."""
        return self._monotonic() - self._confirmed_at_s

    def tenant(self, tenant: TenantId) -> TenantFacts | None:
        """The facts of a tenant of this region."""
        return self._tenants.get(tenant)

    def key(self, key: KeyId) -> KeyFacts | None:
        """An API key that is neither revoked nor unknown; its end is the caller's to check."""
        return self._keys.get(key)

    def is_revoked(self, credential: str) -> bool:
        """Whether a token id, key id or subject was revoked (a session: each of its tokens)."""
        return credential in self._revocations

    def verification_keys(self) -> Mapping[str, bytes]:
        """Public keys of access tokens by key id: the one to come, the one that signs, retired ones in their time."""
        now_s = self._clock()
        return {
            kid: public_key
            for kid, (public_key, not_after_s) in self._verification_keys.items()
            if not_after_s is None or not_after_s > now_s
        }

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back in the event loop after each new revision was loaded."""
        self._callbacks.append(callback)

    async def _poll_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), self._poll_s)
            self._told.clear()
            await self.refresh()
            self._prune()

    async def _poll_once(self) -> None:
        try:
            asked_at_s = self._monotonic()
            changes, full = await self._ask()
        except asyncio.CancelledError:  # an answer may still be under way on this connection
            self._drop()
            raise
        except Exception as error:  # whatever it is: the facts grow old, and the next poll asks again
            self._drop()
            if not self._out_of_reach:
                self._log.error("directory.out-of-reach", error)
            self._out_of_reach = True
            return
        self._confirmed_at_s = asked_at_s
        if self._out_of_reach:
            self._log.info("directory.back", revision=self._revision)
        self._out_of_reach = False
        if changes is not None:
            self._apply(changes, full=full)

    async def _ask(self) -> tuple[Changes | None, bool]:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = self._connection = await self._connect()
        row = await connection.fetchrow(_POLL)
        # Another database (restored, failed over) may count anew: what was loaded from the old one is worth nothing.
        full = row["started"] != self._started or row["n"] < self._revision
        if not full and row["n"] == self._revision:
            return None, False
        since = -1 if full else self._revision
        changes = await read_changes(connection, since, region=self._region, now_s=self._clock())
        self._started = row["started"]
        return changes, full

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=STATEMENT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            server_settings={
                "application_name": "partywall-directory",
                "statement_timeout": str(int(STATEMENT_TIMEOUT_S * 1000)),
                "default_transaction_read_only": "on",
            },
        )
        # Told at once of a change (0003_notify.sql); a proxy that swallows notifications costs a poll's second.
        await connection.add_listener(CHANNEL, lambda *_: self._told.set())
        return connection

    def _apply(self, changes: Changes, *, full: bool) -> None:
        if full:
            self._tenants, self._keys, self._revocations = {}, {}, {}
        for tenant, tenant_facts in changes.tenants.items():
            if tenant_facts.state is State.DELETED:
                self._tenants.pop(tenant, None)
            else:
                self._tenants[tenant] = tenant_facts
        for key_id, facts in changes.keys.items():
            if facts is None:
                self._keys.pop(key_id, None)
            else:
                self._keys[key_id] = facts
        self._revocations.update(changes.revocations)
        self._verification_keys = changes.verification_keys
        self._revision = changes.revision
        for callback in self._callbacks:
            try:
                callback()
            except Exception as error:  # one listener's bug must not stop the next revision
                self._log.error("directory.callback", error)

    def _prune(self) -> None:
        if self._monotonic() < self._pruned_at_s + PRUNE_S:
            return
        self._pruned_at_s = self._monotonic()
        now_s = self._clock()
        self._keys = {key: facts for key, facts in self._keys.items() if facts.expires_at_s > now_s}
        self._revocations = {
            credential: end_s for credential, end_s in self._revocations.items() if end_s is None or end_s > now_s
        }

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()
