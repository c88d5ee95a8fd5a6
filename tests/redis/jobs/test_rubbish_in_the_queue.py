"""Whatever anybody pushes into Redis by hand: workers go on, and it is kept with its reason."""

import json
import uuid
from typing import Any

import pytest

from common.model.channels import Lane, partition_of
from common.redis.shards import Shards
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import Stack
from tests.support.waiting import until

KEYS = Shards().only
RUBBISH = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b'{"\xff":1}',
    b'{"id":"\xff"}',
    b'{"a":' * 100_000,
    b"[" * 100_000,
    b'{"id":"\\ud800","type":"broadcast","userId":1,"message":"x"}',
    b'{"type":"broadcast","userId":1,"data":{"a":NaN}}',
    b"x" * 1_000_000,
]


@pytest.mark.parametrize("lane", list(Lane))
async def test_rubbish_at_the_door_and_in_the_lists_stops_nobody(stack: Stack, lane: Lane) -> None:
    room = uuid.uuid4().hex
    good = json.dumps({"type": "room", "userId": 1, "target": room, "message": "x"}).encode()
    pids = [stack.processes[name].pid for name in stack.names("worker")]
    async with stack.valkey.client() as redis, Client(stack.ws_urls[0], 1, room) as client:
        before = await redis.xlen(KEYS.dead)
        for text in (*RUBBISH, good):
            await redis.lpush(KEYS.door(lane), text)
        await until(lambda: len(client.frames) == 1)
        # Jobs in a partition's list are not validated before a worker reads them.
        partition = partition_of(f"default/room:{room}")
        for text in RUBBISH:
            await redis.lpush(KEYS.jobs(lane, partition), text)
            await redis.hincrby(KEYS.waiting, lane, 1)
        await redis.lpush(KEYS.door(lane), good)
        await until(lambda: len(client.frames) == 2)

        async def all_are_dead() -> bool:
            return int(await redis.xlen(KEYS.dead)) >= before + 2 * len(RUBBISH)

        await until(all_are_dead)
        letters: Any = await redis.xrevrange(KEYS.dead, count=1)
        for _, fields in letters:
            assert fields["reason"]
            assert fields["lane"] == lane
    assert [stack.processes[name].pid for name in stack.names("worker")] == pids
    assert all(stack.processes[name].is_alive for name in stack.names("worker"))
