"""The three bodies that must work forever, through two gateways and three workers."""

import json

from tests.conftest import MakeStack
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.waiting import until

PRIVATE = (
    b'{"userId":2,"message":"Private message for userId 1","email":"abc@gmail.com",'
    b'"target":1,"type":"private"}'
)
ROOM = (
    b'{"userId":1,"message":"broadcast message for roomId 1","email":"abc@gmail.com",'
    b'"target":1,"type":"room"}'
)
BROADCAST = (
    b'{"userId":1,"message":"broadcast message for all","email":"abc@gmail.com","type":"broadcast"}'
)


async def test_the_three_bodies_reach_exactly_their_sockets(make_stack: MakeStack) -> None:
    stack = make_stack(gateways=2, workers=3)
    one, two = stack.ws_urls
    async with (
        Client(one, user=1, room=1) as user_and_room,
        Client(two, user="1") as user_elsewhere,
        Client(two, user=2, room="1") as room_elsewhere,
        Client(one, user=3) as stranger,
    ):
        private = (await post(stack, PRIVATE)).id
        await until(lambda: user_and_room.ids and user_elsewhere.ids)
        room = (await post(stack, ROOM)).id
        await until(lambda: len(user_and_room.ids) == 2 and room_elsewhere.ids)
        broadcast = (await post(stack, BROADCAST)).id
        everybody = (user_and_room, user_elsewhere, room_elsewhere, stranger)
        await until(lambda: all(broadcast in client.ids for client in everybody))

        assert user_and_room.ids == [private, room, broadcast]
        assert user_elsewhere.ids == [private, broadcast]
        assert room_elsewhere.ids == [room, broadcast]
        assert stranger.ids == [broadcast]
        for body, received, channel, target in (
            (PRIVATE, user_elsewhere.notifications[0], "user:1", "1"),
            (ROOM, room_elsewhere.notifications[0], "room:1", "1"),
            (BROADCAST, stranger.notifications[0], "broadcast", None),
        ):
            sent = json.loads(body)
            assert list(received) == [
                *("type", "id", "userId", "target", "message", "data"),
                *("priority", "createdAt", "channel", "epoch", "offset"),
            ]
            assert received["type"] == sent["type"]
            assert received["userId"] == str(sent["userId"])
            assert received["message"] == sent["message"]
            assert (received["channel"], received["target"]) == (channel, target)
            assert (received["priority"], received["offset"]) == ("high", 1)
