"""What a client sent, newest first, in a real database."""

from typing import Any

import pytest

from common.model.timestamps import from_unix_ms
from history.queries.inbox import InboxPlace
from history.queries.notifications import (
    DEAD_SCANNED_MAX,
    TARGETS_SHOWN,
    DeadNotification,
    Sent,
    SentFilters,
    dead_letters,
    dead_letters_of,
    sent,
)
from tests.history.queries.conftest import NOW_MS, ClientHistory

ANY = SentFilters()


async def ids(connection: Any, client: str, filters: SentFilters = ANY) -> list[str]:
    return [one.place.id for one in await sent(connection, client, filters, None, 100)]


async def test_a_notification_for_several_is_there_once(
    connection: Any, mine: ClientHistory
) -> None:
    for number in range(TARGETS_SHOWN + 5):
        await mine.publish(f"room:{number:02}", "n1", NOW_MS, published_ms=NOW_MS + 9 - number % 3)
    await mine.expire("room:00", "n2", NOW_MS + 1)
    await mine.publish("broadcast", "n3", NOW_MS + 2)
    broadcast, expired, several = await sent(connection, mine.client, ANY, None, 100)
    assert broadcast == Sent(
        InboxPlace(NOW_MS + 2, "n3"), "published", "broadcast", "2", [], 0, "high", NOW_MS + 2
    )
    assert expired == Sent(
        InboxPlace(NOW_MS + 1, "n2"), "expired", "room", "2", ["00"], 1, "low", None
    )
    assert several.targets == [f"{number:02}" for number in range(TARGETS_SHOWN)]
    assert (several.target_count, several.status) == (TARGETS_SHOWN + 5, "published")
    # When the first of them got it.
    assert several.published_ms == NOW_MS + 7


async def test_what_reached_somebody_was_published(connection: Any, mine: ClientHistory) -> None:
    await mine.publish("room:1", "n1", NOW_MS)
    await mine.expire("room:2", "n1", NOW_MS)
    (one,) = await sent(connection, mine.client, ANY, None, 9)
    assert (one.status, one.target_count, one.published_ms) == ("published", 2, NOW_MS)


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
async def test_pages_have_each_once_newest_first(
    connection: Any, mine: ClientHistory, theirs: ClientHistory, limit: int
) -> None:
    for an_id, after_ms in (("a", 0), ("c", 1), ("b", 1), ("d", 2)):
        for room in ("1", "2"):
            await mine.publish(f"room:{room}", an_id, NOW_MS + after_ms)
    await theirs.publish("room:1", "x")
    found: list[str] = []
    before = None
    while page := await sent(connection, mine.client, ANY, before, limit):
        assert len(page) <= limit
        found += [one.place.id for one in page]
        before = page[-1].place
    assert found == ["d", "c", "b", "a"]


async def test_filters_leave_out_what_is_not_asked_for(
    connection: Any, mine: ClientHistory
) -> None:
    await mine.publish("user:1", "private", NOW_MS, userId="ann")
    await mine.publish("room:1", "room", NOW_MS + 1)
    await mine.expire("room:2", "late", NOW_MS + 2)
    await mine.publish("broadcast", "all", NOW_MS + 3)
    for filters, expected in (
        (ANY, ["all", "late", "room", "private"]),
        (SentFilters(kind="room"), ["late", "room"]),
        (SentFilters(target="1"), ["room", "private"]),
        (SentFilters(kind="room", target="1"), ["room"]),
        (SentFilters(status="expired"), ["late"]),
        (SentFilters(sender="ann"), ["private"]),
        (SentFilters(since=from_unix_ms(NOW_MS + 2)), ["all", "late"]),
        (SentFilters(until=from_unix_ms(NOW_MS + 1)), ["room", "private"]),
        (SentFilters(since=from_unix_ms(NOW_MS + 4)), []),
    ):
        assert await ids(connection, mine.client, filters) == expected, filters


async def bury(history: ClientHistory, text: bytes, at_ms: int = NOW_MS) -> DeadNotification:
    text = text.replace(b"CLIENT", history.client.encode())
    event = await history.write("dead", "", at_ms, text, b"why")
    return DeadNotification(event.id, "n1" if b'"n1"' in text else "", text, "why", at_ms)


JOB = b'{"id":"n1","client":"CLIENT"}'


async def test_dead_letters_of_a_time_come_newest_first(
    connection: Any, mine: ClientHistory, theirs: ClientHistory
) -> None:
    buried = [await bury(mine, JOB, NOW_MS + ms) for ms in (0, 1, 2)]
    await bury(theirs, JOB)
    found = await dead_letters(connection, mine.client, ANY, None, 9)
    assert found == buried[::-1]
    assert await dead_letters(connection, mine.client, ANY, None, 2) == buried[:0:-1]
    place = InboxPlace(found[0].at_ms, found[0].event)
    assert await dead_letters(connection, mine.client, ANY, place, 9) == found[1:]
    middle = SentFilters(since=from_unix_ms(NOW_MS + 1), until=from_unix_ms(NOW_MS + 1))
    assert await dead_letters(connection, mine.client, middle, None, 9) == [buried[1]]


async def test_the_letters_of_one_notification_come_oldest_first_and_are_bounded(
    connection: Any, mine: ClientHistory
) -> None:
    buried = [await bury(mine, JOB, NOW_MS + ms) for ms in (1, 0)]
    await bury(mine, b'{"id":"n2","client":"CLIENT"}')
    assert await dead_letters_of(connection, mine.client, "n1") == buried[::-1]
    await connection.execute(
        "INSERT INTO dead_letters SELECT client, event || '-' || g, notification, text, reason, at"
        " FROM dead_letters, generate_series(1, $2::int) g WHERE client = $1",
        mine.client,
        DEAD_SCANNED_MAX,
    )
    assert len(await dead_letters_of(connection, mine.client, "n1")) == DEAD_SCANNED_MAX
