"""The connections to PostgreSQL through which events are written.

Guarantee: `write` commits all rows or none; a row that is there already stays as it is, so a write
whose outcome is unknown is repeated without harm. `copy` and the commit of what it returns do the
same in two steps.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from operator import itemgetter
from typing import Any, Final

import asyncpg

from common.events.group_reader import LEASE_S
from history.queries.first_sights import write_sights
from history.queries.users import remove_leftovers
from history.schema.migrate import CONNECT_TIMEOUT_S, migrate
from history.writing.partitions import Partitions, split_by_day
from history.writing.rows import COLUMNS, TIME_COLUMN, Rows

log = logging.getLogger("roomcast.history")

ANSWER_TIMEOUT_S: Final = 30.0
"""A statement that takes longer is given up with its connection."""

LEFTOVERS_MAX: Final = 100
"""So many times at most, what deleted users left is removed when the tables are tended."""

_ID: Final = itemgetter(COLUMNS["publications"].index("notification"))

REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    OverflowError,
    UnicodeError,
)
"""Errors caused by the rows themselves; retrying the same rows is no use."""


@contextlib.asynccontextmanager
async def _answering(connection: Any) -> AsyncIterator[None]:
    """End the block with TimeoutError after `ANSWER_TIMEOUT_S`, or when the connection is lost.

    A COPY of asyncpg that waits until it may write on does not notice the latter by itself.
    """
    async with asyncio.timeout(ANSWER_TIMEOUT_S) as deadline:

        def lost(_: Any) -> None:
            if not deadline.expired():
                deadline.reschedule(0)

        connection.add_termination_listener(lost)
        try:
            yield
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this task: it is how asyncpg may tell of the connection's end.
            raise ConnectionResetError("the connection to the database was lost") from error
        finally:
            connection.remove_termination_listener(lost)


class Copied:
    """Rows in a transaction that is still open: nobody sees them yet.

    Attributes:
        new: how many rows there are, by table.
        outside: rows that were left out because their time is not kept.
    """

    def __init__(self, store: "Store", connection: Any, new: dict[str, int], outside: Rows) -> None:
        self._store = store
        self._connection = connection
        self.new = new
        self.outside = outside

    async def commit(self) -> None:
        """Make the rows last.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the outcome is
                unknown, and the connection is gone.
        """
        async with self._store.returning(self._connection), _answering(self._connection):
            await self._connection.execute("COMMIT")


class Store:
    """Connections, made anew when they broke: one, and another while a commit is under way.

    No two methods may run at once, but `Copied.commit` beside any of them.

    Args:
        database_url: `postgresql://…`.
        partitions: of the tables.
    """

    def __init__(self, database_url: str, partitions: Partitions) -> None:
        self._url = database_url
        self._partitions = partitions
        self._idle: list[Any] = []
        self._lent: set[Any] = set()
        self._expects_repeats = False

    async def check(self) -> None:
        """Find out whether the database answers.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: it does not.
        """
        async with self._connection() as connection, _answering(connection):
            await connection.execute("SELECT 1")

    async def tend(self) -> None:
        """Make the partitions of the next days and drop those that are too old.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: as `check`.
        """
        async with self._connection() as connection, _answering(connection):
            await self._partitions.read(connection)
            await self._partitions.make_ahead(connection)
            await self._partitions.drop_old(connection)
            users = await connection.fetchval("SELECT count(*) FROM leftovers")
            for _ in range(min(LEFTOVERS_MAX, 10 * users)):
                await remove_leftovers(connection)

    async def copy(self, rows: Rows) -> Copied | None:
        """Bring rows into the database in a transaction that is left open.

        Until it is committed, a `write` of a row that is among these waits for it: call
        `drop_connections`, which undoes it, if something else is to be written first.

        Returns:
            None if it can't be done in this way, and nothing was changed: `write` is to be called.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the database does
                not answer; nothing was changed.
        """
        if self._expects_repeats:
            return None
        connection = await self._connected()
        try:
            async with _answering(connection):
                kept, outside = await self._prepared(connection, rows)
                await connection.execute("BEGIN")
                await self._copy(connection, kept)
        except REFUSED as error:
            self._expects_repeats = isinstance(error, asyncpg.UniqueViolationError)
            async with self.returning(connection), _answering(connection):
                # Does no harm where nothing was begun.
                await connection.execute("ROLLBACK")
            return None
        except BaseException:
            # Cancelled, too: half a transaction may be open, and nobody is left to end it.
            self._lent.discard(connection)
            connection.terminate()
            raise
        return Copied(self, connection, {table: len(kept[table]) for table in kept}, outside)

    async def write(self, rows: Rows) -> tuple[dict[str, int], Rows]:
        """Write rows in one transaction.

        Returns:
            How many were new, by table, and those left out because their time is not kept.

        Raises:
            asyncpg.PostgresError, OverflowError, UnicodeError: one of `REFUSED`: because of a row.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: anything else; the
                outcome is unknown.
        """
        async with self._connection() as connection, _answering(connection):
            kept, outside = await self._prepared(connection, rows)
            if not kept:
                return {}, outside
            if not self._expects_repeats:
                try:
                    async with connection.transaction():
                        await self._copy(connection, kept)
                except asyncpg.UniqueViolationError:
                    self._expects_repeats = True
                else:
                    return {table: len(found) for table, found in kept.items()}, outside
            new = await self._merge(connection, kept)
            # Repeats come at the beginning, from before somebody died.
            self._expects_repeats = any(
                new[table] < len(kept[table]) for table in kept if table in TIME_COLUMN
            )
            return new, outside

    async def reread(self) -> None:
        """Ask again what partitions there are; somebody may have dropped one.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: as `check`.
        """
        async with self._connection() as connection, _answering(connection):
            await self._partitions.read(connection)

    def drop_connections(self) -> None:
        """Forget all connections, without a word to the other side; what is open is undone."""
        for connection in (*self._idle, *self._lent):
            connection.terminate()
        self._idle.clear()
        self._lent.clear()

    @contextlib.asynccontextmanager
    async def returning(self, connection: Any) -> AsyncIterator[None]:
        """Take a connection back after the block, unless it failed otherwise than over a row."""
        try:
            yield
        except REFUSED:
            self._take_back(connection)
            raise
        except BaseException:
            # What the other side is doing is not known.
            self._lent.discard(connection)
            connection.terminate()
            raise
        self._take_back(connection)

    def _take_back(self, connection: Any) -> None:
        # A connection dropped in the meantime is not lent any more.
        if connection in self._lent:
            self._lent.discard(connection)
            self._idle.append(connection)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        connection = await self._connected()
        async with self.returning(connection):
            yield connection

    async def _connected(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                self._lent.add(connection)
                return connection
        # Each time: the database may be another one by now.
        await migrate(self._url)
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            server_settings={
                "application_name": "roomcast-history",
                "timezone": "UTC",
                # One that was paused with rows not yet committed must not hold up its successor.
                "idle_in_transaction_session_timeout": str(int(LEASE_S * 1000)),
            },
        )
        self._lent.add(connection)
        try:
            await self._partitions.read(connection)
        except BaseException:
            # Cancelled, too: nobody else knows of it.
            self._lent.discard(connection)
            connection.terminate()
            raise
        return connection

    async def _prepared(self, connection: Any, rows: Rows) -> tuple[Rows, Rows]:
        """Rows that are kept, with their partitions made, and all others."""
        first, last = self._partitions.first_day, self._partitions.last_day
        kept, outside, partitions = split_by_day(rows, first, last)
        await self._partitions.make(connection, partitions)
        return kept, outside

    async def _copy(self, connection: Any, rows: Rows) -> None:
        # The quickest way in; it fails as a whole over one row that is there already.
        for table, found in rows.items():
            if table == "sights":
                await write_sights(connection, found)
                continue
            # By id, so by time: most rows then go to where in an index the one before went.
            records = sorted(found, key=_ID) if table == "publications" else found
            await connection.copy_records_to_table(table, records=records, columns=COLUMNS[table])

    async def _merge(self, connection: Any, rows: Rows) -> dict[str, int]:
        new: dict[str, int] = {}
        async with connection.transaction():
            for table, found in rows.items():
                if table == "sights":
                    new[table] = await write_sights(connection, found)
                    continue
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
