"""The pool of connections to PostgreSQL that the server's queries share."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg

from common.errors import RoomcastError
from common.telemetry.outage import Outage

log = logging.getLogger("roomcast.history")

POOL_MAX: Final = 10
"""Connections of one server process; a query waits for one no longer than `ACQUIRE_TIMEOUT_S`."""
ACQUIRE_TIMEOUT_S: Final = 3.0
STATEMENT_TIMEOUT_S: Final = 5.0
"""A statement that takes longer is given up here, and ended by PostgreSQL itself."""


database_outage: Final = Outage(
    "the database",
    (
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.InsufficientResourcesError,
        asyncpg.OperatorInterventionError,
        asyncpg.UndefinedTableError,
    ),
)
"""Outage of this process's PostgreSQL."""


class DatabaseAwayError(RoomcastError):
    """PostgreSQL does not answer, or not in time; what was asked may have been done or not."""


class Database:
    """PostgreSQL, connected to when it is first asked, and again whenever it comes back.

    Args:
        url: `postgresql://…`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None
        self._making = asyncio.Lock()
        self._has_tables = False

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Lend a connection.

        Raises:
            DatabaseAwayError: PostgreSQL is away, also while the connection is used.
        """
        try:
            pool = await self._open()
            async with pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                if not self._has_tables:
                    self._has_tables = await _has_tables(connection)
                yield connection
            database_outage.back("pool")
        except (
            OSError,
            TimeoutError,
            UnicodeError,  # of a host's name that is too long to be one
            asyncpg.InterfaceError,
            asyncpg.PostgresConnectionError,
            asyncpg.InsufficientResourcesError,
            asyncpg.OperatorInterventionError,
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
            asyncpg.UndefinedTableError,
        ) as error:
            database_outage.lost("pool", error)
            raise DatabaseAwayError(f"{type(error).__name__}: {error}") from error

    @contextlib.asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Any]:
        """Lend a connection on which all reads see the database at one moment.

        Raises:
            DatabaseAwayError: PostgreSQL is away.
        """
        async with (
            self.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def close(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.terminate()

    async def _open(self) -> Any:
        async with self._making:
            if self._pool is None:
                # With no least size nothing is connected here, so PostgreSQL may be away.
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=POOL_MAX,
                    timeout=ACQUIRE_TIMEOUT_S,
                    command_timeout=STATEMENT_TIMEOUT_S,
                    server_settings={
                        "statement_timeout": str(int(STATEMENT_TIMEOUT_S * 1000)),
                        # Plans are short here and compiling them takes longer than running them.
                        "jit": "off",
                    },
                )
        return self._pool


def original(error: Exception) -> Exception:
    """Return the driver's exception inside SQLAlchemy's."""
    while type(error).__module__.startswith("sqlalchemy") and isinstance(
        error.__cause__, Exception
    ):
        error = error.__cause__
    return error


async def _has_tables(connection: Any) -> bool:
    """Check that the history writer has made the tables, so that no query fails for lack of them.

    Raises:
        asyncpg.UndefinedTableError: not yet.
    """
    if await connection.fetchval("SELECT to_regclass('clients') IS NULL"):
        raise asyncpg.UndefinedTableError("the history writer has not made the tables yet")
    return True
