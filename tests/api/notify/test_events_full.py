"""A reader that is too far behind stops acceptance, not delivery; nothing old is thrown away."""

import json
from typing import Any

import aiohttp

from tests.conftest import MakeStack
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS
from tests.support.waiting import until


async def test_past_the_bound_new_notifications_are_refused_until_there_is_room(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(EVENT_READERS="history", EVENTS_BOUND="5")
    body = {"type": "private", "userId": 1, "target": 1, "message": "x"}
    async with Client(stack.ws_urls[0], user=1) as client, stack.valkey.client() as connection:
        redis: Any = connection
        for _ in range(5):
            assert (await post(stack, body)).status == 202
        await until(lambda: len(client.frames) == 5)
        await until(lambda: not stack.is_ready("server-1"), "it is no longer ready")
        refused = await post(stack, body)
        assert (refused.status, refused.body["code"]) == (503, "events-full")
        assert int(refused.headers["Retry-After"]) >= 1
        await redis.lpush(KEYS.door("high"), json.dumps(body))
        assert stack.metric("worker-1", "roomcast_events_unread", reader="history") == -1
        # The reader comes, and acknowledges everything.
        await redis.xgroup_create(KEYS.events, "history", id="$")
        await until(lambda: stack.is_ready("server-1"), "there is room again")
        await until(lambda: len(client.frames) == 6, "what was at the door is published")
        assert (await post(stack, body)).status == 202


async def test_a_reader_that_drops_stops_nobody_and_the_worker_says_so(
    make_stack: MakeStack,
) -> None:
    bound = 40
    stack = make_stack(EVENT_READERS="kafka:drop", EVENTS_BOUND=str(bound))
    body = {"type": "private", "userId": 1, "target": 1, "message": "x"}
    async with Client(stack.ws_urls[0], user=1) as client, stack.valkey.client() as connection:
        redis: Any = connection

        async def is_taken() -> bool:
            return (await post(stack, body)).status == 202

        # (So small a bound is reached before the next trimming, within a second.)
        for _ in range(3 * bound):
            await until(is_taken, "it is trimmed")
        await until(lambda: len(client.frames) >= 3 * bound)
        workers = stack.names("worker")
        name = "roomcast_events_dropped_total"
        await until(
            lambda: sum(stack.metric(each, name, reader="kafka") for each in workers) > bound,
            "the oldest are dropped",
        )
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{stack.ports['worker-1']}/readyz") as ready,
        ):
            assert ready.status == 200
            assert "events were dropped" in (await ready.json()).get("kafka", "")
        logs = "".join(stack.processes[worker].log.read_text() for worker in workers)
        assert logs.count("loses what it has not read") == 1
        # The reader comes at last.
        await redis.xgroup_create(KEYS.events, "kafka", id="$")

        async def marker() -> bool:
            entries = await redis.xrange(KEYS.events)
            return any("dropped" in str(fields) for _, fields in entries)

        await until(marker, "the stream says what was skipped")
