"""A large message for a thousand: what it does to Redis, and to somebody else in the same lane."""

import asyncio
import statistics
import time

from tests.conftest import MakeStack
from tests.support.clients.sender import Sender
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS
from tests.support.waiting import until

REQUESTS = 4
TARGETS = 1_000
SIZE = 65_000
GROWTH_MAX = REQUESTS * TARGETS * SIZE // 4
"""Kept twice with each target it would be eight times as much."""
SLOWER_MAX = 30
"""It was several hundred times as slow; a busy machine makes some of it."""
READ_MAX = 3
"""Times that a job is read; it was seven."""
AT_LEAST_S = 0.02
"""What a quiet system is taken to need, so that an idle machine is no stricter than a busy one."""


async def test_redis_stays_small_and_others_go_on(make_stack: MakeStack) -> None:
    stack = make_stack()
    took: list[float] = []
    async with (
        Client(stack.ws_urls[0], user="other") as other,
        Client(stack.ws_urls[0], user=7) as one,
        Sender(stack.http_urls[0]) as send,
        stack.valkey.client() as redis,
    ):

        async def used() -> int:
            return int((await redis.info("memory"))["used_memory"])

        async def drained() -> bool:
            return not any(int(count) for count in await redis.hvals(KEYS.waiting))

        async def ask() -> None:
            began = time.monotonic()
            sent = await send({"type": "private", "userId": 1, "target": "other", "message": "x"})
            await until(lambda: sent.id in other.ids)
            took.append(time.monotonic() - began)

        for _ in range(20):
            await ask()
        quiet = max(statistics.median(took), AT_LEAST_S)
        took.clear()
        before = peak = await used()

        async def attack() -> None:
            for first in range(REQUESTS):
                body = {
                    "type": "private",
                    "userId": 1,
                    "target": list(range(first * TARGETS, (first + 1) * TARGETS)),
                    "message": f"{first}" * SIZE,
                }
                assert (await send(body)).status == 202
            await until(drained)

        attacking = asyncio.create_task(attack())
        while not attacking.done():
            await ask()
            peak = max(peak, await used())
        await attacking
        assert peak - before < GROWTH_MAX
        assert statistics.median(took) < SLOWER_MAX * quiet
        await until(lambda: len(one.frames) == 1, "whoever is there gets it")
        assert one.notifications[0]["message"] == "0" * SIZE


async def test_large_jobs_are_read_about_once(make_stack: MakeStack) -> None:
    """What a worker reads and leaves goes behind all others, and Redis has to send it again."""
    stack = make_stack()
    async with Sender(stack.http_urls[0]) as send, stack.valkey.client() as redis:

        async def drained() -> bool:
            return not any(int(count) for count in await redis.hvals(KEYS.waiting))

        async def stats(name: str) -> int:
            return int((await redis.info("stats"))[name])

        received, sent = await stats("total_net_input_bytes"), await stats("total_net_output_bytes")
        for first in range(REQUESTS):
            body = {
                "type": "private",
                "userId": 1,
                "target": list(range(first * TARGETS, (first + 1) * TARGETS)),
                "message": f"{first}" * SIZE,
            }
            assert (await send(body)).status == 202
        await until(drained)
        # As jobs from the server, and as publications from the worker.
        jobs = (await stats("total_net_input_bytes") - received) / 2
        assert await stats("total_net_output_bytes") - sent < READ_MAX * jobs
