"""Cached inboxes in a real Valkey (`server/inbox/cache.py`): valid until anything changes."""

from collections.abc import Sequence
from typing import Any

import pytest

from common.config.settings import Settings
from common.events.event import EventKind
from common.events.receipts import Receipts
from common.model.publication import Position
from history.queries.inbox import InboxPlace, Item
from server.inbox import cache as cache_module
from server.inbox.cache import KEPT_S, PAGE_MAX_BYTES, CachedPage, InboxCache
from tests.support.stores.job_queue import KEYS, SHARDS, Queue

UNREAD = [InboxPlace(200, "n2"), InboxPlace(100, "n1")]
PAGE = CachedPage(
    [Item("n2", 200, None, b'{"id":"n2"}'), Item("n1", 100, None, b'{"id":"n1"}'),
     Item("n0", 50, 60, b'{"id":"n0"}')],
    InboxPlace(50, "n0"),
)  # fmt: skip
OWN, ROOM = "user:ann", "room:r"


@pytest.fixture
def cache(queue: Queue) -> InboxCache:
    return InboxCache(queue.redis, SHARDS)


async def publish(queue: Queue, channel: str, offset: int) -> None:
    """Move a channel on, as a publication does."""
    await queue.redis.hset(
        f"{KEYS.channel_prefix}default/{channel}", mapping={"e": "e1", "o": offset}
    )


async def stored(
    cache: InboxCache, page: CachedPage = PAGE, channels: Sequence[str] = (OWN, ROOM)
) -> bool:
    marks = await cache.marks("ann")
    positions = list(zip(channels, await cache.positions(channels), strict=True))
    return await cache.store("ann", marks, positions, UNREAD, page)


async def read(queue: Queue, *ids: str) -> None:
    receipts = Receipts(queue.redis, SHARDS, Settings(_env_file=None), "s")
    await receipts.record(EventKind.READ, "ann", ids)


async def test_what_was_stored_is_found_for_a_while(queue: Queue, cache: InboxCache) -> None:
    assert await cache.unread_count("ann") is None
    assert await cache.first_page("ann") is None
    assert await stored(cache)
    assert await cache.unread_count("ann") == 2
    assert await cache.first_page("ann") == PAGE
    for key in (KEYS.inbox("default/ann"), KEYS.unread("default/ann")):
        assert 0 < await queue.redis.ttl(key) <= KEPT_S


async def test_an_empty_inbox_is_cached_too(cache: InboxCache) -> None:
    marks = await cache.marks("ann")
    assert await cache.store("ann", marks, [(OWN, None)], [], CachedPage([], None))
    assert await cache.unread_count("ann") == 0
    assert await cache.first_page("ann") == CachedPage([], None)


async def test_a_cached_inbox_is_its_users_and_its_clients_alone(cache: InboxCache) -> None:
    assert await stored(cache)
    assert await cache.unread_count("bob") is None
    assert await cache.of("shop").unread_count("ann") is None
    assert await cache.of("shop").of("default").unread_count("ann") == 2


async def test_a_read_is_in_the_cached_page_at_once(queue: Queue, cache: InboxCache) -> None:
    assert await stored(cache)
    await read(queue, "n1")
    assert await cache.unread_count("ann") == 1
    page = await cache.first_page("ann")
    assert page is not None
    newest, read_now, read_before = page.items
    assert newest.read_ms is None
    assert read_now.read_ms is not None
    assert read_now.read_ms > 1_700_000_000_000
    assert read_before.read_ms == 60


async def test_what_counts_as_unread_was_not_read_whatever_the_page_says(
    cache: InboxCache,
) -> None:
    read_once = CachedPage([Item("n2", 200, 250, b'{"id":"n2"}')], None)
    assert await stored(cache, read_once)
    page = await cache.first_page("ann")
    assert page is not None
    assert page.items == [Item("n2", 200, None, b'{"id":"n2"}')]


@pytest.mark.parametrize("channel", [OWN, ROOM])
async def test_a_publication_on_any_of_its_channels_ends_it(
    queue: Queue, cache: InboxCache, channel: str
) -> None:
    await publish(queue, OWN, 7)
    assert await stored(cache)
    await publish(queue, "room:another", 1)
    assert await cache.unread_count("ann") == 2
    await publish(queue, channel, 8)
    assert await cache.unread_count("ann") is None
    assert await cache.first_page("ann") is None


@pytest.mark.parametrize("lost", [KEYS.inbox("default/ann"), KEYS.unread("default/ann")])
async def test_without_one_of_its_keys_it_is_not_cached(
    queue: Queue, cache: InboxCache, lost: str
) -> None:
    assert await stored(cache)
    await queue.redis.delete(lost)
    assert await cache.unread_count("ann") is None


