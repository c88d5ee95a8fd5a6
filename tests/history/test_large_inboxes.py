"""Inboxes with very many notifications: what PostgreSQL looks at does not grow with them."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from history.queries import inbox
from history.queries.inbox import Filters, InboxPlace, Reader
from history.schema.migrate import migrate
from history.writing.partitions import Partitions
from tests.support.processes.process import free_port
from tests.support.stores.postgres import session_postgres

SMALL, LARGE, READ = 20_000, 1_000_000, 200_000
LEFT = 100
Question = Callable[[Any, Reader], Awaitable[Any]]


class Explaining:
    """A connection that counts the pages which its queries touch."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.pages = 0

    async def fetch(self, query: str, *arguments: Any) -> Any:
        text = await self._connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments
        )
        (plan,) = json.loads(text)
        self.pages += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        return await self._connection.fetch(query, *arguments)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        return (await self.fetch(query, *arguments))[0][0]


@pytest.fixture(scope="module")
def url() -> str:
    return session_postgres(free_port()).make_database()


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    try:
        if not await connection.fetchval("SELECT to_regclass('publications') IS NOT NULL"):
            await migrate(url)
            await Partitions(2).make_ahead(connection)
            yesterday = datetime.now(UTC).date() - timedelta(days=1)
            await Partitions(2).make(connection, [("publications", yesterday)])
            for name, number in (("small", SMALL), ("large", LARGE), ("read-small", SMALL)):
                await _fill(connection, name, number)
            await _fill(connection, "read-large", READ)
            await connection.execute("ANALYZE")
        yield connection
    finally:
        await connection.close()


async def _fill(connection: Any, room: str, number: int) -> None:
    await connection.execute(
        """
        INSERT INTO publications
        SELECT 'c', $1 || g, 'room:' || $1, 'e', g, 'published', 'room', 's', $1, 'high', '', '{}',
            'w', at, at + interval '2 ms', false
        FROM generate_series(1, $2) g, LATERAL (
            SELECT date_trunc('second', now()) - interval '1 minute' - ($2 - g) * interval '5 ms'
        ) made(at)
        """,
        room,
        number,
    )
    await connection.execute(
        "INSERT INTO room_members (client, room, user_id, joined_at)"
        " VALUES ('c', $1, $1, now() - interval '1 day')",
        room,
    )
    if room.startswith("read"):
        await connection.execute(
            "INSERT INTO receipts SELECT 'c', $1 || g, $1, 'read', now()"
            " FROM generate_series(1, $2) g",
            room,
            number - LEFT,
        )


async def _pages(connection: Any, user: str, ask: Question) -> tuple[int, Any]:
    explaining = Explaining(connection)
    answer = await ask(explaining, Reader("c", user, {}))
    return explaining.pages, answer


def _page(**filters: Any) -> Question:
    async def ask(connection: Any, reader: Reader) -> Any:
        return await inbox.page(
            connection, reader, filters=Filters(**filters), before=None, limit=21
        )

    return ask


async def _middle(connection: Any, reader: Reader) -> Any:
    middle = datetime.now(UTC) - timedelta(seconds=120)
    place = InboxPlace(int(middle.timestamp() * 1000), "")
    return await inbox.page(connection, reader, filters=Filters(), before=place, limit=21)


async def _ids(connection: Any, reader: Reader) -> Any:
    return await inbox.unread_ids(connection, reader, 5_001)


@pytest.mark.parametrize("names", [("small", "large"), ("read-small", "read-large")])
@pytest.mark.parametrize(
    "ask",
    [
        inbox.unread_count, _ids, _page(), _page(unread=True), _page(room="none"), _middle,
        _page(since=datetime.now(UTC) - timedelta(hours=1)),
    ],
    ids=["count", "ids", "page", "unread", "other-room", "before", "since"],
)  # fmt: skip
async def test_what_is_looked_at_does_not_grow(
    connection: Any, ask: Question, names: tuple[str, str]
) -> None:
    small, large = names
    few, _ = await _pages(connection, small, ask)
    many, _ = await _pages(connection, large, ask)
    assert many <= 2 * few + 200


@pytest.mark.parametrize(
    ("user", "count"),
    [("small", SMALL), ("large", LARGE), ("read-small", LEFT), ("read-large", LEFT)],
)
async def test_the_count_is_right(connection: Any, user: str, count: int) -> None:
    reader = Reader("c", user, {})
    assert await inbox.unread_count(connection, reader) == count
    newest = await _page(unread=True)(connection, reader)
    number = {"small": SMALL, "large": LARGE, "read-small": SMALL, "read-large": READ}[user]
    assert [item.id for item in newest] == [f"{user}{number - n}" for n in range(21)]


