"""An inbox in a real database: what is in it, what of it is read, and where to ask for more."""

import json
from typing import Any

import pytest

from common.model.ids import new_id
from common.model.publication import Position
from common.model.timestamps import from_unix_ms
from history.queries.inbox import (
    Filters,
    Reader,
    created_at_ms,
    find_page,
    find_unread,
    is_read,
    known_positions,
    knows_reads,
    last_read_ms,
    page,
    read_among,
    rooms_of,
    settle,
    unread_count,
    unread_ids,
)
from tests.history.queries.conftest import HOUR_MS, NOW_MS, ClientHistory

ALL = Filters()
# Publications of a while ago, so that what is done to them comes after them.
THEN_MS = NOW_MS - HOUR_MS


@pytest.fixture
def reader(mine: ClientHistory) -> Reader:
    return Reader(mine.client, "ann", {})


async def ids(
    connection: Any, reader: Reader, filters: Filters = ALL, limit: int = 100
) -> list[str]:
    found = await page(connection, reader, filters=filters, before=None, limit=limit)
    return [item.id for item in found]


async def fill(mine: ClientHistory) -> None:
    """What ann has: two of her own, two of a room that she joined, and a broadcast."""
    await mine.join("ann", "1", THEN_MS + 10)
    await mine.publish("broadcast", "before her", THEN_MS)
    # Her first sight: broadcasts are hers from now on.
    await mine.publish("user:ann", "a", THEN_MS + 1)
    await mine.publish("room:1", "too early", THEN_MS + 5)
    await mine.publish("room:1", "b", THEN_MS + 11)
    await mine.publish("user:bob", "bob's", THEN_MS + 13)
    await mine.publish("room:2", "elsewhere", THEN_MS + 14)
    await mine.publish("broadcast", "c", THEN_MS + 21)
    await mine.publish("room:1", "d", THEN_MS + 22)
    await mine.expire("user:ann", "expired", THEN_MS + 23)
    await mine.publish("user:ann", "e", THEN_MS + 24)


