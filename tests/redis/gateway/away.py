"""A Redis that is not there, and loops that end with a test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.processes.process import LOOPBACK, free_port


def away() -> Redis:
    """A client whose server does not run."""
    return Redis(host=LOOPBACK, port=free_port(), retry=Retry(NoBackoff(), 0))


@contextlib.asynccontextmanager
async def running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run loops until the end of the block; one that fails fails the test."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
