"""What was there before a change of the schema is there after it, and after its way back."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import history
from history.queries import notification_status
from history.queries.notification_status import MirrorRecord, PublicationRecord
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


async def test_a_batch_that_was_told_twice_is_one_place() -> None:
    url = session_postgres(free_port()).make_database()
    await change(url, "upgrade", "head")
    one = publication("room:1", 1, NOON)
    ms = one.published_ms
    connection: Any = await asyncpg.connect(url)
    try:
        await connection.execute(
            f"CREATE TABLE mirror_batches_{NOON:%Y%m%d} PARTITION OF mirror_batches"
            f" FOR VALUES FROM ('{NOON.date()} 00:00+00') TO ('{LATER.date()} 00:00+00')"
        )
        here = '[["acme/room:1","e",1,0,7],["acme/room:1","e",2,0,9]]'
        there = '[["acme/room:1","e",1,0,8]]'
        batches = [
            ("1-0", ms, ms, here, NOON),
            ("2-0", ms - 5, ms + 5, here, NOON + timedelta(seconds=1)),
            ("3-0", ms - 5, ms, there, NOON + timedelta(seconds=2)),
            ("4-0", ms + 1, ms + 5, '[["acme/room:1","e",1,3,3]]', NOON),
        ]
        await connection.executemany(
            "INSERT INTO mirror_batches VALUES ($1, 't', $2, $3, $4, $5)", batches
        )
        # Written to Kafka twice is at two places.
        assert await notification_status.mirrors(connection, "acme", [one]) == {
            ("room:1", "e", 1): [MirrorRecord("t", 0, 7, ms), MirrorRecord("t", 0, 8, ms + 2_000)]
        }
    finally:
        await connection.close()
