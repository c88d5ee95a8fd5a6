"""An acknowledgement that tells history of it in the same step, on a real Valkey: once."""

from typing import Any

from common.events.event import Event
from common.events.group_reader import EventReader
from common.model.channels import KAFKA_GROUP
from common.redis.scripts import Script
from tests.redis.events.test_group_reader import ids, read
from tests.support.stores.job_queue import KEYS, Queue

MIRRORED = Script("mirrored")
STORIES = [b'{"n":0}', b'{"n":1}']


def reader(queue: Queue) -> EventReader:
    return queue.closed_at_the_end(
        EventReader(queue.redis, queue.url, KEYS, KAFKA_GROUP, batch=100, block_s=0.05)
    )


async def acknowledge(reader: EventReader, events: list[Event], stories: list[bytes]) -> None:
    await reader.acknowledge(events, MIRRORED, reader.name, *stories)


async def told(queue: Queue) -> list[tuple[bytes, bytes]]:
    """Text and writer of the `mirrored` events."""
    entries: list[tuple[bytes, dict[bytes, bytes]]] = await queue.redis.xrange(KEYS.events)
    return [(fields[b"p"], fields[b"w"]) for _, fields in entries if fields[b"k"] == b"mirrored"]


async def lag(queue: Queue) -> int:
    connection: Any = queue.redis
    (group,) = await connection.xinfo_groups(KEYS.events)
    assert group["name"].decode() == KAFKA_GROUP
    return int(group["lag"])


async def test_an_acknowledgement_whose_reply_was_lost_is_told_once(queue: Queue) -> None:
    await queue.add(10)
    one = reader(queue)
    events = await read(one, 10)
    for _ in range(2):
        await acknowledge(one, events, STORIES)
    assert await told(queue) == [(story, one.name.encode()) for story in STORIES]
    # What it wrote itself is handed out like the rest, and acknowledged without another word.
    own = await read(one, 2)
    assert {event.kind for event in own} == {"mirrored"}
    await acknowledge(one, own, [])
    assert await lag(queue) == 0
    assert len(await told(queue)) == 2


async def test_a_paused_leader_tells_nothing_that_its_successor_told(queue: Queue) -> None:
    await queue.add(30)
    paused, heir = reader(queue), reader(queue)
    held = await read(paused, 30)
    await paused.close()
    found = await read(heir, 30)
    assert ids(found) == ids(held)
    await acknowledge(heir, found[:20], STORIES)
    # Behind where its successor is: nothing happens. Further on: it is true, and it is told.
    await acknowledge(paused, held[:10], [b"late"])
    assert len(await told(queue)) == 2
    assert await lag(queue) == 12
    await acknowledge(paused, held, [b"ahead"])
    await acknowledge(heir, found[20:], [b"repeated"])
    assert [text for text, _ in await told(queue)][2:] == [b"ahead"]


async def test_without_the_group_nothing_is_told_and_all_comes_again(queue: Queue) -> None:
    await queue.add(3)
    one = reader(queue)
    events = await read(one, 3)
    await queue.redis.xgroup_destroy(KEYS.events, KAFKA_GROUP)
    await acknowledge(one, events, STORIES)
    assert await told(queue) == []
    assert ids(await read(one, 3)) == ids(events)
    await acknowledge(one, events, STORIES)
    assert len(await told(queue)) == 2
