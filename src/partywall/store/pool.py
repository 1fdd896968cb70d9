"""Connections of the gateway's role to the data database, lent out one transaction at a time and to one tenant.

The tenant token is set in the same round trip that begins the transaction and ends with it. What is lent out runs
single, parameterised statements and nothing else. A connection on which anything was cut short (a cancelled task, a
time-out, a lost server) is thrown away, never handed on; a database that hangs or is gone costs its callers one
time-out each at most, and is used again as soon as it answers. Source: ADR-0005, attacks.md RLS-4.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

import asyncpg

from partywall.decision.ports import Clock
from partywall.errors import Bug, Conflict, Malformed, PartywallError, Unavailable
from partywall.store.guard import check_gateway_role
from partywall.store.tenant_token import TokenKey, TokenMint
from partywall.wire.ids import TenantId

PAUSE_S: Final = 0.25
CONNECTION_LIFE_S: Final = 900.0
TENANT_SHARE: Final = 4
"""One tenant has at most the limit over this of the connections: its writers that wait for each other hold no more."""
_END: Final = "commit; reset all; close all; unlisten *"
_UNDO: Final = "rollback; reset all; close all; unlisten *"

_ENDED: Final = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver makes of a server that dies between two messages
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
_LOST: Final = (OSError, TimeoutError, *_ENDED, asyncpg.OperatorInterventionError)


class TenantConnection:
    """A transaction of one tenant: single statements with parameters, prepared once per connection."""

    __slots__ = ("_raw", "failed")

    def __init__(self, raw: asyncpg.Connection) -> None:
        self._raw = raw
        self.failed = False

    async def fetch(self, statement: str, *parameters: Any) -> list[Any]:
        """Return all rows. statement: a constant. Raises: Unavailable, Conflict, Malformed, Bug."""
        return await self._run(self._raw.fetch, statement, parameters)  # type: ignore[no-any-return]

    async def fetchrow(self, statement: str, *parameters: Any) -> Any:
        """Return the first row or None; see `fetch`."""
        return await self._run(self._raw.fetchrow, statement, parameters)

    async def fetchval(self, statement: str, *parameters: Any) -> Any:
        """Return the first column of the first row or None; see `fetch`."""
        return await self._run(self._raw.fetchval, statement, parameters)

    async def _run(self, method: Callable[..., Any], statement: str, parameters: tuple[Any, ...]) -> Any:
        if self.failed:
            raise Bug("a transaction was used after it failed")
        try:
            return await method(statement, *parameters)
        except BaseException as error:
            self.failed = True
            if isinstance(error, (*_LOST, asyncpg.PostgresError)):
                raise translate(error) from error
            raise


class _Member:
    """One connection with its own mint: tokens are bound to the backend's process id."""

    __slots__ = ("mint", "raw", "retire_at_s")

    def __init__(self, raw: asyncpg.Connection, mint: TokenMint, retire_at_s: float) -> None:
        self.raw = raw
        self.mint = mint
        self.retire_at_s = retire_at_s


