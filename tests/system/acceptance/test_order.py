"""The order of acceptance is the order of offsets, through crashes, for every subscriber."""

import asyncio
import signal

import pytest

from tests.conftest import MakeStack
from tests.support.clients.sender import Sender
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import Stack

COUNT = 10_000


async def killing(stack: Stack, done: asyncio.Event) -> int:
    """Kill one worker after another; the others go on meanwhile."""
    kills = 0
    while not done.is_set():
        for worker in stack.names("worker"):
            if done.is_set():
                break
            await asyncio.to_thread(stack.kill, worker, signal.SIGKILL)
            await asyncio.to_thread(stack.start, worker)
            kills += 1
    return kills


@pytest.mark.chaos
async def test_ten_thousand_in_order_while_workers_are_killed(make_stack: MakeStack) -> None:
    stack = make_stack(gateways=2, workers=3, LEASE_S="0.5")
    done = asyncio.Event()
    one, two = stack.ws_urls
    async with Client(one, user=1, room="r") as first, Client(two, user=2, room="r") as second:
        killer = asyncio.create_task(killing(stack, done))
        sent = []
        try:
            async with Sender(stack.http_urls[0]) as send:
                for number in range(COUNT):
                    body = {"type": "room", "userId": 1, "target": "r", "message": f"{number}"}
                    sent.append((await send(body)).id)
        finally:
            done.set()
            kills = await killer
        assert kills >= 3
        for client in (first, second):
            async with asyncio.timeout(60):
                while len(client.frames) < COUNT:
                    assert client.closed_at is None
                    await asyncio.sleep(0.05)
            assert client.ids == sent
            assert [body["offset"] for body in client.notifications] == list(range(1, COUNT + 1))
            assert len({body["epoch"] for body in client.notifications}) == 1
