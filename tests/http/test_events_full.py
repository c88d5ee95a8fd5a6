"""A reader that is too far behind stops acceptance, not delivery; nothing old is thrown away."""

import json

from tests.client import Client
from tests.conftest import MakeStack
from tests.sender import post
from tests.stack import KEYS
from tests.waiting import until


async def test_past_the_bound_new_notifications_are_refused_until_there_is_room(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(EVENT_READERS="history", EVENTS_BOUND="5")
    body = {"type": "private", "userId": 1, "target": 1, "message": "x"}
    async with Client(stack.ws_urls[0], user=1) as client, stack.valkey.client() as redis:
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
