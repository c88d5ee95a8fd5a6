"""What operators see of the queue: counted in a real Valkey."""

from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ResponseError

from tests.support.stores.job_queue import KEYS, Queue, request
from worker.queue_gauges import QueueObserver


def seen(name: str, lane: str = "high") -> float | None:
    return REGISTRY.get_sample_value(f"roomcast_{name}", {"lane": lane} if lane else {})


async def test_jobs_turns_and_texts_at_the_door_are_counted_by_lane(queue: Queue) -> None:
    observer = QueueObserver(queue.redis, KEYS)
    await queue.accept(*(request(("high", p, b"x"), ("high", p, b"y")) for p in range(5)))
    await queue.accept(request(("low", 1, b"z")))
    await queue.take("w:high.0.1", turns=2)
    await queue.redis.lpush(KEYS.door("high"), "a", "b", "c")
    await observer.look()
    found = [seen(name) for name in ("waiting_jobs", "ready_turns", "held_turns", "door_jobs")]
    assert found == [10, 3, 2, 3]
    found = [seen(name, "low") for name in ("waiting_jobs", "ready_turns", "held_turns")]
    assert found == [1, 1, 0]
    await queue.redis.flushall()
    await observer.look()
    assert [seen(name) for name in ("waiting_jobs", "ready_turns", "door_jobs")] == [0, 0, 0]


async def test_the_dead_letters_of_all_clients_are_counted(queue: Queue) -> None:
    letter = {"reason": "r", "lane": "high", "job": "x"}
    await queue.redis.xadd(KEYS.dead, letter)
    for client in ("a", "b"):
        await queue.redis.sadd(KEYS.dead_clients, client)
        await queue.redis.xadd(KEYS.dead_of(client), letter)
        await queue.redis.xadd(KEYS.dead_of(client), letter)
    await QueueObserver(queue.redis, KEYS).look()
    assert seen("dead_letter_entries", "") == 5


async def test_a_redis_that_may_lose_jobs_is_said_to_be_unfit_until_it_is_mended(
    queue: Queue,
) -> None:
    observer = QueueObserver(queue.redis, KEYS)
    redis: Any = queue.redis
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        await observer.look()
        assert "maxmemory-policy is allkeys-lru" in (observer.unfit or "")
    finally:
        await redis.config_set("maxmemory-policy", "noeviction")
    await observer.look()
    assert observer.unfit is None


async def test_a_key_that_somebody_overwrote_is_an_error(queue: Queue) -> None:
    await queue.redis.set(KEYS.waiting, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await QueueObserver(queue.redis, KEYS).look()
