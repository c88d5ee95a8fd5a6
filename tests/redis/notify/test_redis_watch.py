"""Health checks of a real Redis: what makes the server refuse notifications, and what ends it."""

import logging
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from common.config.settings import Settings
from server.notify.redis_watch import RedisWatch
from tests.redis.notify.conftest import SetConfig
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.stores.job_queue import KEYS, Queue, request

BOUND = 10


def seen(watch: RedisWatch) -> tuple[str | None, str | None, bool, int | str]:
    """What the last look has found about Redis itself."""
    return watch.trouble, watch.unfit, watch.nearly_full, watch.room


def is_full(watch: RedisWatch) -> bool:
    """Whether the last look found the event stream full."""
    return watch.events_full


def watch_of(redis: Redis, tenants: int = 1, **settings: Any) -> RedisWatch:
    given = {"events_bound": BOUND} | settings
    return RedisWatch(redis, KEYS, Settings(**given), lambda: tenants)


async def add(redis: Any, count: int, client: str = "shop") -> None:
    for _ in range(count):
        await redis.xadd(KEYS.events, {"k": "published"})
    await redis.hincrby(KEYS.event_clients, client, count)


async def test_before_the_first_look_nothing_is_taken_and_a_fit_redis_takes_all(
    redis: Redis,
) -> None:
    watch = watch_of(redis)
    assert watch.trouble == "redis was not reached yet"
    assert not watch.looked.is_set()
    await watch.look()
    assert watch.looked.is_set()
    assert seen(watch) == (None, None, False, "")
    assert not is_full(watch)
    assert watch.crowding == frozenset()


async def test_a_look_leaves_no_key_behind_and_changes_no_job(queue: Queue) -> None:
    await queue.accept(request(("high", 3, b"one")))
    before = await queue.snapshot()
    watch = watch_of(queue.redis)
    await watch.look()
    assert watch.trouble is None
    assert await queue.snapshot() == before


async def test_a_redis_that_is_away_is_trouble_but_not_unfit(redis: Redis) -> None:
    nowhere = Redis(host=LOOPBACK, port=free_port(), retry=Retry(NoBackoff(), 0))
    watch = watch_of(nowhere)
    await watch.look()
    assert watch.trouble == "redis does not answer: ConnectionError"
    assert watch.unfit is None
    assert not watch.looked.is_set()
    await nowhere.aclose()
    # The outage is this process's: end it.
    await watch_of(redis).look()


async def test_a_redis_that_evicts_is_unfit_until_it_is_mended(
    redis: Redis, config: SetConfig
) -> None:
    watch = watch_of(redis)
    await config("maxmemory-policy", "allkeys-lru")
    await watch.look()
    assert watch.unfit is not None
    assert "allkeys-lru" in watch.unfit
    assert watch.trouble == watch.unfit
    await config("maxmemory-policy", "noeviction")
    await watch.look()
    assert seen(watch)[:2] == (None, None)


async def test_with_accept_fsync_it_needs_an_append_only_file(
    redis: Redis, config: SetConfig
) -> None:
    await config("appendonly", "no")
    plain, synced = watch_of(redis), watch_of(redis, accept_fsync=True)
    await plain.look()
    await synced.look()
    assert plain.unfit is None
    assert synced.unfit is not None
    assert "appendonly yes" in synced.unfit
    await config("appendonly", "yes")
    await synced.look()
    assert synced.unfit is None


async def test_refused_writes_are_trouble_though_info_answers(
    redis: Redis, config: SetConfig
) -> None:
    watch = watch_of(redis)
    await config("min-replicas-to-write", "1")
    await watch.look()
    assert watch.trouble is not None
    assert watch.trouble.startswith("redis refuses writes: ")
    assert watch.unfit is None


@pytest.mark.parametrize(
    "key", [KEYS.waiting, KEYS.backlog, KEYS.ready("high"), KEYS.active("low")]
)
async def test_a_key_of_the_queue_that_was_overwritten_is_named_once_as_an_error(
    redis: Any, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    watch = watch_of(redis)
    await redis.set(key, "rubbish")
    for _ in range(2):
        await watch.look()
    assert watch.trouble is not None
    assert f"{key} is of another type than it has to be; delete it" in watch.trouble
    assert [one.levelno for one in caplog.records] == [logging.ERROR]
    await redis.delete(key)
    await watch.look()
    assert watch.trouble is None


async def test_near_its_memory_limit_it_is_nearly_full_which_is_no_trouble(
    redis: Redis, config: SetConfig
) -> None:
    watch = watch_of(redis)
    await config("maxmemory", "1gb")
    await watch.look()
    assert not watch.nearly_full
    assert isinstance(watch.room, int)
    assert 0 < watch.room < 2**30
    await config("maxmemory", "1")
    await watch.look()
    assert seen(watch) == (None, None, True, 0)
    await config("maxmemory", "0")
    await watch.look()
    assert seen(watch) == (None, None, False, "")


async def test_the_event_stream_is_full_at_its_bound(redis: Any) -> None:
    watch = watch_of(redis)
    await add(redis, BOUND - 1)
    await watch.look()
    assert not is_full(watch)
    await add(redis, 1)
    await watch.look()
    assert is_full(watch)
    assert watch.trouble is None
    await redis.delete(KEYS.events)
    await watch.look()
    assert not is_full(watch)


async def test_who_has_as_much_of_the_stream_as_is_left_for_all_may_add_no_more(
    redis: Any, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watch_of(redis, tenants=2)
    await add(redis, 4, "greedy")
    await add(redis, 1, "modest")
    await watch.look()
    assert watch.crowding == frozenset()
    await add(redis, 1, "greedy")
    for _ in range(2):
        await watch.look()
    assert watch.crowding == {"greedy"}
    assert [getattr(one, "client", None) for one in caplog.records].count("greedy") == 1
    await redis.hset(KEYS.event_clients, "greedy", "rubbish")
    await watch.look()
    assert watch.crowding == frozenset()


async def test_a_client_alone_may_have_the_whole_stream(redis: Any) -> None:
    watch = watch_of(redis, tenants=1)
    await add(redis, BOUND - 1, "greedy")
    await watch.look()
    assert watch.crowding == frozenset()
