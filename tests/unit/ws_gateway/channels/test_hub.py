"""The hub's decisions, with Redis played by the test."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.model.publication import Position, Publication
from common.redis.shards import Shards
from tests.unit.ws_gateway.fakes import FakeConnection, add, unwritten
from tests.unit.ws_gateway.played_redis import PlayedRedis
from ws_gateway.channels.channel import Channel, State
from ws_gateway.channels.hub import LINGER_S, Hub
from ws_gateway.channels.log_reader import Replay

KEYS = Shards().only


@pytest.fixture
async def redis() -> PlayedRedis:
    return PlayedRedis()


@pytest.fixture
async def hub(redis: PlayedRedis) -> AsyncIterator[Hub]:
    played: Any = redis
    hub = Hub(KEYS, played, asyncio.get_running_loop(), 1 << 20, unwritten)
    hub.subscription = played
    opening = asyncio.create_task(hub.run_opening())
    yield hub
    opening.cancel()
    await hub.close()


def pub(label: str) -> bytes:
    return KEYS.pub(f"default/{label}").encode()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def opened(hub: Hub, *labels: str) -> list[Channel]:
    found: list[Channel] = []
    hub.open([f"default/{label}" for label in labels], found.extend)
    await settle()
    return found


def message(hub: Hub, offset: int, epoch: str = "e", base: str = "-") -> None:
    hub.on_message(
        pub("room:1"), b"%b %d 0 %b\n%d" % (epoch.encode(), offset, base.encode(), offset)
    )
    hub.on_read()


async def test_channels_are_ready_once_all_of_them_are_live(hub: Hub, redis: PlayedRedis) -> None:
    redis.held_names = {pub("room:2")}
    ready = await opened(hub, "room:1", "room:2")
    assert ready == []
    redis.released.set()
    ready = await opened(hub, "room:1", "room:2")
    assert [channel.label for channel in ready] == ["room:1", "room:2"]


async def test_a_channel_that_was_closed_while_another_was_awaited_is_opened_again(
    hub: Hub, redis: PlayedRedis
) -> None:
    (first,) = await opened(hub, "room:1")
    redis.held_names = {pub("room:2")}
    ready: list[Channel] = []
    hub.open(["default/room:1", "default/room:2"], ready.extend)
    await settle()
    assert ready == []
    # Redis is slow, room:1 stays empty for longer than empty channels are kept.
    hub.release(first, 0.0)
    hub.close_empty(LINGER_S + 1)
    assert "default/room:1" not in hub.channels
    redis.released.set()
    await settle()
    assert [hub.channels[channel.name] for channel in ready] == ready
    assert {pub("room:1"), pub("room:2")} <= set(redis.subscribed)
    assert sorted(hub.wanted()) == [pub("room:1"), pub("room:2")]
    message(hub, 1, base="old:0")
    assert ready[0].position == Position("e", 1)


async def test_a_gap_is_filled_from_the_log(hub: Hub, redis: PlayedRedis) -> None:
    (channel,) = await opened(hub, "room:1")
    member = FakeConnection()
    add(channel, member)
    log = [Publication("e", n, 0, None, b"%d" % n) for n in (1, 2, 3)]
    redis.replays = [
        ConnectionError("away"),
        Replay(Position("e", 3), exact=True, publications=log[:2]),
        Replay(Position("e", 3), exact=True, publications=log[2:]),
    ]
    message(hub, 2)
    message(hub, 3)
    async with asyncio.timeout(5):
        while channel.state is not State.LIVE:
            await asyncio.sleep(0.01)
    message(hub, 4)
    await settle()
    assert member.texts == [b"1", b"2", b"3", b"4"]
    assert redis.replays == []


async def test_past_the_end_of_the_log_the_channel_goes_on_with_what_the_log_has(
    hub: Hub, redis: PlayedRedis
) -> None:
    redis.now = {"default/room:1": Position("e", 10)}
    (channel,) = await opened(hub, "room:1")
    member = FakeConnection()
    add(channel, member)
    # Redis came back without its last seconds: 8 is handed out again, in a new epoch.
    eight = Publication("f", 8, 0, Position("e", 7), b"8")
    redis.replays = [Replay(Position("f", 8), exact=False, publications=[eight])]
    message(hub, 8, "f", "e:7")
    await settle()
    message(hub, 9, "f")
    await settle()
    reset, *rest = member.texts
    assert json.loads(reset) == {
        "type": "reset", "channel": "room:1", "epoch": "f", "offset": 7, "recovered": False,
    }  # fmt: skip
    assert rest == [b"8", b"9"]
    assert channel.state is State.LIVE


async def test_what_is_no_publication_is_dropped(hub: Hub, redis: PlayedRedis) -> None:
    (channel,) = await opened(hub, "room:1")
    for rubbish in (b"", b"\xff", b"e x 0 -\n", b"e 1 0"):
        hub.on_message(KEYS.pub("default/room:1").encode(), rubbish)
    message(hub, 1)
    assert channel.position.offset == 1


async def test_a_position_that_moved_on_silently_is_found_by_the_check(
    hub: Hub, redis: PlayedRedis
) -> None:
    (channel,) = await opened(hub, "room:1")
    member = FakeConnection()
    add(channel, member)
    redis.now = {"default/room:1": Position("e", 1)}
    redis.replays = [
        Replay(Position("e", 1), exact=True, publications=[Publication("e", 1, 0, None, b"1")])
    ]
    checks = asyncio.create_task(hub.run_checks(0.01))
    async with asyncio.timeout(5):
        while not member.writes:
            await asyncio.sleep(0.01)
    checks.cancel()
    await settle()
    assert member.texts == [b"1"]
    assert channel.position == Position("e", 1)


async def test_a_redis_that_forgot_what_was_published_is_found_by_the_check(
    hub: Hub, redis: PlayedRedis
) -> None:
    (channel,) = await opened(hub, "room:1")
    member = FakeConnection()
    add(channel, member)
    for offset in (1, 2, 3):
        message(hub, offset)
    redis.replays = [Replay(Position("own", 0), exact=False, publications=[])]
    checks = asyncio.create_task(hub.run_checks(0.01))
    async with asyncio.timeout(5):
        while len(member.texts) < 4:
            await asyncio.sleep(0.01)
    checks.cancel()
    await settle()
    assert json.loads(member.texts[3])["recovered"] is False
    message(hub, 1, "own")
    await settle()
    assert member.texts[4:] == [b"1"]