async def test_it_has_what_was_for_the_user_since_they_came_newest_first(
    connection: Any, mine: ClientHistory, theirs: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    await theirs.publish("user:ann", "another client's", THEN_MS + 30)
    assert await ids(connection, reader) == ["e", "d", "c", "b", "a"]
    assert await unread_count(connection, reader) == 5
    (newest, *_) = await page(connection, reader, filters=ALL, before=None, limit=1)
    assert (newest.created_ms, newest.read_ms, newest.archived) == (THEN_MS + 24, None, False)
    assert json.loads(newest.frame)["message"] == "e"
    assert await ids(connection, reader._replace(user="cid")) == []
    assert await unread_count(connection, reader._replace(user="cid")) == 0


async def test_a_notification_for_a_user_and_their_room_is_there_once(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    for room in ("1", "2"):
        await mine.join("ann", room, THEN_MS)
        await mine.publish(f"room:{room}", "n", THEN_MS + 1)
    await mine.publish("user:ann", "n", THEN_MS + 1)
    assert await ids(connection, reader) == ["n"]
    assert await unread_count(connection, reader) == 1


async def test_who_leaves_a_room_no_longer_has_what_it_was_sent(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    assert await rooms_of(connection, mine.client, "ann") == {"1": THEN_MS + 10}
    await mine.change("member-left", "ann", NOW_MS, room="1")
    assert await rooms_of(connection, mine.client, "ann") == {}
    assert await ids(connection, reader) == ["e", "c", "a"]


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
@pytest.mark.parametrize("filters", [ALL, Filters(unread=True)])
async def test_pages_have_each_once_and_say_when_there_is_no_more(
    connection: Any, mine: ClientHistory, reader: Reader, limit: int, filters: Filters
) -> None:
    await fill(mine)
    # In one millisecond with another.
    await mine.publish("user:ann", "d2", THEN_MS + 22)
    found: list[str] = []
    before = None
    for _ in range(20):
        items, before = await find_page(
            connection, reader, filters=filters, before=before, limit=limit
        )
        assert len(items) <= limit
        found += [item.id for item in items]
        if before is None:
            break
    assert before is None
    assert found == ["e", "d2", "d", "c", "b", "a"]


async def test_filters(connection: Any, mine: ClientHistory, reader: Reader) -> None:
    await fill(mine)
    await mine.receipt("read", "ann", "d", NOW_MS)
    for filters, expected in (
        (Filters(room="1"), ["d", "b"]),
        (Filters(room="2"), []),
        (Filters(unread=True), ["e", "c", "b", "a"]),
        (Filters(room="1", unread=True), ["b"]),
        (Filters(since=from_unix_ms(THEN_MS + 21)), ["e", "d", "c"]),
        (Filters(since=from_unix_ms(THEN_MS + 21), unread=True), ["e", "c"]),
        (Filters(archived=True), []),
    ):
        assert await ids(connection, reader, filters) == expected, filters


async def test_what_was_read_says_when_first(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    for after_ms in (5, 0, 9):
        await mine.receipt("read", "ann", "d", NOW_MS + after_ms)
    await mine.receipt("delivered", "ann", "c", NOW_MS)
    await mine.receipt("read", "bob", "c", NOW_MS)
    found = {item.id: item.read_ms for item in await page(
        connection, reader, filters=ALL, before=None, limit=9
    )}  # fmt: skip
    assert found == {"e": None, "d": NOW_MS, "c": None, "b": None, "a": None}
    assert await is_read(connection, reader, "d") is True
    assert await is_read(connection, reader, "c") is False
    assert await is_read(connection, reader, "bob's") is None
    assert await last_read_ms(connection, reader, "d") == NOW_MS + 9
    assert await last_read_ms(connection, reader, "c") == 0


async def test_what_was_read_a_moment_ago_counts_before_the_writer_has_it(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    lately = reader._replace(reads={"c": NOW_MS, "e": NOW_MS + 1})
    assert await ids(connection, lately, Filters(unread=True)) == ["d", "b", "a"]
    assert await unread_count(connection, lately) == 3
    assert await is_read(connection, lately, "c") is True
    assert await last_read_ms(connection, lately, "c") == NOW_MS
    items = await page(connection, lately, filters=ALL, before=None, limit=9)
    assert [item.read_ms for item in items] == [NOW_MS + 1, None, NOW_MS, None, None]
    assert not await knows_reads(connection, lately)
    await mine.receipt("read", "ann", "e", NOW_MS + 1)
    # The newest is there, hence all before it.
    assert await knows_reads(connection, lately)
    assert await knows_reads(connection, reader)


async def test_reading_all_reads_what_was_published_until_then(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    # It was created before, and waited.
    await mine.publish("user:ann", "late", THEN_MS + 2, published_ms=THEN_MS + 40)
    await mine.change("read-all", "ann", THEN_MS + 22)
    assert await ids(connection, reader, Filters(unread=True)) == ["e", "late"]
    assert [place.id for place in await unread_ids(connection, reader, 9)] == ["e", "late"]
    assert await unread_count(connection, reader) == 2
    assert await is_read(connection, reader, "d") is True
    assert await read_among(connection, reader, ["a", "late", "d", "e", "unknown"]) == {"a", "d"}


async def test_what_was_marked_unread_is_unread_until_it_is_read_again(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    await mine.receipt("read", "ann", "d", NOW_MS)
    created = {"createdAt": from_unix_ms(THEN_MS + 22).isoformat()}
    await mine.change("unread", "ann", NOW_MS + 10, id="d", **created)
    assert await is_read(connection, reader, "d") is False
    assert "d" in await ids(connection, reader, Filters(unread=True))
    assert await unread_count(connection, reader) == 5
    # A receipt that was on its way counts no more.
    early = reader._replace(reads={"d": NOW_MS + 5})
    assert await is_read(connection, early, "d") is False
    items = await page(connection, early, filters=ALL, before=None, limit=9)
    assert {item.id: item.read_ms for item in items}["d"] is None
    await mine.receipt("read", "ann", "d", NOW_MS + 20)
    assert await is_read(connection, reader, "d") is True
    assert await unread_count(connection, reader) == 4


async def test_what_is_archived_is_elsewhere_and_not_counted(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    for an_id, after_ms in (("d", 22), ("a", 1)):
        created = from_unix_ms(THEN_MS + after_ms).isoformat()
        await mine.change("archived", "ann", NOW_MS, id=an_id, createdAt=created)
    assert await ids(connection, reader) == ["e", "c", "b"]
    assert await unread_count(connection, reader) == 3
    archived, more = await find_page(
        connection, reader, filters=Filters(archived=True), before=None, limit=1
    )
    assert [(item.id, item.archived) for item in archived] == [("d", True)]
    archived, more = await find_page(
        connection, reader, filters=Filters(archived=True), before=more, limit=1
    )
    assert ([item.id for item in archived], more) == (["a"], None)
    back = from_unix_ms(THEN_MS + 22).isoformat()
    await mine.change("unarchived", "ann", NOW_MS + 1, id="d", createdAt=back)
    assert await ids(connection, reader) == ["e", "d", "c", "b"]


@pytest.mark.parametrize("an_id", ["n1", "dated"])
async def test_one_is_found_by_its_id(
    connection: Any, mine: ClientHistory, reader: Reader, an_id: str
) -> None:
    an_id = new_id() if an_id == "dated" else an_id
    await mine.publish("user:ann", an_id, NOW_MS + 2)
    assert await created_at_ms(connection, reader, an_id) == NOW_MS + 2
    assert await created_at_ms(connection, reader, "unknown") is None
    assert await created_at_ms(connection, reader._replace(user="bob"), an_id) is None


async def test_looking_an_inbox_through_once_changes_nothing_that_is_seen(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    for an_id in ("a", "c", "d"):
        await mine.receipt("read", "ann", an_id, NOW_MS)
    before = await ids(connection, reader, Filters(unread=True))
    await settle(connection, reader)
    assert await ids(connection, reader, Filters(unread=True)) == before == ["e", "b"]
    assert await unread_count(connection, reader) == 2
    found = await find_unread(connection, reader, 1)
    assert ([place.id for place in found.places], found.following is None) == (["e"], False)
    await mine.publish("user:ann", "f", NOW_MS + 1)
    assert await ids(connection, reader, Filters(unread=True)) == ["f", "e", "b"]


async def test_what_is_in_the_database_is_known_by_its_position(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    await mine.publish("room:1", "n1", THEN_MS, offset=1)
    await mine.publish("room:1", "n2", THEN_MS + 1, offset=2)
    await theirs.publish("room:2", "n3", THEN_MS)
    asked = [
        ("room:1", Position("e", 2)),
        ("room:1", Position("e", 3)),
        ("room:2", Position("e", 1)),
        ("room:1", Position("another", 2)),
        ("room:1", Position("e", 1)),
    ]
    known = await known_positions(connection, mine.client, asked)
    assert known == [True, False, False, False, True]
    assert await known_positions(connection, mine.client, []) == []


async def test_of_a_deleted_user_nothing_from_before_is_seen(
    connection: Any, mine: ClientHistory, reader: Reader
) -> None:
    await fill(mine)
    await mine.change("user-deleted", "ann", THEN_MS + 30)
    assert await ids(connection, reader) == []
    await mine.publish("user:ann", "new", THEN_MS + 31)
    assert await ids(connection, reader) == ["new"]
    assert await unread_count(connection, reader) == 1
