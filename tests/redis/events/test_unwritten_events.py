"""Events that the history writer has not written yet, read from a real stream."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from common.events.event import Event
from common.model.channels import DEFAULT_CLIENT, HISTORY_GROUP, KAFKA_GROUP
from server.notifications import unwritten_events
from server.notifications.unwritten_events import Positions, UnwrittenEvents
from tests.support.stores.job_queue import KEYS, SHARDS

NOTHING: Positions = {KEYS.shard: None}


@pytest.fixture
def events(redis: Redis) -> UnwrittenEvents:
    return UnwrittenEvents(redis, SHARDS, "shop")


async def add(
    redis: Any, number: int, text: str, kind: str = "published", channel: str = "shop/room:1"
) -> str:
    """Add an event with an id, and return that."""
    fields = {"k": kind, "c": channel, "w": "w", "p": text}
    return str((await redis.xadd(KEYS.events, fields, id=f"{number}-0")).decode())


async def read_up_to(redis: Any, group: str, position: str) -> None:
    """Make a group that has read the stream up to an entry."""
    await redis.xgroup_create(KEYS.events, group, id=position)


async def texts(found: AsyncIterator[Event]) -> list[str]:
    return [event.text.decode() async for event in found]


async def test_without_a_writer_nothing_is_written(redis: Redis, events: UnwrittenEvents) -> None:
    assert await events.positions() == NOTHING
    await add(redis, 1, "a")
    assert await events.positions() == NOTHING
    await read_up_to(redis, KAFKA_GROUP, "1-0")
    assert await events.positions() == NOTHING
    assert await texts(events.unwritten("published")) == ["a"]


async def test_the_newest_come_first_and_what_is_written_is_left_out(
    redis: Redis, events: UnwrittenEvents
) -> None:
    for number in range(1, 5):
        await add(redis, number, str(number))
    await read_up_to(redis, HISTORY_GROUP, "2-0")
    assert await events.positions() == {KEYS.shard: "2-0"}
    assert await texts(events.unwritten("published")) == ["4", "3"]


async def test_only_the_kinds_that_are_asked_for_are_found(
    redis: Redis, events: UnwrittenEvents
) -> None:
    for number, kind in enumerate(("published", "read", "expired"), 1):
        await add(redis, number, kind, kind)
    assert await texts(events.unwritten("read", "expired")) == ["expired", "read"]
    assert await texts(events.unwritten()) == []


async def test_events_of_other_clients_are_not_found(redis: Redis, events: UnwrittenEvents) -> None:
    await add(redis, 1, "mine")
    await add(redis, 2, "theirs", channel="shop2/room:1")
    await add(redis, 3, "of nobody", channel=f"{DEFAULT_CLIENT}/room:1")
    assert await texts(events.unwritten("published")) == ["mine"]
    found = events.mentioning(b"", since_ms=None, after={})
    assert await texts(found) == ["mine"]


async def test_a_dead_letter_belongs_to_whom_it_names_and_an_unreadable_one_to_the_default(
    redis: Redis, events: UnwrittenEvents
) -> None:
    mine, unreadable = json.dumps({"id": "a", "client": "shop"}), "{"
    await add(redis, 1, mine, "dead", "")
    await add(redis, 2, unreadable, "dead", "")
    assert await texts(events.unwritten("dead")) == [mine]
    of_default = UnwrittenEvents(redis, SHARDS, DEFAULT_CLIENT)
    assert await texts(of_default.unwritten("dead")) == [unreadable]


async def test_events_that_mention_a_text_come_oldest_first(
    redis: Redis, events: UnwrittenEvents
) -> None:
    for number, text in enumerate(("id-1 a", "id-2", "id-1 b"), 1):
        await add(redis, number, text)
    found = events.mentioning(b"id-1", since_ms=None, after=NOTHING)
    assert await texts(found) == ["id-1 a", "id-1 b"]


@pytest.mark.parametrize(
    ("since_ms", "after", "expected"),
    [
        (None, "2-0", ["3", "4"]),
        (3, None, ["3", "4"]),
        (4, "2-0", ["4"]),
        (1, "3-0", ["4"]),
        (3, "3-0", ["4"]),
        (-5, None, ["1", "2", "3", "4"]),
    ],
)
async def test_they_are_looked_for_from_the_later_of_a_time_and_an_entry_on(
    redis: Redis,
    events: UnwrittenEvents,
    since_ms: int | None,
    after: str | None,
    expected: list[str],
) -> None:
    for number in range(1, 5):
        await add(redis, number, str(number))
    found = events.mentioning(b"", since_ms=since_ms, after={KEYS.shard: after})
    assert await texts(found) == expected


async def test_more_than_one_page_is_read_up_to_the_bound(
    redis: Redis, events: UnwrittenEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwritten_events, "_EVENTS_PAGE", 2)
    monkeypatch.setattr(unwritten_events, "EVENTS_SCANNED_MAX", 6)
    for number in range(1, 9):
        await add(redis, number, str(number))
    oldest = events.mentioning(b"", since_ms=None, after=NOTHING)
    assert await texts(oldest) == ["1", "2", "3", "4", "5", "6"]
    assert await texts(events.unwritten("published")) == ["8", "7", "6", "5", "4", "3"]


async def test_what_is_no_event_is_passed_over(redis: Any, events: UnwrittenEvents) -> None:
    await add(redis, 1, "a")
    await redis.xadd(KEYS.events, {"rubbish": "x"}, id="2-0")
    await redis.xadd(KEYS.events, {"k": "published", "p": "b"}, id="3-0")
    assert await texts(events.unwritten("published")) == ["a"]
    assert await texts(events.mentioning(b"", since_ms=None, after=NOTHING)) == ["a"]