async def test_few_among_many_that_were_read_are_found_over_pages_or_at_once(
    connection: Any,
) -> None:
    """One is unread at the beginning, all others were read one by one."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("ALTER TABLE receipts DISABLE TRIGGER settle_readers")
        await connection.execute(
            "INSERT INTO receipts SELECT 'c', 'small' || g, 'small', 'read', now()"
            " FROM generate_series(2, $1) g",
            SMALL,
        )
        reader = Reader("c", "small", {})
        pages, found, before = 0, [], None
        while True:
            items, before = await inbox.find_page(
                connection, reader, filters=Filters(unread=True), before=before, limit=20
            )
            found += [item.id for item in items]
            pages += 1
            if before is None:
                break
        assert found == ["small1"]
        assert pages > 1
        while await inbox.settle(connection, reader):
            pass
        items, before = await inbox.find_page(
            connection, reader, filters=Filters(unread=True), before=None, limit=20
        )
        assert ([item.id for item in items], before) == (["small1"], None)
        assert await inbox.unread_count(connection, reader) == 1
    finally:
        await transaction.rollback()


async def test_what_is_published_late_into_a_settled_inbox_is_unread(connection: Any) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        reader = Reader("c", "read-small", {})
        # It waited in a queue for long.
        await connection.execute(
            """
            INSERT INTO publications
            SELECT client, 'late', channel, epoch, "offset" + 1000000, status, type, sender, target,
                priority, email, frame, worker, created_at + interval '1 ms', now(), false
            FROM publications WHERE client = 'c' AND notification = 'read-small5'
            """
        )
        assert await inbox.unread_count(connection, reader) == LEFT + 1
        assert await inbox.is_read(connection, reader, "late") is False
        assert "late" in {place.id for place in await inbox.unread_ids(connection, reader, 5_001)}
        await connection.execute(
            "INSERT INTO receipts VALUES ('c', 'late', 'read-small', 'read', now())"
        )
        assert await inbox.unread_count(connection, reader) == LEFT
    finally:
        await transaction.rollback()


async def test_a_membership_that_comes_late_unsettles(connection: Any) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        reader = Reader("c", "read-small", {})
        count = await inbox.unread_count(connection, reader)
        # So old that the inbox was settled since: it is up to 10 s before its newest.
        await connection.execute(
            """
            INSERT INTO publications
            SELECT client, 'of-late' || notification, 'room:late', epoch, "offset", status, type,
                sender, 'late', priority, email, frame, worker, created_at, published_at, false
            FROM publications
            WHERE client = 'c' AND channel = 'room:read-small'
                AND "offset" > $1 AND "offset" <= $1 + 200
            """,
            SMALL - 2_500,
        )
        await connection.execute(
            "INSERT INTO room_members (client, room, user_id, joined_at)"
            " SELECT 'c', 'late', 'read-small', min(created_at)"
            " FROM publications WHERE client = 'c' AND channel = 'room:late'"
        )
        assert await inbox.unread_count(connection, reader) == count + 200
    finally:
        await transaction.rollback()


async def test_of_many_rooms_only_those_with_the_newest_are_read(connection: Any) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        for rooms in (300, 3_000):
            await connection.execute(
                """
                INSERT INTO room_members (client, room, user_id, joined_at)
                SELECT 'c', 'm' || g, 'm' || $1::int, now() - interval '1 day'
                FROM generate_series(1, $1::int) g
                """,
                rooms,
            )
        await connection.execute(
            """
            INSERT INTO publications
            SELECT 'c', 'm' || g, 'room:m' || (g % 3000 + 1), 'e', g, 'published', 'room', 's', 'm',
                'high', '', '{}', 'w', at, at, false
            FROM generate_series(1, 9000) g, LATERAL (
                SELECT date_trunc('second', now()) - (9000 - g) * interval '1 ms'
            ) made(at)
            """
        )
        seen: list[str] = []
        before = None
        for _ in range(5):
            items, before = await inbox.find_page(
                connection, Reader("c", "m3000", {}), filters=Filters(), before=before, limit=100
            )
            seen += [item.id for item in items]
        assert seen == [f"m{9000 - n}" for n in range(500)]
        assert await inbox.unread_count(connection, Reader("c", "m300", {})) == 900
    finally:
        await transaction.rollback()
