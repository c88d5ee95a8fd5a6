"""The readers of the event stream, and who takes over, on a real Valkey."""

import asyncio

import pytest

from common.events import group_reader
from common.events.event import Event, EventKind
from common.events.group_reader import EventReader
from common.redis.scripts import Script
from tests.support.stores.job_queue import KEYS, Queue, notification


async def read(one: EventReader, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await one.read()
    return found


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


async def behind(queue: Queue) -> int:
    """What the worker's trimming tells, and how it leaves the stream."""
    keys = [KEYS.events, KEYS.dropped, KEYS.event_clients]
    found: list[int] = await Script("trim")(queue.redis, keys, [0, "history", "refuse"])
    return found[1]


async def test_every_event_is_read_in_order_from_the_very_first(queue: Queue) -> None:
    await queue.send(notification(1), notification(2, email="a@example.org"))
    found = await read(queue.reader(), 2)
    assert [event.kind for event in found] == [EventKind.PUBLISHED] * 2
    assert [event.channel for event in found] == ["default/room:1", "default/room:2"]
    assert found[1].extra == b'{"email":"a@example.org"}'
    assert found[0].writer == "w"
    assert found[0].at_ms > 1_700_000_000_000


async def test_only_a_beginning_does_not_wait_for_entries(queue: Queue) -> None:
    one = EventReader(queue.redis, queue.url, KEYS, "history", batch=10, block_s=4)
    async with asyncio.timeout(3):
        assert await one.read() == []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await one.read()
    await one.close()


async def test_one_of_two_replicas_reads(queue: Queue) -> None:
    first, second = queue.reader(), queue.reader()
    await first.read()
    await queue.add(5)
    assert await second.read() == []
    assert len(await read(first, 5)) == 5
    assert (first.leads, second.leads) == (True, False)


async def test_a_leader_that_closes_is_succeeded_at_once(queue: Queue) -> None:
    first, second = queue.reader(), queue.reader()
    await queue.add(3)
    await first.acknowledge(await read(first, 3))
    await first.close()
    await queue.add(2)
    assert len(await read(second, 2)) == 2


async def test_a_successor_begins_with_what_was_not_acknowledged(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_reader, "LEASE_S", 0.3)
    await queue.add(50)
    dead, heir = queue.reader(batch=20), queue.reader(batch=20)
    handed_out = await read(dead, 40)
    await dead.acknowledge(handed_out[:10])
    entries = await queue.redis.xrange(KEYS.events)
    assert ids(await read(heir, 40)) == [entry.decode() for entry, _ in entries[10:]]


async def test_a_batch_is_larger_than_a_reply(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_reader, "READ_AT_ONCE", 7)
    await queue.add(50)
    one = queue.reader(batch=20)
    entries = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    batches = [ids(found) for found in [await read(one, 1) for _ in range(3)]]
    assert batches == [entries[:20], entries[20:40], entries[40:]]
    assert not one.more


async def test_a_batch_of_large_events_is_bounded_by_their_bytes(queue: Queue) -> None:
    await queue.add(400)
    one = queue.reader(batch=5_000)
    await read(one, 400)  # small ones, of which many are read at once
    size, count = 60_000, 300
    for _ in range(count):
        fields = {"k": "published", "c": "default/room:1", "w": "w", "p": "x" * size, "x": ""}
        await queue.redis.xadd(KEYS.events, fields)
    batches: list[list[Event]] = []
    more: list[bool] = []
    async with asyncio.timeout(20):
        while sum(len(found) for found in batches) < count:
            batches.append(await one.read())
            more.append(one.more)
    assert max(map(len, batches)) * size < group_reader.BYTES_MAX + size
    assert [len(found) for found in batches[:-1]] == [len(batches[0])] * (len(batches) - 1)
    assert more == [True] * (len(batches) - 1) + [False]
    entries = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    assert [event_id for found in batches for event_id in ids(found)] == entries[400:]


async def test_a_late_acknowledgement_of_another_leader_moves_nothing_back(queue: Queue) -> None:
    await queue.add(30)
    first, second = queue.reader(), queue.reader()
    found = await read(first, 30)
    await first.close()
    await second.acknowledge(await read(second, 30))
    await first.acknowledge(found[:10])
    assert await behind(queue) == 0
    assert await second.read() == []


async def test_what_is_not_acknowledged_is_counted_and_kept(queue: Queue) -> None:
    one = queue.reader(batch=40)
    await one.read()
    await queue.add(100)
    assert await behind(queue) == 100
    found = await read(one, 100)
    assert await behind(queue) == 100
    await one.acknowledge(found[:60])
    assert await behind(queue) == 40
    left = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    assert left == ids(found[59:])
    await one.acknowledge(found[60:])
    assert await behind(queue) == 0
    await queue.add(5)
    assert await behind(queue) == 5


async def test_a_group_that_redis_lost_is_made_again_without_skipping(queue: Queue) -> None:
    one = queue.reader()
    await queue.add(3)
    await one.acknowledge(await read(one, 3))
    await queue.redis.xgroup_destroy(KEYS.events, "history")
    await queue.add(2)
    await one.acknowledge(await read(one, 2))
    assert len(await read(one, 5)) == 5


async def test_a_stream_that_redis_lost_is_read_from_its_new_start(queue: Queue) -> None:
    one = queue.reader()
    await queue.add(3)
    await one.acknowledge(await read(one, 3))
    await queue.redis.delete(KEYS.events)
    await queue.add(2)
    await one.acknowledge(await read(one, 2))
    again = await read(one, 2)
    assert len(again) == 2
    await one.acknowledge(again)
    assert await behind(queue) == 0


async def test_a_stream_that_is_deleted_is_noticed_and_read_from_its_new_beginning(
    queue: Queue,
) -> None:
    lost = group_reader.lost_streams.labels("history")
    before = lost._value.get()
    one = queue.reader()
    await queue.add(3)
    await one.acknowledge(await read(one, 3))
    await queue.add(2)
    await queue.redis.delete(KEYS.events)
    assert await one.read() == []  # nothing is there; the group is to be made again
    assert await one.read() == []
    assert lost._value.get() == before + 1
    # Its ids may be lower, after a clock that was set back.
    await queue.redis.xadd(KEYS.events, {"k": "published", "c": "", "w": "", "p": "{}"}, id="5-1")
    await one.acknowledge(await read(one, 1))
    assert await behind(queue) == 0


async def test_a_group_that_is_deleted_reads_again_and_nothing_counts_as_lost(
    queue: Queue,
) -> None:
    lost = group_reader.lost_streams.labels("history")
    before = lost._value.get()
    one = queue.reader()
    await queue.add(3)
    await one.acknowledge(await read(one, 3))
    await queue.redis.xgroup_destroy(KEYS.events, "history")
    assert await one.read() == []
    assert len(await read(one, 3)) == 3
    assert lost._value.get() == before
