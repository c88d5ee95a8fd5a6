"""A Redis at its maxmemory: what frees memory goes on, nothing new is taken, no loop runs hot."""

import asyncio
import json
import signal
from typing import Any

import asyncpg
import pytest
from redis.exceptions import OutOfMemoryError

from tests.conftest import MakeStack
from tests.support.clients.sender import Sender, post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until

JOBS = 300
LINES_MAX = 60
"""Of one process's log, in all of a test: its start, and a line or two per trouble of each loop."""


async def fill(stack: Stack) -> None:
    """Set the limit below what is used now: full, whatever is written or freed a little."""
    async with stack.valkey.client() as redis:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used // 2)
        with pytest.raises(OutOfMemoryError):
            await redis.set("anything", "x")


async def rows(stack: Stack) -> int:
    connection: Any = await asyncpg.connect(stack.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM publications"))
    finally:
        await connection.close()


async def waiting(stack: Stack) -> int:
    async with stack.valkey.client() as redis:
        return sum(int(count) for count in await redis.hvals(KEYS.waiting))


async def test_what_waits_gets_to_sockets_and_database_though_nobody_raises_the_limit(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, workers=2)
    body = {"type": "private", "userId": 0, "target": 1, "message": "m" * 1_000}
    async with Client(stack.ws_urls[0], user=1) as client, Sender(stack.http_urls[0]) as send:
        assert (await send(body)).status == 202
        await until(lambda: len(client.ids) == 1)
        # One worker will be back, the other ends: it has to begin anew when all is full.
        stack.kill("worker-1", signal.SIGSTOP)
        stack.kill("worker-2")
        stack.kill("history-1", signal.SIGSTOP)
        await asyncio.gather(*(send(body) for _ in range(JOBS)))
        await fill(stack)
        stack.kill("worker-1", signal.SIGCONT)
        await asyncio.to_thread(stack.start, "worker-2")
        await until(lambda: len(client.ids) == 1 + JOBS, "all of it was delivered")
        assert await waiting(stack) == 0
        assert len(set(client.ids)) == 1 + JOBS
        # Its lease ran out long ago. It may even be the first that reads: there is no group.
        async with stack.valkey.client() as redis:
            await redis.xgroup_destroy(KEYS.events, "history")
        stack.kill("history-1", signal.SIGCONT)

        async def all_written() -> bool:
            return await rows(stack) == 1 + JOBS

        async def trimmed() -> bool:
            async with stack.valkey.client() as redis:
                return int(await redis.xlen(KEYS.events)) <= 1

        await until(all_written, "all of it was written")
        await until(trimmed, "the stream was trimmed")
        await until(lambda: not stack.is_ready("server-1"), "the server has noticed")
        refused = await post(stack, body)
        assert (refused.status, refused.body["code"]) == (503, "redis-nearly-full")
        await asyncio.sleep(1.0)
        for name in ("worker-1", "worker-2", "history-1", "gateway-1"):
            lines = stack.processes[name].log_tail(10**7).splitlines()
            assert len(lines) < LINES_MAX, "\n".join(lines)
        async with stack.valkey.client() as redis:
            await redis.config_set("maxmemory", 0)
        await until(lambda: stack.is_ready("server-1"))
        assert (await post(stack, body)).status == 202
        await until(lambda: len(client.ids) == 2 + JOBS)


async def test_texts_at_the_open_door_are_taken_when_no_job_waits(make_stack: MakeStack) -> None:
    stack = make_stack()
    one = json.dumps({"type": "private", "userId": 0, "target": 1, "message": "m"})
    many = json.dumps({"type": "room", "userId": 0, "target": list(range(100)), "message": "m"})
    async with Client(stack.ws_urls[0], user=1, room=[1, 2, 3]) as client:
        stack.kill("worker-1", signal.SIGSTOP)
        async with stack.valkey.client() as redis:
            for _ in range(20):
                await redis.lpush(KEYS.door("high"), one, many)
        await fill(stack)
        stack.kill("worker-1", signal.SIGCONT)
        await until(lambda: len(client.ids) == 20 + 60, "all of it was delivered")


async def test_a_gateway_that_starts_meanwhile_opens_its_channels(make_stack: MakeStack) -> None:
    stack = make_stack()
    async with stack.valkey.client() as redis:
        await redis.set("filler", "x" * 1_000_000)
        # As after a restart of Redis: whoever reads positions writes a new epoch.
        await redis.delete(KEYS.epoch)
    await fill(stack)
    await asyncio.to_thread(stack.restart, "gateway-1")
    async with Client(stack.ws_urls[0], user=1) as client:
        assert client.registered["channels"]
