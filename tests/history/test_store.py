"""Rows on their way into a real PostgreSQL: all or none, once, whatever breaks."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from common.events.event import Event
from common.model.timestamps import format_time
from history.schema.migrate import migrate
from history.writing import store as store_module
from history.writing.partitions import Partitions
from history.writing.rows import Rows, read_events
from history.writing.store import REFUSED, Store
from tests.support.processes.process import free_port
from tests.support.stores.postgres import session_postgres

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def url() -> str:
    found = session_postgres(free_port()).make_database()
    asyncio.run(migrate(found))
    return found


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Any]:
    """A connection of somebody who looks on; the tables are empty."""
    opened = await asyncpg.connect(url)
    await opened.execute("TRUNCATE publications, receipts, users, sights")
    yield opened
    await opened.close()


@pytest.fixture
async def store(url: str, connection: Any) -> AsyncIterator[Store]:
    made = Store(url, Partitions(30))
    yield made
    made.drop_connections()


def published(*offsets: int, at_ms: int = NOW_MS, **fields: Any) -> Rows:
    """The rows of publications in one room."""
    events = []
    for offset in offsets:
        frame = {
            "type": "room", "id": f"n{offset}", "userId": "2", "target": "1", "priority": "high",
            "createdAt": format_time(at_ms), "epoch": "e", "offset": offset, **fields,
        }  # fmt: skip
        text = json.dumps(frame).encode()
        events.append(Event(f"{NOW_MS}-{offset}", "published", "c/room:1", "w", text, b""))
    return read_events(events).rows


async def offsets(connection: Any) -> list[int]:
    rows = await connection.fetch('SELECT "offset" FROM publications ORDER BY 1')
    return [row["offset"] for row in rows]


async def test_rows_are_written_once_however_often_they_come(store: Store, connection: Any) -> None:
    assert await store.write(published(1, 2)) == ({"publications": 2}, {})
    # Some are there, and one comes twice in a batch.
    assert await store.write(published(2, 3, 3)) == ({"publications": 1}, {})
    assert await store.write(published(1, 2, 3)) == ({"publications": 0}, {})
    assert await store.write(published(4)) == ({"publications": 1}, {})
    assert await offsets(connection) == [1, 2, 3, 4]


async def test_a_row_that_is_there_stays_as_it_is(store: Store, connection: Any) -> None:
    await store.write(published(1, userId="first"))
    await store.write(published(1, 2, userId="second"))
    found = await connection.fetch('SELECT sender FROM publications ORDER BY "offset"')
    assert [row["sender"] for row in found] == ["first", "second"]


async def test_of_rows_with_a_refused_one_none_is_written(store: Store, connection: Any) -> None:
    with pytest.raises(REFUSED):
        await store.write(published(1, 2) | {"receipts": [("c", "n\0", "1", "read", _now())]})
    assert await offsets(connection) == []
    # The connection is good still.
    assert await store.write(published(1)) == ({"publications": 1}, {})


def _now() -> datetime:
    return datetime.now(UTC)


async def test_what_is_of_no_day_that_is_kept_is_left_out_and_returned(
    store: Store, connection: Any
) -> None:
    old = published(9, at_ms=NOW_MS - 40 * 86_400_000)
    new, outside = await store.write(
        {"publications": published(1)["publications"] + old["publications"]}
    )
    assert (new, outside) == ({"publications": 1}, old)
    assert await store.write(old) == ({}, old)
    assert await offsets(connection) == [1]


async def test_nobody_sees_what_was_copied_until_it_is_committed(
    store: Store, connection: Any
) -> None:
    copied = await store.copy(published(1, 2))
    assert copied is not None
    assert copied.new == {"publications": 2}
    assert await offsets(connection) == []
    await copied.commit()
    assert await offsets(connection) == [1, 2]


async def test_the_next_batch_is_copied_while_the_one_before_is_committed(
    store: Store, connection: Any
) -> None:
    first = await store.copy(published(1))
    second = await store.copy(published(2))
    assert first is not None
    assert second is not None
    await first.commit()
    assert await offsets(connection) == [1]
    await second.commit()
    assert await offsets(connection) == [1, 2]


async def test_what_was_copied_is_undone_with_its_connection(store: Store, connection: Any) -> None:
    copied = await store.copy(published(1))
    assert copied is not None
    store.drop_connections()
    with pytest.raises((OSError, asyncpg.InterfaceError, asyncpg.PostgresError)):
        await copied.commit()
    assert await store.write(published(1, 2)) == ({"publications": 2}, {})


async def test_rows_that_are_there_already_are_not_copied_but_written(
    store: Store, connection: Any
) -> None:
    await store.write(published(1))
    assert await store.copy(published(1, 2)) is None
    # Nothing is tried in vain until they are all new again.
    assert await store.copy(published(5)) is None
    assert await store.write(published(1, 2)) == ({"publications": 1}, {})
    assert await store.copy(published(5)) is None
    assert await store.write(published(3)) == ({"publications": 1}, {})
    copied = await store.copy(published(4))
    assert copied is not None
    await copied.commit()
    assert await offsets(connection) == [1, 2, 3, 4]


async def test_a_connection_that_was_cut_is_made_anew(store: Store, connection: Any) -> None:
    await store.check()
    cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1"
    await connection.execute(cut, "roomcast-history")
    # The end may be noticed only by the first who uses it.
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await store.check()
    assert await store.write(published(1)) == ({"publications": 1}, {})


async def test_a_database_that_does_not_answer_is_given_up(
    store: Store, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.check()
    async with connection.transaction():
        await connection.execute("LOCK TABLE publications")
        with monkeypatch.context() as patched:
            patched.setattr(store_module, "ANSWER_TIMEOUT_S", 0.3)
            with pytest.raises(TimeoutError):
                await store.write(published(1))
    assert await store.write(published(1)) == ({"publications": 1}, {})


async def test_who_is_cancelled_leaves_no_transaction_open(store: Store, connection: Any) -> None:
    await store.check()
    async with connection.transaction():
        await connection.execute("LOCK TABLE publications")
        copying = asyncio.create_task(store.copy(published(1)))
        await asyncio.sleep(0.2)
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
    async with asyncio.timeout(20):
        assert await store.write(published(1)) == ({"publications": 1}, {})


async def test_partitions_are_made_ahead_and_dropped_when_they_are_too_old(
    url: str, connection: Any
) -> None:
    today = datetime.now(UTC).date()
    old = today - timedelta(days=20)
    before = Store(url, Partitions(30))
    await before.write(published(1, at_ms=NOW_MS - 20 * 86_400_000))
    before.drop_connections()
    names = "SELECT relname FROM pg_class WHERE relname ~ '^publications_[0-9]{8}$'"
    assert f"publications_{old:%Y%m%d}" in {row[0] for row in await connection.fetch(names)}
    partitions = Partitions(10)
    store = Store(url, partitions)
    await store.tend()
    found = {row[0] for row in await connection.fetch(names)}
    assert f"publications_{old:%Y%m%d}" not in found
    assert {f"publications_{today + timedelta(days=n):%Y%m%d}" for n in range(3)} <= found
    assert partitions.days <= 11
    store.drop_connections()


async def test_a_partition_that_somebody_dropped_is_made_again_once_that_is_known(
    store: Store, connection: Any
) -> None:
    await store.write(published(1))
    await connection.execute(f"DROP TABLE publications_{datetime.now(UTC):%Y%m%d}")
    with pytest.raises(REFUSED):
        await store.write(published(2))
    await store.reread()
    assert await store.write(published(2)) == ({"publications": 1}, {})


async def test_a_new_database_gets_its_tables_and_a_lost_one_is_an_error() -> None:
    fresh = session_postgres(free_port()).make_database()
    store = Store(fresh, Partitions(30))
    assert await store.write(published(1)) == ({"publications": 1}, {})
    store.drop_connections()
    nobody = Store(f"postgresql://127.0.0.1:{free_port()}/x", Partitions(30))
    with pytest.raises(OSError, match="Connect"):
        await nobody.check()
