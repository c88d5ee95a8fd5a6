"""Takes events from the stream, writes them to PostgreSQL in batches, acknowledges them.

Guarantee: an event is acknowledged after its rows are committed, and no sooner; batches are
committed in the order of the stream; what was written twice is there once. While one batch is
committed the next is brought into the database. While the database is away, the batch in hand is
tried again for ever and at most three more are read ahead; everything else waits in the stream. An
event that nothing can be made of, or a row that the database refuses, is counted and logged, and
holds nothing up.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from common.events.event import Event
from common.events.group_reader import EventReader
from common.events.reader_loop import ReaderLoop
from common.process.backoff import jittered
from history.database import database_outage, original
from history.queries.first_sights import KnownSights
from history.writing import metrics
from history.writing.partitions import Partitions
from history.writing.rows import Batch, Row, Rows, read_events
from history.writing.store import REFUSED, Copied, Store

log = logging.getLogger("roomcast.history")

CHECK_INTERVAL_S: Final = 1.0
"""With nothing to write, the database is asked this often whether it answers."""
TEND_INTERVAL_S: Final = 300.0
"""Partitions are made and dropped this often."""
_DAY_S: Final = 86_400
_DATABASE_ERRORS: Final = (
    UnicodeError,  # of a host's name that is too long to be one
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement on a connection that was lost a moment ago
    SQLAlchemyError,
)
_LOGGED_MALFORMED: Final = 5
_LOGGED_TEXT_MAX: Final = 200


@dataclass(slots=True)
class _Work:
    """A batch on its way, and since when (monotonic, s)."""

    events: list[Event]
    batch: Batch
    started: float
    copied: Copied | None = None
    committing: "asyncio.Task[bool] | None" = None


class Writer:
    """One replica of the history writer.

    Args:
        reader: of the event stream.
        store: the database.
        partitions: those that the store knows.
        delay_s: how long to let events come together.
    """

    def __init__(
        self,
        reader: EventReader,
        store: Store,
        partitions: Partitions,
        *,
        delay_s: float,
    ) -> None:
        self._reader = reader
        self._store = store
        self._partitions = partitions
        self._batches: asyncio.Queue[tuple[list[Event], Batch]] = asyncio.Queue(1)
        self._unsettled: _Work | None = None
        self._loop = ReaderLoop(reader, self._take, delay_s=delay_s, note_lead=self._note_lead)
        self._tend_at = float("-inf")
        self._sights = KnownSights()
        self._events = 0
        self._transactions = 0
        self.answered = asyncio.Event()
        """Set once the database answered for the first time."""
        self._database_trouble = "not asked yet"

    @property
    def trouble(self) -> dict[str, str]:
        """Reasons why events are not being written, by the part that fails."""
        redis = self._loop.trouble or ("" if self._loop.has_read else "not read yet")
        return {"redis": redis, "database": self._database_trouble}

    async def run(self) -> None:
        """Read and write until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop.run())
            group.create_task(self._write())

    async def finish(self) -> None:
        """Read no more, and wait until what was read is written."""
        self._loop.stop()
        await self._batches.join()

    def _note_lead(self, leads: bool) -> None:
        metrics.leads.set(leads)
        if not leads:
            self._sights.clear()

    async def _take(self, events: list[Event]) -> None:
        # Rows are made here, while the database is busy with the batch before.
        await self._batches.put((events, read_events(events, self._sights)))

    async def _write(self) -> None:
        # Else it would be ready only after the first wait for events.
        await self._look_after()
        async with asyncio.TaskGroup() as group:
            while True:
                if self._batches.empty():
                    await self._settle()
                try:
                    async with asyncio.timeout(CHECK_INTERVAL_S):
                        events, batch = await self._batches.get()
                except TimeoutError:
                    await self._look_after()
                    continue
                await self._write_batch(_Work(events, batch, time.monotonic()), group)
                if time.monotonic() >= self._tend_at:
                    await self._settle()
                    await self._look_after()

    async def _look_after(self) -> None:
        """Ask whether the database answers; the leader tends the partitions as well."""
        try:
            if self._reader.leads and time.monotonic() >= self._tend_at:
                await self._store.tend()
                self._tend_at = time.monotonic() + TEND_INTERVAL_S
                metrics.retained_seconds.set(self._partitions.days * _DAY_S)
            else:
                await self._store.check()
        except _DATABASE_ERRORS as error:
            self._tend_at = max(self._tend_at, time.monotonic() + CHECK_INTERVAL_S)
            self._failed(error)
        else:
            self._succeeded()

    async def _write_batch(self, work: _Work, group: asyncio.TaskGroup) -> None:
        batch = work.batch
        for event_id, reason in batch.malformed[:_LOGGED_MALFORMED]:
            log.warning(
                "a malformed event was left out", extra={"event": event_id, "reason": reason[:200]}
            )
        if batch.rows:
            # What troubles it is found again below, when the batch before is settled.
            with contextlib.suppress(*_DATABASE_ERRORS):
                work.copied = await self._store.copy(batch.rows)
        # In order, so that where a row is, all before it are.
        if await self._settle() and work.copied is not None:
            work.committing = group.create_task(self._commit_copied(work, work.copied))
            self._unsettled = work
            return
        if batch.rows:
            await self._commit(batch.rows)
        await self._done(work)

    async def _settle(self) -> bool:
        """Wait for the running commit; if it failed, write its batch again.

        Returns:
            False if that undid what was copied meanwhile. It may have the same rows as the batch
            that failed, which could not be written again before.
        """
        work, self._unsettled = self._unsettled, None
        if work is None or work.committing is None or await work.committing:
            return True
        self._store.drop_connections()
        await self._commit(work.batch.rows)
        await self._done(work)
        return False

    async def _commit_copied(self, work: _Work, copied: Copied) -> bool:
        try:
            await copied.commit()
        except _DATABASE_ERRORS as error:
            # Its own connection is gone; the other one may be in use.
            self._note(error)
            metrics.retries.inc()
            return False
        self._note_written(copied.new, copied.outside)
        await self._done(work)
        return True

    async def _done(self, work: _Work) -> None:
        events, batch = work.events, work.batch
        if batch.rows:
            metrics.write_seconds.observe(time.monotonic() - work.started)
        await self._loop.acknowledge(events)
        metrics.batches.inc()
        for kind, count in batch.events.items():
            metrics.events.labels(kind).inc(count)
        self._events += len(events)
        metrics.writes_saved_ratio.set(1 - self._transactions / self._events)
        metrics.behind_seconds.observe(max(0.0, time.time() - events[0].at_ms / 1000))
        self._batches.task_done()

    async def _commit(self, rows: Rows) -> None:
        """Write rows, whatever it takes; those that are refused are left out."""
        waits: Iterator[float] | None = None
        reread = False
        while True:
            try:
                new, outside = await self._store.write(rows)
            except REFUSED as error:
                if reread:
                    await self._commit_halves(rows, error)
                    return
                # The one blameless case: a partition is gone that was there.
                reread = True
                await self._reread()
            except _DATABASE_ERRORS as error:
                self._failed(error)
                metrics.retries.inc()
                waits = waits or jittered()
                await asyncio.sleep(next(waits))
            else:
                break
        self._note_written(new, outside)

    def _note_written(self, new: dict[str, int], outside: Rows) -> None:
        self._succeeded()
        self._transactions += 1
        metrics.transactions.inc()
        for table, count in new.items():
            metrics.rows.labels(table).inc(count)
        for table, found in outside.items():
            metrics.refused_rows.labels(table).inc(len(found))
            log.warning(
                "rows from a time that history does not keep were left out",
                extra={"table": table, "rows": len(found)},
            )

    async def _reread(self) -> None:
        try:
            await self._store.reread()
        except _DATABASE_ERRORS as error:
            self._failed(error)

    async def _commit_halves(self, rows: Rows, error: Exception) -> None:
        halves = _halves(rows)
        if halves is None:
            ((table, (row,)),) = rows.items()
            metrics.refused_rows.labels(table).inc()
            log.error(
                "the database refuses a row, which was left out",
                extra={"table": table, "reason": str(error)[:200], "row": _shown(row)},
            )
            return
        for half in halves:
            await self._commit(half)

    def _failed(self, error: Exception) -> None:
        self._store.drop_connections()
        # It may be another database that answers next.
        self._sights.clear()
        self._note(error)

    def _succeeded(self) -> None:
        self.answered.set()
        database_outage.back("writer")
        self._database_trouble = ""

    def _note(self, error: Exception) -> None:
        error = original(error)
        database_outage.lost("writer", error)
        self._database_trouble = f"{type(error).__name__}: {error}"


def _halves(rows: Rows) -> tuple[Rows, Rows] | None:
    """Two parts of rows, or None if there is one row only. Tables are parted before rows are."""
    if len(rows) > 1:
        first, *others = rows.items()
        return dict([first]), dict(others)
    ((table, found),) = rows.items()
    if len(found) == 1:
        return None
    middle = len(found) // 2
    return {table: found[:middle]}, {table: found[middle:]}


def _shown(row: Row) -> str:
    return repr(row)[:_LOGGED_TEXT_MAX]