async def test_a_first_sight_ends_it(queue: Queue, cache: InboxCache) -> None:
    assert await stored(cache)
    await queue.redis.zadd(KEYS.sights, {"default/ann": 1_000})
    assert await cache.unread_count("ann") is None
    assert (await cache.marks("ann")).last_sight == "1000"
    assert await stored(cache)
    assert await cache.unread_count("ann") == 2


@pytest.mark.parametrize("what", ["read", "change", "sight"])
async def test_what_changed_while_the_database_was_read_is_not_stored(
    queue: Queue, cache: InboxCache, what: str
) -> None:
    marks = await cache.marks("ann")
    if what == "read":
        await read(queue, "n1")
    elif what == "change":
        async with cache.change("ann"):
            pass
    else:
        await queue.redis.zadd(KEYS.sights, {"default/ann": 1_000})
    assert not await cache.store("ann", marks, [(OWN, None)], UNREAD, PAGE)
    assert await cache.unread_count("ann") is None
    assert await stored(cache)


async def test_while_a_change_runs_nothing_is_read_or_stored(cache: InboxCache) -> None:
    assert await stored(cache)
    async with cache.change("ann"):
        assert await cache.unread_count("ann") is None
        assert not await stored(cache)
        async with cache.change("bob"):
            pass
        assert not await stored(cache)
    # What was stored before it is out of date.
    assert await cache.unread_count("ann") is None
    assert await stored(cache)


async def test_the_end_of_one_change_is_not_the_end_of_a_later_one(cache: InboxCache) -> None:
    first = cache.change("ann")
    await first.__aenter__()
    async with cache.change("ann"):
        await first.__aexit__(None, None, None)
        assert not await stored(cache)


async def test_what_was_read_before_a_change_ended_is_not_stored_after_it(
    cache: InboxCache,
) -> None:
    async with cache.change("ann"):
        marks = await cache.marks("ann")
    assert not await cache.store("ann", marks, [(OWN, None)], UNREAD, PAGE)


async def test_a_change_whose_outcome_is_unknown_ends_by_itself(
    queue: Queue, cache: InboxCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TimeoutError):
        async with cache.change("ann"):
            raise TimeoutError
    assert not await stored(cache)
    # Nothing but its time says that it is over.
    monkeypatch.setattr(cache_module, "CHANGE_MAX_MS", 0)
    with pytest.raises(TimeoutError):
        async with cache.change("ann"):
            raise TimeoutError
    assert await stored(cache)


async def test_marks_have_the_recent_reads_and_the_run(queue: Queue, cache: InboxCache) -> None:
    nothing = await cache.marks("ann")
    assert (nothing.last_read, nothing.last_change, nothing.reads) == ("", "", {})
    assert nothing.run == (await queue.redis.info("server"))["run_id"]
    await read(queue, "n1", "n2")
    marks = await cache.marks("ann")
    assert set(marks.reads) == {"n1", "n2"}
    assert marks.last_read
    assert abs(marks.now_ms - marks.reads["n1"]) < 60_000


async def test_positions_are_those_of_channels_that_had_a_publication(
    queue: Queue, cache: InboxCache
) -> None:
    await publish(queue, ROOM, 3)
    assert await cache.positions([OWN, ROOM]) == [None, Position("e1", 3)]
    assert await cache.of("shop").positions([ROOM]) == [None]


async def test_of_a_large_page_only_the_count_is_cached(cache: InboxCache) -> None:
    large = CachedPage([Item("n2", 200, None, b"x" * (PAGE_MAX_BYTES + 1))], None)
    assert await stored(cache, large)
    assert await cache.unread_count("ann") == 2
    assert await cache.first_page("ann") is None


@pytest.mark.parametrize("page", [b"\xc1", b"\x93\x01\x02\x03"])
async def test_a_page_of_another_version_is_not_taken(
    queue: Queue, cache: InboxCache, page: bytes
) -> None:
    assert await stored(cache)
    await queue.redis.hset(KEYS.inbox("default/ann"), "page", page)
    assert await cache.first_page("ann") is None
    assert await cache.unread_count("ann") == 2


async def test_a_full_redis_caches_nothing_and_that_is_no_error(
    queue: Queue, cache: InboxCache
) -> None:
    marks = await cache.marks("ann")
    await queue.redis.config_set("maxmemory", "1")
    try:
        assert not await cache.store("ann", marks, [(OWN, None)], UNREAD, PAGE)
    finally:
        await queue.redis.config_set("maxmemory", "0")


async def test_more_unread_than_one_command_takes_are_all_stored(cache: InboxCache) -> None:
    unread = [InboxPlace(number, f"n{number}") for number in range(2_500)]
    marks: Any = await cache.marks("ann")
    assert await cache.store("ann", marks, [(OWN, None)], unread, CachedPage([], None))
    assert await cache.unread_count("ann") == 2_500
