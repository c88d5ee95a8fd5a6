"""Parts of the server that take notifications, on a real Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ALL_SCOPES, ClientLimits, ClientRecord
from common.auth.principal import Principal
from common.config.settings import Settings
from server.access.client_limits import Limiter
from server.notify.accept_batcher import Acceptor
from server.notify.redis_watch import RedisWatch
from tests.support.stores.job_queue import GLOBAL_KEYS, KEYS, Queue
from tests.support.waiting import until

SHOP = Principal("shop", ALL_SCOPES)
"""A sender with few notifications a day."""
A_DAY = 5
Make = Callable[..., Acceptor]
SetConfig = Callable[[str, str], Awaitable[Any]]
_CHANGED = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write")


@pytest.fixture
async def config(redis: Any) -> AsyncIterator[SetConfig]:
    """Sets the configuration of Redis for one test."""
    before = {name: (await redis.config_get(name))[name] for name in _CHANGED}
    yield redis.config_set
    for name, value in before.items():
        await redis.config_set(name, value)

    async def settled() -> bool:
        found = await redis.info("persistence")
        return not (found["aof_rewrite_in_progress"] or found["aof_rewrite_scheduled"])

    # While it writes the first append-only file, it ignores a SIGTERM.
    await until(settled)


@pytest.fixture
async def make(queue: Queue) -> AsyncIterator[Make]:
    """Makes acceptors of these settings that are closed at the end."""
    made: list[Acceptor] = []

    def acceptor(room: int | str = "", **settings: Any) -> Acceptor:
        given = {"redis_client": queue.url} | settings
        made.append(Acceptor(KEYS, Settings(**given), lambda: room))
        return made[-1]

    yield acceptor
    for one in made:
        await one.close()


@pytest.fixture
async def watch(queue: Queue) -> RedisWatch:
    """What is known of a Redis that takes everything."""
    watch = RedisWatch(queue.redis, KEYS, Settings(), lambda: 1)
    await watch.look()
    return watch


@pytest.fixture
async def limiter(queue: Queue) -> AsyncIterator[Limiter]:
    """Limits of the clients, of which one is `SHOP`."""
    directory = Directory(queue.redis, GLOBAL_KEYS)
    limits = ClientLimits(notifications_per_day=A_DAY)
    await DirectoryWriter(queue.redis, GLOBAL_KEYS).write(
        [ClientRecord(SHOP.client, "Shop", 1, limits=limits)]
    )
    await directory.refresh()
    limiter = Limiter(queue.redis, GLOBAL_KEYS, directory, Settings())
    counters = limiter.of(SHOP)
    assert counters is not None
    # A request has been counted before it gets as far as here.
    counters.requests.take(0)
    yield limiter
    await limiter.settle()
