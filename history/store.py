"""The connection to PostgreSQL through which events are written.

Guarantee: `write` commits all rows or none; a row that is there already stays as it is, so a write
whose outcome is unknown is repeated without harm.
"""

import asyncio
import logging
from typing import Any, Final

import asyncpg

from history.migrate import CONNECT_TIMEOUT_S, migrate
from history.partitions import Partitions, split_by_day
from history.rows import COLUMNS, Rows

log = logging.getLogger("roomcast.history")

ANSWER_TIMEOUT_S: Final = 30.0
"""A statement that takes longer is given up with its connection."""

REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,
    UnicodeError,
)
"""What rows are to blame for; trying the same ones again is no use."""


class Store:
    """One connection, made anew when it broke. Not for use by two tasks at once.

    Args:
        database_url: `postgresql://…`.
        partitions: of the tables.
    """

    def __init__(self, database_url: str, partitions: Partitions) -> None:
        self._url = database_url
        self._partitions = partitions
        self._connection: Any = None
        self._expects_repeats = False

    async def check(self) -> None:
        """Find out whether the database answers.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: it does not.
        """
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await (await self._connected()).execute("SELECT 1")

    async def tend(self) -> None:
        """Make the partitions of the next days and drop those that are too old.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: as `check`.
        """
        connection = await self._connected()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._partitions.read(connection)
            await self._partitions.make_ahead(connection)
            await self._partitions.drop_old(connection)

    async def write(self, rows: Rows) -> tuple[dict[str, int], Rows]:
        """Write rows in one transaction.

        Returns:
            How many were new, by table, and those left out because their time is not kept.

        Raises:
            asyncpg.PostgresError, OverflowError, UnicodeError: one of `REFUSED`: because of a row.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: anything else; the
                outcome is unknown.
        """
        connection = await self._connected()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            first, last = self._partitions.first_day, self._partitions.last_day
            kept, outside, partitions = split_by_day(rows, first, last)
            await self._partitions.make(connection, partitions)
            if not kept:
                return {}, outside
            if not self._expects_repeats:
                try:
                    await self._copy(connection, kept)
                except asyncpg.UniqueViolationError:
                    self._expects_repeats = True
                else:
                    return {table: len(found) for table, found in kept.items()}, outside
            new = await self._merge(connection, kept)
            # Repeats come at the beginning, from before somebody died.
            self._expects_repeats = any(new[table] < len(kept[table]) for table in kept)
            return new, outside

    async def reread(self) -> None:
        """Ask again what partitions there are; somebody may have dropped one.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: as `check`.
        """
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._partitions.read(await self._connected())

    def drop_connection(self) -> None:
        """Forget the connection, without a word to the other side."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            # Each time: the database may be another one by now.
            await migrate(self._url)
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                server_settings={"application_name": "roomcast-history", "timezone": "UTC"},
            )
            self._connection = connection
            await self._partitions.read(connection)
        return self._connection

    async def _copy(self, connection: Any, rows: Rows) -> None:
        # The quickest way in; it fails as a whole over one row that is there already.
        async with connection.transaction():
            for table, found in rows.items():
                await connection.copy_records_to_table(table, records=found, columns=COLUMNS[table])

    async def _merge(self, connection: Any, rows: Rows) -> dict[str, int]:
        new: dict[str, int] = {}
        async with connection.transaction():
            for table, found in rows.items():
                columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
                await connection.execute(
                    f"CREATE TEMP TABLE incoming_{table} (LIKE {table}) ON COMMIT DROP"
                )
                await connection.copy_records_to_table(
                    f"incoming_{table}", records=found, columns=COLUMNS[table]
                )
                done = await connection.execute(
                    f"INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming_{table}"  # noqa: S608
                    " ON CONFLICT DO NOTHING"
                )
                new[table] = int(done.rpartition(" ")[2])
        return new
