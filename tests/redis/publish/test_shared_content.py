"""A large content for many is kept once, and everybody gets it whole."""

import json
from typing import Any

import pytest

from common.model.publication import Position, parse_publication
from common.redis.scripts import Script
from tests.redis.events.test_event_trimmer import trim
from tests.redis.events.test_group_reader import read
from tests.support.stores.job_queue import KEYS, Queue, notification
from tests.support.waiting import until
from worker.publish_batch import BatchBuilder

ROOMS = list(range(60))
LARGE = "é" * 20_000


async def clean(queue: Queue, kept_ms: int = 0) -> list[int]:
    found: list[int] = await Script("contents")(
        queue.redis, [KEYS.events, KEYS.contents], [KEYS.content_prefix, kept_ms, 100]
    )
    return found


async def contents(queue: Queue) -> list[bytes]:
    return [key async for key in queue.redis.scan_iter(f"{KEYS.content_prefix}*")]


async def send_all(queue: Queue, *rooms: Any, **fields: Any) -> None:
    await queue.accept(notification(list(rooms) or ROOMS, message=LARGE, **fields))
    while taken := await queue.take("w:high.0.1"):
        await queue.publish("w:high.0.1", taken)


async def test_memory_grows_by_one_content_and_not_by_one_for_each_target(queue: Queue) -> None:
    await queue.send(notification(ROOMS, message="x"))
    before = (await queue.redis.info("memory"))["used_memory"]
    await send_all(queue)
    grown = (await queue.redis.info("memory"))["used_memory"] - before
    size = len(LARGE.encode())
    assert size < grown < len(ROOMS) * size / 4
    assert len(await contents(queue)) == 1


async def test_subscribers_readers_and_logs_get_it_whole(queue: Queue) -> None:
    subscriber = queue.redis.pubsub()
    await subscriber.subscribe(KEYS.pub("default/room:7"))
    await subscriber.get_message(timeout=1)
    (before,) = await queue.positions("default/room:7")
    await send_all(queue, data={"a": [1, '"message":null', None]}, email="a@b.c")
    heard: list[bytes] = []

    async def hears() -> bool:
        message = await subscriber.get_message(ignore_subscribe_messages=True, timeout=0.1)
        if message:
            heard.append(message["data"])
        return bool(heard)

    await until(hears)
    live = parse_publication(heard[0])
    assert json.loads(live.text)["message"] == LARGE
    assert json.loads(live.text)["data"] == {"a": [1, '"message":null', None]}
    now, exact, (from_log,) = await queue.replay("default/room:7", before)
    assert (now.offset, exact, from_log) == (1, True, live)
    events = await read(queue.reader(), len(ROOMS))
    assert len(events) == len(ROOMS)
    (event,) = [event for event in events if event.channel == "default/room:7"]
    assert event.text == live.text
    assert json.loads(event.extra) == {"email": "a@b.c"}
    await subscriber.aclose()


async def test_it_is_kept_until_it_was_read_and_logs_may_go(queue: Queue) -> None:
    reader = queue.reader()
    await reader.read()
    await send_all(queue)
    events = await reader.read()
    await trim(queue, "history")
    assert await clean(queue) == [0, 1]
    await reader.acknowledge(events)
    # The last one that was acknowledged is left; the next one is of later.
    await queue.add(1)
    await reader.acknowledge(await reader.read())
    await trim(queue, "history")
    assert await clean(queue, kept_ms=60_000) == [0, 1]
    assert await contents(queue)
    assert await clean(queue) == [1, 0]
    assert not await contents(queue)


async def test_a_content_that_is_used_again_is_kept_on(queue: Queue) -> None:
    await send_all(queue, 1, 2)
    await queue.redis.delete(KEYS.events)
    await send_all(queue, 3, 4)
    assert len(await contents(queue)) == 1
    assert await clean(queue) == [0, 1]
    assert all(json.loads(e.text)["message"] == LARGE for e in await queue.reader().read())


async def test_a_log_that_outlived_a_content_has_a_hole_there(queue: Queue) -> None:
    await queue.send(notification(1, message="first"))
    await send_all(queue, 1, 2)
    await queue.send(notification(1, message="third"))
    (now,) = await queue.positions("default/room:1")
    start = Position(now.epoch, 0)
    await queue.redis.delete(*await contents(queue))
    _, exact, found = await queue.replay("default/room:1", start)
    assert (exact, [one.offset for one in found]) == (True, [1])
    _, exact, found = await queue.replay("default/room:1", Position(now.epoch, 1))
    assert (exact, [one.offset for one in found]) == (False, [3])


async def test_a_reader_goes_on_behind_a_content_that_somebody_deleted(queue: Queue) -> None:
    await send_all(queue, 1, 2)
    await queue.redis.delete(*await contents(queue))
    assert [json.loads(e.text)["message"] for e in await queue.reader().read()] == [None, None]


@pytest.mark.parametrize("fields", [{"message": "x" * 2_000}, {"target": 1, "message": LARGE}])
async def test_what_is_small_or_for_one_is_kept_where_it_is(
    queue: Queue, fields: dict[str, Any]
) -> None:
    await queue.send(notification(fields.pop("target", ROOMS[:3]), **fields))
    assert not await contents(queue)
    assert not await queue.redis.exists(KEYS.contents)


async def test_turns_that_are_lost_leave_no_content(queue: Queue) -> None:
    await queue.accept(notification([1, 2], message=LARGE))
    taken = await queue.take("w:high.0.1")
    await queue.lease(given_up=["w:high.0.1"])
    assert await queue.publish("w:high.0.1", taken) == [0, len(taken)]
    assert not await contents(queue)


def test_a_batch_counts_what_it_writes() -> None:
    jobs = notification(list(range(1_000)), message=LARGE).jobs
    builder = BatchBuilder(1_000, 1 << 20)
    for _, partition, text in jobs:
        builder.add_turn(str(partition).encode(), [text], 0)
    (content,) = builder.batch.contents.values()
    assert builder.batch.size < (2 << 20) + len(content)
    assert builder.batch.entries < 100
