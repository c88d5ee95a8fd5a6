"""Parts of the server that take notifications, on a real Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from common.config.settings import Settings
from server.notify.accept_batcher import Acceptor
from tests.support.stores.job_queue import KEYS, Queue

Make = Callable[..., Acceptor]
SetConfig = Callable[[str, str], Awaitable[Any]]
_CHANGED = ("maxmemory", "maxmemory-policy", "appendonly", "min-replicas-to-write")


@pytest.fixture
async def config(redis: Any) -> AsyncIterator[SetConfig]:
    """Sets the configuration of Redis for one test."""
    before = {name: (await redis.config_get(name))[name] for name in _CHANGED}
    yield redis.config_set
    for name, value in before.items():
        await redis.config_set(name, value)


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
