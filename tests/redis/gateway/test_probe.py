"""A gateway is ready when what it publishes comes back by its subscription."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.redis.gateway.away import away, running
from tests.support.stores.job_queue import KEYS
from tests.support.stores.valkey import Valkey
from ws_gateway.channels.hub import Hub
from ws_gateway.channels.log_reader import LogReader
from ws_gateway.channels.subscription import Subscription
from ws_gateway.upkeep.probe import PathProbe


def hub_on(redis: Redis) -> Hub:
    loop = asyncio.get_running_loop()
    return Hub(KEYS, LogReader(redis, KEYS), loop, 1 << 20, lambda *_: None)


async def test_a_probe_comes_through_the_subscription(server: Valkey, redis: Redis) -> None:
    hub = hub_on(redis)
    probe = PathProbe(redis, KEYS, hub, "gw")
    subscription = Subscription(
        server.url, "probe", hub.wanted, hub.on_message, hub.on_read, hub.on_up
    )
    async with running(subscription.run()):
        await subscription.was_up.wait()
        async with asyncio.timeout(10):
            assert list(await asyncio.gather(probe(), probe())) == [None, None]


async def test_without_a_subscription_it_says_so(redis: Redis) -> None:
    probe = PathProbe(redis, KEYS, hub_on(redis), "gw")
    assert await probe() is not None


async def test_the_token_of_another_probe_does_not_count(redis: Redis) -> None:
    hub = hub_on(redis)
    probe = PathProbe(redis, KEYS, hub, "gw")
    listening: Any = redis.pubsub()
    await listening.subscribe(probe.name)
    await listening.get_message(timeout=5)
    waiting = asyncio.create_task(probe())
    message = None
    while message is None or message["type"] != "message":
        message = await listening.get_message(timeout=5)
    hub.on_message(probe.name.encode(), b"another")
    await asyncio.sleep(0)
    assert not waiting.done()
    hub.on_message(probe.name.encode(), message["data"])
    assert await waiting is None
    await listening.aclose()


async def test_while_redis_is_away_it_fails() -> None:
    redis = away()
    with pytest.raises((RedisError, OSError)):
        await PathProbe(redis, KEYS, hub_on(redis), "gw")()
    await redis.aclose()