class TenantPool:
    """dsn: the `pw_app` role's, straight to the server (a proxy would break the binding to the backend).

    key: returns the worker's current token key. life_s: of a token, at most 30. limit: connections.
    timeout_s: for connecting, for waiting for a connection, and for each statement.
    """

    def __init__(
        self,
        dsn: str,
        key: Callable[[], TokenKey],
        *,
        clock: Clock = time.time,
        life_s: float = 30.0,
        limit: int = 16,
        timeout_s: float = 5.0,
    ) -> None:
        self._dsn = dsn
        self._key = key
        self._clock = clock
        self._life_s = life_s
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(limit)
        self._share = max(1, limit // TENANT_SHARE)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._idle: deque[_Member] = deque()
        self._lent: set[_Member] = set()
        self._down_until_s = 0.0
        self._closed = False

    async def start(self) -> None:
        """Connect once and check that row security binds this role. Raises: Unavailable (see `store/guard.py`)."""
        member = await self._connect()
        try:
            await check_gateway_role(member.raw)
        except BaseException as error:
            member.raw.terminate()
            if isinstance(error, (*_LOST, asyncpg.PostgresError)):
                raise translate(error) from error
            raise
        self._idle.append(member)

    async def close(self) -> None:
        """Close every connection; those still lent out are cut."""
        self._closed = True
        members = [*self._idle, *self._lent]
        self._idle.clear()
        for member in members:
            member.raw.terminate()

    async def ping(self) -> None:
        """Ask the database for nothing. Raises: Unavailable."""
        async with self._slot(self._slots):
            member = await self._begin("begin read only")
            await self._finish(member, _UNDO)

    @asynccontextmanager
    async def tenant(self, tenant: TenantId) -> AsyncIterator[TenantConnection]:
        """Lend a transaction of this tenant: committed when the block ends, undone when it raises.

        Raises: Unavailable when no connection can be had in time; Bug when the block hid a failure.
        """
        share = self._shares.setdefault(tenant, asyncio.Semaphore(self._share))
        async with self._slot(share), self._slot(self._slots):
            member = await self._begin(tenant=tenant)
            lent = TenantConnection(member.raw)
            try:
                yield lent
            except Exception as error:
                await self._undo(member, error)
                raise
            except BaseException:  # cancelled: who knows what is still on its way
                self._drop(member)
                raise
            if lent.failed:
                await self._undo(member, None)
                raise Bug("a block went on after its transaction had failed")
            await self._finish(member, _END)

    @asynccontextmanager
    async def _slot(self, slots: asyncio.Semaphore) -> AsyncIterator[None]:
        if slots.locked():
            try:
                await asyncio.wait_for(slots.acquire(), self._timeout_s)
            except TimeoutError:
                raise Unavailable("the data database is busy", retry_after_s=1.0) from None
        else:
            await slots.acquire()
        try:
            yield
        finally:
            slots.release()

    async def _begin(self, words: str | None = None, *, tenant: str = "") -> _Member:
        while True:
            fresh = not self._idle
            member = await self._connect() if fresh else self._idle.pop()
            if member.raw.is_closed() or (not fresh and time.monotonic() > member.retire_at_s):
                member.raw.terminate()
                continue
            self._lent.add(member)
            try:
                await member.raw.execute(words or self._opening(member, tenant))
                return member
            except BaseException as error:
                self._drop(member)
                # A connection that broke while it lay idle says nothing about the server: nothing was asked yet.
                if not fresh and _is_broken(error):
                    continue
                if isinstance(error, (*_LOST, asyncpg.PostgresError)):
                    raise translate(error) from error
                raise

    def _opening(self, member: _Member, tenant: str) -> str:
        token = member.mint.token(tenant, self._key(), self._clock())
        return f"begin; set local pw.token = '{token}'"  # [A-Za-z0-9_-] only, see `mint`

    async def _connect(self) -> _Member:
        if self._closed or time.monotonic() < self._down_until_s:
            raise Unavailable("the data database is out of reach", retry_after_s=1.0)
        raw = None
        try:
            raw = await asyncpg.connect(
                self._dsn,
                timeout=self._timeout_s,
                command_timeout=self._timeout_s,
                server_settings={
                    "application_name": "partywall-gateway",
                    "search_path": "pg_catalog",
                    # Statements are constants with parameters: planned once per connection, not once per call.
                    "plan_cache_mode": "force_generic_plan",
                    "statement_timeout": str(int(self._timeout_s * 1000)),
                    "idle_in_transaction_session_timeout": "30000",
                },
            )
            shard = await raw.fetchval("select pw.shard_id()")
        except (*_LOST, asyncpg.PostgresError) as error:
            if raw is not None:
                raw.terminate()
            self._down_until_s = time.monotonic() + PAUSE_S
            raise Unavailable(
                "the data database is out of reach", private=type(error).__name__, retry_after_s=1.0
            ) from error
        mint = TokenMint(shard, raw.get_server_pid(), self._life_s)
        return _Member(raw, mint, time.monotonic() + CONNECTION_LIFE_S)

    async def _undo(self, member: _Member, error: Exception | None) -> None:
        cut = isinstance(error, Unavailable) or member.raw.is_closed()
        if cut:
            self._drop(member)
            return
        try:
            await self._finish(member, _UNDO)
        except Unavailable:  # the block's own error is the one to tell
            return

    async def _finish(self, member: _Member, words: str) -> None:
        try:
            await member.raw.execute(words)
        except BaseException as error:
            self._drop(member)
            if isinstance(error, (*_LOST, asyncpg.PostgresError)):
                raise translate(error) from error
            raise
        self._lent.discard(member)
        if self._closed or member.raw.is_in_transaction():
            member.raw.terminate()
        else:
            self._idle.append(member)

    def _drop(self, member: _Member) -> None:
        self._lent.discard(member)
        member.raw.terminate()


def _is_broken(error: BaseException) -> bool:
    """Tell whether the connection itself ended; a time-out or a refusal is an answer of the server's."""
    return isinstance(error, (*_ENDED, OSError)) and not isinstance(error, TimeoutError)


def translate(error: BaseException) -> PartywallError:
    """Return what a caller may know of a database's error: never its text. `private` is the SQLSTATE."""
    state = str(getattr(error, "sqlstate", "") or type(error).__name__)
    if isinstance(error, asyncpg.DataError):
        return Malformed("the database does not accept a value", private=state)
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return Conflict("it exists already, or something that it needs does not", private=state)
    if isinstance(error, (*_LOST, asyncpg.InsufficientResourcesError, asyncpg.TransactionRollbackError)):
        return Unavailable("the data database is out of reach", private=state, retry_after_s=1.0)
    return Bug("the database refused a statement", private=state)
