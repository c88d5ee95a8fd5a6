"""The event stream: who reads it, who takes over, what is trimmed. On a real Valkey."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from common import event_reader
from common.event_reader import EventReader
from common.events import Event, EventKind
from common.receipts import Receipts
from common.scripts import Script
from common.settings import Settings
from tests.scripts.queue import KEYS, Queue, notification


def reader(redis: Redis, batch: int = 100, group: str = "history") -> EventReader:
    return EventReader(redis, KEYS, group, batch=batch, block_s=0.05)


async def add(queue: Queue, count: int) -> None:
    for n in range(count):
        fields = {"k": "published", "c": f"default/room:{n % 3}", "w": "w", "p": "{}"}
        await queue.redis.xadd(KEYS.events, fields)


async def read(one: EventReader, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await one.read()
    return found


async def trim(queue: Queue, *groups: str) -> list[int]:
    found: list[int] = await Script("trim")(queue.redis, [KEYS.events], groups)
    return found


async def test_every_event_is_read_in_order_from_the_very_first(queue: Queue) -> None:
    await queue.send(notification(1), notification(2, email="a@example.org"))
    found = await read(reader(queue.redis), 2)
    assert [event.kind for event in found] == [EventKind.PUBLISHED] * 2
    assert [event.channel for event in found] == ["default/room:1", "default/room:2"]
    assert found[1].extra == b'{"email":"a@example.org"}'
    assert found[0].writer == "w"
    assert found[0].at_ms > 1_700_000_000_000


async def test_one_of_two_replicas_reads(queue: Queue) -> None:
    first, second = reader(queue.redis), reader(queue.redis)
    await first.read()
    await add(queue, 5)
    assert await second.read() == []
    assert len(await read(first, 5)) == 5
    assert (first.leads, second.leads) == (True, False)


async def test_a_successor_begins_with_what_was_not_acknowledged(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "LEASE_S", 0.3)
    await add(queue, 50)
    dead, heir = reader(queue.redis, batch=20), reader(queue.redis, batch=20)
    handed_out = await read(dead, 40)
    await dead.acknowledge(handed_out[:10])
    rest = await read(heir, 40)
    assert [event.id for event in rest[:30]] == [event.id for event in handed_out[10:40]]
    assert len({event.id for event in [*handed_out[:10], *rest]}) == 50
    positions = [tuple(map(int, event.id.split("-"))) for event in rest]
    assert positions == sorted(positions)


async def test_a_leader_that_closes_is_succeeded_at_once(queue: Queue) -> None:
    first, second = reader(queue.redis), reader(queue.redis)
    await add(queue, 3)
    await first.acknowledge(await read(first, 3))
    await first.close()
    await add(queue, 2)
    assert len(await read(second, 2)) == 2


async def test_a_group_that_redis_lost_is_made_again_without_skipping(queue: Queue) -> None:
    one = reader(queue.redis)
    await add(queue, 3)
    await one.acknowledge(await read(one, 3))
    await queue.redis.xgroup_destroy(KEYS.events, "history")
    await add(queue, 2)
    assert len(await read(one, 5)) == 5


async def test_only_what_every_reader_has_acknowledged_is_trimmed(queue: Queue) -> None:
    await add(queue, 1_000)
    history, kafka = reader(queue.redis, 1_000), reader(queue.redis, 1_000, "kafka")
    assert await trim(queue, "history", "kafka") == [1_000, -1, -1]
    found = await read(history, 1_000)
    await history.acknowledge(found)
    assert await trim(queue, "history", "kafka") == [1_000, 0, -1]
    mirrored = await read(kafka, 1_000)
    # The oldest that is still held keeps all behind it, whatever else was acknowledged.
    await kafka.acknowledge([*mirrored[:300], *mirrored[500:]])
    left, *behind = await trim(queue, "history", "kafka")
    assert behind == [0, 200]
    assert left == 700
    ids = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    assert ids[-700:] == [event.id for event in mirrored[300:]]
    await kafka.acknowledge(mirrored[300:500])
    left, *_ = await trim(queue, "history", "kafka")
    assert left == 1


async def test_a_stream_that_is_not_there_is_not_trimmed(queue: Queue) -> None:
    assert await trim(queue, "history") == [0, -1]
    assert await trim(queue) == [0]


@pytest.mark.parametrize("kind", [EventKind.DELIVERED, EventKind.READ])
async def test_receipts_are_written_together_and_what_was_read_leaves_the_unread(
    queue: Queue, kind: EventKind
) -> None:
    unread = KEYS.unread("default/1")
    await queue.redis.zadd(unread, {"a": 1, "b": 2, "c": 3})
    settings = Settings(_env_file=None)
    listening = queue.redis.pubsub()
    await listening.subscribe(KEYS.pub("default/user:1"))
    await Receipts(queue.redis, KEYS, settings, "g").record(kind, "1", ["a", "b"], connection="g-7")
    events = await queue.events()
    assert [event[b"k"] for event in events] == [kind.encode()] * 2
    assert b'"id":"b","userId":"1","at":"20' in events[1][b"p"]
    told: list[Any] = [await listening.get_message(timeout=0.1) for _ in range(5)]
    await listening.aclose()
    signals = [message["data"] for message in told if message and message["type"] == "message"]
    if kind is EventKind.READ:
        assert await queue.redis.zrange(unread, 0, -1) == [b"c"]
        assert signals == [b'! g-7\n{"type":"read","userId":"1","ids":["a","b"]}']
    else:
        assert await queue.redis.zcard(unread) == 3
        assert signals == []
