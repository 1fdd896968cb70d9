"""A database as the issuer uses it: short transactions, one order of changes, faults without the database's words.

A change takes the revision row first, so changes happen one after the other and commit in the order of their numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Final

import asyncpg

from partywall.errors import Bug, Conflict, Malformed, Unavailable

STATEMENT_TIMEOUT_S: Final = 4.0
ACQUIRE_TIMEOUT_S: Final = 3.0
POOL_LIMIT: Final = 4

_UNAVAILABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidAuthorizationSpecificationError,
)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into the tree of errors; no text of the database passes.

    Raises: Conflict for a taken name; Unavailable when the database is down, hung, full or busy; Bug for the rest.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict("that name is taken", code="taken") from error
    except asyncpg.DataError as error:
        raise Malformed("a value that cannot be stored", code="bad-request") from error
    except _UNAVAILABLE as error:
        if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):  # refused by the driver's codec
            raise Malformed("a value that cannot be stored", code="bad-request") from error
        private = type(error).__name__
        raise Unavailable("the control database is out of reach", private=private, retry_after_s=1.0) from error
    except asyncpg.PostgresError as error:
        raise Bug("internal error", private=f"{type(error).__name__} {error.sqlstate}") from error


class Database:
    """One database by its owner's DSN. Connections are made when they are needed, at most POOL_LIMIT."""

    def __init__(self, dsn: str, *, application: str) -> None:
        self._pool = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=POOL_LIMIT,
            timeout=ACQUIRE_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            max_inactive_connection_lifetime=60.0,
            reset=_nothing_to_reset,
            server_settings={
                "application_name": application,
                "statement_timeout": str(int(STATEMENT_TIMEOUT_S * 1000)),
                "lock_timeout": str(int(STATEMENT_TIMEOUT_S * 1000)),
                "idle_in_transaction_session_timeout": "10000",
            },
        )

    async def open(self) -> None:
        """Make the pool ready; connects to nothing yet."""
        await self._pool

    async def close(self) -> None:
        """Close every connection, by force when the database does not answer."""
        try:
            await asyncio.wait_for(self._pool.close(), STATEMENT_TIMEOUT_S)
        except (TimeoutError, *_UNAVAILABLE):
            self._pool.terminate()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """Give a connection inside one transaction: all of it is committed, or none.

        Raises: as `translated`. After Unavailable at the commit nobody knows whether it was done.
        """
        with translated():
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        try:
            with translated():
                transaction = connection.transaction()
                await transaction.start()
                yield connection
                await transaction.commit()
        except BaseException as error:
            await _abandon(connection, error)
            raise
        finally:
            await self._release(connection)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Return the rows of one statement, which is a snapshot by itself. Raises: as `translated`."""
        with translated():
            rows: list[asyncpg.Record] = await self._pool.fetch(query, *arguments)
        return rows

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[tuple[asyncpg.Connection, int]]:
        """Give (connection, revision) inside one transaction that is the only change under way."""
        async with self.transaction() as connection:
            yield connection, await next_revision(connection)

    async def _release(self, connection: asyncpg.Connection) -> None:
        with contextlib.suppress(*_UNAVAILABLE):
            await self._pool.release(connection, timeout=STATEMENT_TIMEOUT_S)


async def _nothing_to_reset(_connection: asyncpg.Connection) -> None:
    """Spare each return to the pool a question: no statement of the issuer leaves a trace in its session."""


async def _abandon(connection: asyncpg.Connection, error: BaseException) -> None:
    """Roll back; when the database may not answer, drop the connection instead (which rolls back too)."""
    if connection.is_closed():
        return
    if isinstance(error, Unavailable | asyncio.CancelledError | GeneratorExit):
        connection.terminate()
        return
    try:
        await connection.execute("rollback")
    except (asyncpg.PostgresError, *_UNAVAILABLE):
        connection.terminate()


async def next_revision(connection: asyncpg.Connection) -> int:
    """Take the revision row until this transaction ends and return its new number."""
    return int(await connection.fetchval("update control.revision set n = n + 1 returning n"))
