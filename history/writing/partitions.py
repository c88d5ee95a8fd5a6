"""Partitions by day (UTC): made ahead and on demand, dropped when they are too old."""

import logging
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from history.writing.rows import TIME_COLUMN, Rows, days_of, time_of

log = logging.getLogger("roomcast.history")

AHEAD_DAYS: Final = 2
"""So many days from now have their partitions; what claims to be later is not kept."""
_LOCK_TIMEOUT_MS: Final = 5_000
_NAME: Final = re.compile(r"([a-z_]+)_(\d{8})")

Partition = tuple[str, date]
"""Table and day."""


def today() -> date:
    """The day that it is in UTC."""
    return datetime.now(UTC).date()


def name_of(partition: Partition) -> str:
    """Name of a partition in the database, for instance `publications_20261121`."""
    table, day = partition
    return f"{table}_{day:%Y%m%d}"


def partition_named(name: str) -> Partition | None:
    """The partition of a name, or None if the name is not one of ours."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in TIME_COLUMN:
        return None
    try:
        return match[1], datetime.strptime(match[2], "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None


def split_by_day(rows: Rows, first: date, last: date) -> tuple[Rows, Rows, set[Partition]]:
    """Separate the rows of days that are kept; tables without days keep all rows.

    Returns:
        Rows from the first to the last day, all other rows, and the partitions of the former.
    """
    kept: Rows = {}
    outside: Rows = {}
    partitions: set[Partition] = set()
    for table, found in rows.items():
        if table not in TIME_COLUMN:
            kept[table] = found
            continue
        days = days_of(table, found)
        inside = {day for day in days if first <= day <= last}
        if inside == days:
            kept[table] = found
        else:
            for row in found:
                day = time_of(table, row).astimezone(UTC).date()
                (kept if day in inside else outside).setdefault(table, []).append(row)
        partitions |= {(table, day) for day in inside}
    return kept, outside, partitions


class Partitions:
    """Partitions that this process knows to exist.

    Args:
        retention_days: how many days before today are kept.
    """

    def __init__(self, retention_days: int) -> None:
        self._retention_days = retention_days
        self._known: set[Partition] = set()

    @property
    def first_day(self) -> date:
        """The oldest day that is kept."""
        return today() - timedelta(days=self._retention_days)

    @property
    def last_day(self) -> date:
        """The latest day that rows are kept of."""
        return today() + timedelta(days=AHEAD_DAYS)

    @property
    def days(self) -> int:
        """Number of days that history reaches back: 1 if there is only today."""
        days = [day for table, day in self._known if table == "publications"]
        return (today() - min(days)).days + 1 if days else 0

    async def read(self, connection: Any) -> None:
        """Read which partitions the database has."""
        found = await connection.fetch(
            "SELECT child.relname FROM pg_inherits"
            " JOIN pg_class child ON child.oid = inhrelid"
            " JOIN pg_class parent ON parent.oid = inhparent"
            " WHERE parent.relname = ANY($1)"
            " AND parent.relnamespace = current_schema::regnamespace",
            list(TIME_COLUMN),
        )
        named = (partition_named(row["relname"]) for row in found)
        self._known = {partition for partition in named if partition is not None}

    async def make(self, connection: Any, wanted: Iterable[Partition]) -> None:
        """Make the partitions that are wanted and not known to exist."""
        for partition in sorted(set(wanted) - self._known):
            table, day = partition
            # A query that runs for long must not make all others wait behind this one's lock.
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
                await connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {name_of(partition)} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{day} 00:00+00')"
                    f" TO ('{day + timedelta(days=1)} 00:00+00')"
                )
                if table == "publications":
                    # Where one channel has nearly everything, the planner would look for another's
                    # publications among them, by time.
                    await connection.execute(
                        f"ALTER TABLE {name_of(partition)} ALTER channel SET (n_distinct = -0.1)"
                    )
            self._known.add(partition)

    async def make_ahead(self, connection: Any) -> None:
        """Make those of today and of the next days."""
        days = [today() + timedelta(days=n) for n in range(AHEAD_DAYS + 1)]
        await self.make(connection, ((table, day) for table in TIME_COLUMN for day in days))

    async def drop_old(self, connection: Any) -> None:
        """Drop those of days that are no longer kept."""
        first = self.first_day
        for partition in sorted(one for one in self._known if one[1] < first):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_TIMEOUT_MS}")
                await connection.execute(f"DROP TABLE IF EXISTS {name_of(partition)}")
                if partition[0] == "publications":
                    for table in ("inbox_unread", "inbox_archived"):
                        await connection.execute(
                            f"DELETE FROM {table} WHERE created_at < '{first} 00:00+00'"  # noqa: S608
                        )
            self._known.discard(partition)
            log.info("dropped what is too old", extra={"partition": name_of(partition)})
