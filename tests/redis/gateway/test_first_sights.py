"""Users who register are noted in Redis, and become an event when they are new."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis

from common.config.settings import Settings
from tests.redis.gateway.away import away, running
from tests.support.stores.job_queue import KEYS
from tests.support.waiting import until
from ws_gateway.reports import first_sights
from ws_gateway.reports.first_sights import CALL_MAX, Sight, Sights


def sights_of(redis: Redis, **settings: Any) -> Sights:
    chosen = Settings(event_readers="history", **settings)
    return Sights(redis, KEYS, chosen, "gw")


async def seen(redis: Any) -> list[tuple[str, list[str]]]:
    """Scoped channel and users of each event."""
    entries = await redis.xrange(KEYS.events)
    return [
        (fields[b"c"].decode(), [user for user, _ in json.loads(fields[b"p"])["users"]])
        for _, fields in entries
    ]


async def settled(*found: Sight | None) -> None:
    await until(lambda: all(sight is not None and sight.is_settled for sight in found))


async def test_without_a_reader_nothing_is_noted(redis: Redis) -> None:
    assert Sights(redis, KEYS, Settings(event_readers=""), "gw").note("shop", "ann") is None


async def test_users_of_one_turn_are_one_event_for_each_client(redis: Redis) -> None:
    sights = sights_of(redis)
    async with running(sights.run()):
        await settled(*(sights.note(*who) for who in (("a", "1"), ("b", "2"), ("a", "3"))))
    assert sorted(await seen(redis)) == [("a/broadcast", ["1", "3"]), ("b/broadcast", ["2"])]


async def test_a_user_who_was_noted_is_no_second_event(redis: Redis) -> None:
    sights = sights_of(redis)
    async with running(sights.run()):
        first, same = sights.note("a", "1"), sights.note("a", "1")
        assert first is same
        await settled(first)
        await settled(sights.note("a", "1"))
    assert await seen(redis) == [("a/broadcast", ["1"])]


async def test_a_storm_is_noted_in_bounded_calls(redis: Redis) -> None:
    sights = sights_of(redis)
    users = [str(number) for number in range(CALL_MAX + 1)]
    async with running(sights.run()):
        await settled(*(sights.note("a", user) for user in users))
    events = await seen(redis)
    assert [len(found) for _, found in events] == [CALL_MAX, 1]
    assert sorted(user for _, found in events for user in found) == sorted(users)


async def test_whoever_waits_is_told_when_it_is_settled(redis: Redis) -> None:
    sights = sights_of(redis)
    sight = sights.note("a", "1")
    assert sight is not None
    done = asyncio.Event()
    sight.when_settled(done.set)
    assert not sight.is_settled
    async with running(sights.run()):
        await done.wait()
    assert sight.is_settled


async def test_a_registration_does_not_wait_for_a_redis_that_is_away() -> None:
    redis = away()
    sights = sights_of(redis)
    async with running(sights.run()):
        await settled(sights.note("a", "1"))
    await redis.aclose()


async def test_what_a_full_stream_refused_is_tried_again(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_sights, "AGAIN_S", 0.05)
    sights = sights_of(redis, events_bound=1_000)
    anything: Any = redis
    pipe = anything.pipeline(transaction=False)
    for _ in range(1_000):
        pipe.xadd(KEYS.events, {"k": "published"})
    await pipe.execute()
    async with running(sights.run()):
        await settled(sights.note("a", "1"))
        assert await redis.xlen(KEYS.events) == 1_000
        await redis.delete(KEYS.events)
        async with asyncio.timeout(20):
            while not await redis.exists(KEYS.events):
                await asyncio.sleep(0.01)
    assert await seen(redis) == [("a/broadcast", ["1"])]


async def test_what_waits_is_written_at_the_end(redis: Redis) -> None:
    sights = sights_of(redis)
    sights.note("a", "1")
    await sights.flush()
    assert await seen(redis) == [("a/broadcast", ["1"])]
