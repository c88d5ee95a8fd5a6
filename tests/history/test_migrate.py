"""Changes of the schema: made once, all or nothing, and nothing is lost on either way."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import history
from history.queries import notification_status
from history.queries.notification_status import MirrorRecord, PublicationRecord
from history.schema.migrate import DATABASE_ERRORS, describe, migrate
from tests.support.processes.process import free_port
from tests.support.stores.postgres import session_postgres

_MIGRATIONS: Final = Path(history.__file__).parent / "schema"
NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER: Final = NOON + timedelta(days=1)


async def change(url: str, how: str, revision: str) -> None:
    """Take a database `upgrade` or `downgrade` to a revision."""

    def run(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        getattr(command, how)(config, revision)

    async def connect() -> Any:
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


def publication(channel: str, offset: int, at: datetime) -> PublicationRecord:
    ms = int(at.timestamp() * 1000)
    return PublicationRecord(
        channel, "e", offset, "published", "room", "2", "1", "high", "w1", ms, ms
    )


async def insert(connection: Any, one: PublicationRecord, client: str) -> None:
    at = datetime.fromtimestamp(one.published_ms / 1000, UTC)
    await connection.execute(
        """
        INSERT INTO publications (client, notification, channel, epoch, "offset", status, type,
            sender, priority, frame, worker, created_at, published_at)
        VALUES ($1, 'n', $2, $3, $4, 'published', 'room', '2', 'high', '{}', 'w1', $5, $5)
        """,
        client,
        one.channel,
        one.epoch,
        one.offset,
        at,
    )


async def test_where_publications_are_in_kafka_outlives_the_change() -> None:
    url = session_postgres(free_port()).make_database()
    await change(url, "upgrade", "0004")
    room = [publication("room:1", n, NOON + timedelta(seconds=n)) for n in (1, 2, 3)]
    user = publication('user:a/"b"', 1, LATER)
    connection: Any = await asyncpg.connect(url)
    try:
        for table in ("publications", "mirrors"):
            for day in (NOON.date(), LATER.date()):
                await connection.execute(
                    f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table}"
                    f" FOR VALUES FROM ('{day} 00:00+00')"
                    f" TO ('{day + timedelta(days=1)} 00:00+00')"
                )
        rows = []
        for number, one in enumerate([*room, user]):
            await insert(connection, one, "acme")
            at = LATER if one is user else NOON + timedelta(seconds=5)
            rows.append(("acme", one.channel, "e", one.offset, "t", number, 10 + number, at))
        await connection.executemany(
            "INSERT INTO mirrors VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", rows
        )

        await change(url, "upgrade", "0005")
        assert await connection.fetchval("SELECT count(*) FROM mirror_batches") == 2
        late_ms = int((NOON + timedelta(seconds=5)).timestamp() * 1000)
        assert await notification_status.mirrors(connection, "acme", [*room, user]) == {
            ("room:1", "e", 1): [MirrorRecord("t", 0, 10, late_ms)],
            ("room:1", "e", 2): [MirrorRecord("t", 1, 11, late_ms)],
            ("room:1", "e", 3): [MirrorRecord("t", 2, 12, late_ms)],
            ('user:a/"b"', "e", 1): [MirrorRecord("t", 3, 13, user.published_ms)],
        }
        assert await notification_status.mirrors(connection, "other", [*room, user]) == {}

        await change(url, "downgrade", "0004")
        found = await connection.fetch("SELECT * FROM mirrors ORDER BY kafka_offset")
        assert [tuple(row) for row in found] == rows
    finally:
        await connection.close()


async def tables(url: str) -> set[str]:
    connection: Any = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema::regnamespace"
        )
        return {row["relname"] for row in rows}
    finally:
        await connection.close()


async def test_of_many_that_ask_at_once_one_makes_the_tables() -> None:
    url = session_postgres(free_port()).make_database()
    await asyncio.gather(*(migrate(url) for _ in range(4)))
    found = await tables(url)
    assert {"publications", "receipts", "clients", "sights"} <= found
    await migrate(url)
    assert await tables(url) == found


async def test_a_database_of_a_later_version_is_refused_and_left_as_it_is() -> None:
    url = session_postgres(free_port()).make_database()
    await migrate(url)
    connection: Any = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    before = await tables(url)
    with pytest.raises(DATABASE_ERRORS) as refused:
        await migrate(url)
    assert "9999" in describe(refused.value)
    assert await tables(url) == before


async def test_a_change_that_fails_leaves_nothing_behind() -> None:
    url = session_postgres(free_port()).make_database()
    await change(url, "upgrade", "0003")
    connection: Any = await asyncpg.connect(url)
    # What a later step is about to make.
    await connection.execute("CREATE TABLE deleted_users (x int)")
    await connection.close()
    before = await tables(url)
    with pytest.raises(DATABASE_ERRORS) as refused:
        await migrate(url)
    assert describe(refused.value) == 'relation "deleted_users" already exists'
    assert await tables(url) == before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "TimeoutError"),
        (OSError("refused\nmore"), "refused"),
        (ValueError("  spaces\n"), "spaces"),
    ],
)
def test_an_error_is_one_line(error: Exception, said: str) -> None:
    assert describe(error) == said


async def test_a_database_that_is_not_there_is_one_of_the_errors() -> None:
    for url in (f"postgresql://127.0.0.1:{free_port()}/x", f"postgresql://{'x' * 70}.example/x"):
        with pytest.raises(DATABASE_ERRORS):
            await migrate(url)
