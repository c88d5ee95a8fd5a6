"""The reader that acknowledges runs, on a real Valkey: as `test_events` has it of the other one."""

import asyncio

import pytest

from common import event_reader, run_reader
from common.events import Event
from common.run_reader import RunReader
from common.scripts import Script
from tests.scripts.queue import KEYS, Queue


def reader(queue: Queue, batch: int = 100, group: str = "history") -> RunReader:
    return RunReader(queue.redis, KEYS, group, batch=batch, block_s=0.05)


async def add(queue: Queue, count: int) -> None:
    for n in range(count):
        fields = {"k": "published", "c": f"default/room:{n % 3}", "w": "w", "p": "{}"}
        await queue.redis.xadd(KEYS.events, fields)


async def read(one: RunReader, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await one.read()
    return found


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


async def behind(queue: Queue) -> int:
    """What the worker's trimming tells, and how it leaves the stream."""
    found: list[int] = await Script("trim")(queue.redis, [KEYS.events], ["history"])
    return found[1]


async def test_a_successor_begins_with_what_was_not_acknowledged(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "LEASE_S", 0.3)
    await add(queue, 50)
    dead, heir = reader(queue, batch=20), reader(queue, batch=20)
    handed_out = await read(dead, 40)
    await dead.acknowledge(handed_out[:10])
    entries = await queue.redis.xrange(KEYS.events)
    assert ids(await read(heir, 40)) == [entry.decode() for entry, _ in entries[10:]]


async def test_a_batch_is_larger_than_a_reply(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reader, "READ_AT_ONCE", 7)
    await add(queue, 50)
    one = reader(queue, batch=20)
    entries = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    batches = [ids(found) for found in [await read(one, 1) for _ in range(3)]]
    assert batches == [entries[:20], entries[20:40], entries[40:]]
    assert not one.more


async def test_a_late_acknowledgement_of_another_leader_moves_nothing_back(queue: Queue) -> None:
    await add(queue, 30)
    first, second = reader(queue), reader(queue)
    found = await read(first, 30)
    await first.close()
    await second.acknowledge(await read(second, 30))
    await first.acknowledge(found[:10])
    assert await behind(queue) == 0
    assert await second.read() == []


async def test_what_is_not_acknowledged_is_counted_and_kept(queue: Queue) -> None:
    one = reader(queue, batch=40)
    await one.read()
    await add(queue, 100)
    assert await behind(queue) == 100
    found = await read(one, 100)
    assert await behind(queue) == 100
    await one.acknowledge(found[:60])
    assert await behind(queue) == 40
    left = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    assert left == ids(found[59:])
    await one.acknowledge(found[60:])
    assert await behind(queue) == 0
    await add(queue, 5)
    assert await behind(queue) == 5


async def test_a_group_that_redis_lost_is_made_again_without_skipping(queue: Queue) -> None:
    one = reader(queue)
    await add(queue, 3)
    await one.acknowledge(await read(one, 3))
    await queue.redis.xgroup_destroy(KEYS.events, "history")
    await add(queue, 2)
    await one.acknowledge(await read(one, 2))
    assert len(await read(one, 5)) == 5


async def test_a_stream_that_redis_lost_is_read_from_its_new_start(queue: Queue) -> None:
    one = reader(queue)
    await add(queue, 3)
    await one.acknowledge(await read(one, 3))
    await queue.redis.delete(KEYS.events)
    await add(queue, 2)
    await one.acknowledge(await read(one, 2))
    again = await read(one, 2)
    assert len(again) == 2
    await one.acknowledge(again)
    assert await behind(queue) == 0
