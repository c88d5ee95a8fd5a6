"""Keys that are deleted or written over while notifications flow: once, in order, or a `reset`."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import MakeStack
from tests.support.clients.sender import Sender
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS
from tests.support.waiting import until

ROOMS = 4
Damage = Callable[[Any, str], Awaitable[None]]


def _hash(room: str) -> str:
    return f"{KEYS.channel_prefix}default/room:{room}"


def _log(room: str) -> str:
    return f"{KEYS.log_prefix}default/room:{room}"


async def _delete_hash(redis: Any, room: str) -> None:
    await redis.delete(_hash(room))


async def _delete_both(redis: Any, room: str) -> None:
    await redis.delete(_hash(room), _log(room))


async def _lose_offset(redis: Any, room: str) -> None:
    await redis.hdel(_hash(room), "o")


async def _overwrite_both(redis: Any, room: str) -> None:
    await redis.mset({_hash(room): "x", _log(room): "x"})


async def _overwrite_epoch(redis: Any, _: str) -> None:
    await redis.set(KEYS.epoch, "x")


async def _delete_turns(redis: Any, _: str) -> None:
    await redis.delete(KEYS.active("high"), KEYS.ready("high"), KEYS.workers, KEYS.returns)


async def _delete_events(redis: Any, _: str) -> None:
    await redis.delete(KEYS.events)


async def _overwrite_events(redis: Any, _: str) -> None:
    await redis.set(KEYS.events, "x")


DAMAGES = [
    _delete_hash, _delete_both, _lose_offset, _overwrite_both, _overwrite_epoch, _delete_turns,
    _delete_events, _overwrite_events,
]  # fmt: skip


@pytest.mark.chaos
@pytest.mark.parametrize("damage", DAMAGES)
async def test_whatever_is_deleted_all_arrive_once_in_order(
    make_stack: MakeStack, damage: Damage
) -> None:
    stack = make_stack(GAP_CHECK_INTERVAL_S="0.5")
    rooms = [f"r{number}" for number in range(ROOMS)]
    sent: dict[str, list[str]] = {room: [] for room in rooms}
    async with (
        Client(stack.ws_urls[0], user=1, room=rooms) as client,
        stack.valkey.client() as redis,
        Sender(stack.http_urls[0]) as send,
    ):
        for number in range(200):
            room = rooms[number % ROOMS]
            body = {"type": "room", "userId": 1, "target": room, "message": f"{number}"}
            sent[room].append((await send(body)).id)
            if number % 10 == 5:
                await damage(redis, room)
        await until(lambda: len(client.frames) >= 200, "all arrive")
        for room in rooms:
            got = [body["id"] for body in client.notifications if body["target"] == room]
            assert got == sent[room]
        positions = [
            (body["channel"], body["epoch"], body["offset"]) for body in client.notifications
        ]
        assert len(set(positions)) == len(positions)


async def test_what_was_published_and_forgotten_is_told_within_a_check(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(GAP_CHECK_INTERVAL_S="0.5")
    body = {"type": "room", "userId": 1, "target": "r", "message": "x"}
    async with (
        Client(stack.ws_urls[0], user=1, room="r") as client,
        stack.valkey.client() as redis,
        Sender(stack.http_urls[0]) as send,
    ):
        await send(body)
        await until(lambda: len(client.frames) == 1)
        await redis.flushall()
        await until(lambda: len(client.told) >= 1, "a reset comes though nothing is published")
        assert {told["recovered"] for told in client.told if told["channel"] == "room:r"} == {False}
        position = client.positions
        await send(body)
        await until(lambda: len(client.frames) == 2)
    # Who comes back with a position of before is told as well.
    async with Client(stack.ws_urls[0], user=1, room="r", resume=position) as client:
        assert client.registered["channels"]["room:r"]["recovered"] is False
