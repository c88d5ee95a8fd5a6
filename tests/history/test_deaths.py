"""Parts die under load; afterwards every event has its rows, once."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from history.schema.migrate import migrate
from tests.conftest import MakeStack
from tests.history.stream import add, count, fetch, frame, published, unread
from tests.support.processes.process import free_port
from tests.support.processes.stack import Stack
from tests.support.stores.postgres import Postgres
from tests.support.waiting import until

ROOMS = 20


class Load:
    """Publications that are written to the stream all the while."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._offset = 0
        self.written: list[tuple[str, int]] = []

    async def write(self, number: int) -> None:
        """Write one batch."""
        entries = []
        for n in range(number):
            room = n % ROOMS
            self._offset += room == 0
            self.written.append((f"room:{room}", self._offset))
            entries.append(published(frame(self._offset, room=str(room))))
        await add(self._stack, *entries)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write until the end of the block."""

        ends = asyncio.Event()

        async def run() -> None:
            # Not cancelled: the outcome of the last batch must be known.
            while not ends.is_set():
                await self.write(1_000)
                await asyncio.sleep(0.05)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            ends.set()
            await task

    async def check(self) -> None:
        """Compare what was written with the rows there are."""
        stack = self._stack

        async def all_read() -> bool:
            return await unread(stack) == 0

        await until(all_read, "all events are acknowledged", 60)
        rows = await fetch(stack, 'SELECT channel, "offset" FROM publications')
        assert sorted((row[0], row[1]) for row in rows) == sorted(self.written)


def rows_written(stack: Stack, name: str) -> float:
    return stack.metric(name, "roomcast_history_rows_total")


@pytest.mark.chaos
async def test_sigkill_of_the_writer_loses_and_doubles_nothing(make_stack: MakeStack) -> None:
    stack = make_stack(
        servers=0, workers=0, gateways=0, history=1, HISTORY_BATCH_MAX="700", HISTORY_DELAY_S="0"
    )
    load = Load(stack)
    async with load.running():
        for _ in range(5):
            await asyncio.to_thread(
                lambda: until_written(stack, "history-1", 1_000)  # in the middle of its work
            )
            stack.kill("history-1")
            await asyncio.to_thread(stack.start, "history-1")
    await load.check()


@pytest.mark.chaos
async def test_postgres_killed_and_restarted_loses_and_doubles_nothing(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    with Postgres(tmp_path, free_port()) as postgres:
        stack = make_stack(
            servers=0, workers=0, gateways=0, history=1, postgres=postgres, HISTORY_DELAY_S="0"
        )
        load = Load(stack)
        async with load.running():
            for _ in range(3):
                await asyncio.to_thread(until_written, stack, "history-1", 1_000)
                await asyncio.to_thread(postgres.kill)
                await until(lambda: not stack.is_ready("history-1"), "says that it can't write")
                _, why = stack.get("history-1", "/readyz")
                assert "database: " in why
                await asyncio.sleep(0.5)
                await asyncio.to_thread(postgres.start)
                await until(lambda: stack.is_ready("history-1"), "writes again")
        await load.check()
        assert stack.metric("history-1", "roomcast_history_retries_total") > 0


@pytest.mark.chaos
async def test_another_replica_goes_on_when_the_leader_dies(make_stack: MakeStack) -> None:
    stack = make_stack(
        servers=0, workers=0, gateways=0, history=2, HISTORY_BATCH_MAX="700", HISTORY_DELAY_S="0"
    )
    names = stack.names("history")

    def leaders() -> list[str]:
        return [name for name in names if stack.metric(name, "roomcast_history_leads") == 1]

    load = Load(stack)
    async with load.running():
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            await until(lambda: len(leaders()) == 1, "one leads")
            (leader,) = leaders()
            (other,) = set(names) - {leader}
            assert stack.is_ready(other)
            await asyncio.to_thread(until_written, stack, leader, 1)
            stack.kill(leader, number)
            await until(lambda other=other: leaders() == [other], "the other one leads")  # type: ignore[misc]
            stack.processes[leader].stop()
            await asyncio.to_thread(stack.start, leader)
    await load.check()


@pytest.mark.chaos
async def test_a_leader_that_was_paused_doubles_nothing(make_stack: MakeStack) -> None:
    stack = make_stack(
        servers=0, workers=0, gateways=0, history=1, HISTORY_BATCH_MAX="700", HISTORY_DELAY_S="0"
    )
    load = Load(stack)
    async with load.running():
        await asyncio.to_thread(until_written, stack, "history-1", 1_000)
        stack.kill("history-1", signal.SIGSTOP)
        second = stack.add("history")
        await asyncio.to_thread(stack.start, second)
        await asyncio.to_thread(until_written, stack, second, 1_000)
        stack.kill("history-1", signal.SIGCONT)
        await asyncio.sleep(1)
    await load.check()


async def test_the_database_may_come_after_the_writer(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    with Postgres(tmp_path, free_port()) as postgres:
        stack = make_stack(servers=0, workers=0, gateways=0, postgres=postgres)
        await asyncio.to_thread(postgres.stop)
        name = stack.add("history", EVENT_READERS="history")
        stack.processes[name].start()
        load = Load(stack)
        await until(lambda: "database: " in stack.get(name, "/readyz")[1], "says what it lacks")
        await load.write(100)
        await asyncio.to_thread(postgres.start)
        await asyncio.to_thread(stack.wait_ready, name)
        await load.check()


async def test_what_is_too_old_is_dropped(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, database=True)
    await migrate(stack.database_url)
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=n) for n in (1, 3, 4, 40)]
    for day in days:
        await fetch(
            stack,
            f"CREATE TABLE publications_{day:%Y%m%d} PARTITION OF publications"
            f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')",
        )
    name = stack.add("history", EVENT_READERS="history", HISTORY_RETENTION_DAYS="3")
    stack.start(name)

    async def partitions() -> set[str]:
        rows = await fetch(
            stack,
            "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
            " WHERE inhparent = 'publications'::regclass AND relkind = 'r'",
        )
        return {row[0].removeprefix("publications_") for row in rows}

    kept = {f"{today + timedelta(days=n):%Y%m%d}" for n in (-3, -1, 0, 1, 2)}

    async def only_those() -> bool:
        return await partitions() == kept

    await until(only_those, "old days are gone, the next ones are there")
    assert await count(stack, "publications") == 0
    await until(lambda: stack.metric(name, "roomcast_history_retained_seconds") == 4 * 86_400)


async def test_sigterm_ends_with_all_that_was_read_written(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, history=1, HISTORY_DELAY_S="0.5")
    load = Load(stack)
    await load.write(3_000)
    await asyncio.to_thread(until_written, stack, "history-1", 1)
    stack.kill("history-1", signal.SIGTERM)
    assert await asyncio.to_thread(stack.processes["history-1"].wait) == 0
    await asyncio.to_thread(stack.start, "history-1")
    await load.check()


def until_written(stack: Stack, name: str, rows: int) -> None:
    """Wait, in a thread of its own, until a replica has written so many more rows."""
    before = rows_written(stack, name)

    async def wait() -> None:
        await until(lambda: rows_written(stack, name) >= before + rows, f"{rows} rows more")

    asyncio.run(wait())
