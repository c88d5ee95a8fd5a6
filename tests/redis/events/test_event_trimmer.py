"""What is trimmed from the event stream, and what the operator is told. On a real Valkey."""

import json
import logging

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ResponseError

from common.config.settings import Settings
from common.events.event import EventKind
from common.events.receipts import Receipts
from common.redis.scripts import Script
from tests.redis.events.test_group_reader import read
from tests.support.stores.job_queue import KEYS, SHARDS, Queue, notification
from worker.event_trimmer import EventTrimmer

TRIM_KEYS = [KEYS.events, KEYS.dropped, KEYS.event_clients]


async def trim_all(queue: Queue, bound: int, **policies: str) -> list[int]:
    """Entries left, then for each reader: behind, dropped now, dropped in all, state."""
    args: list[str | int] = [bound, *(word for one in policies.items() for word in one)]
    found: list[int] = await Script("trim")(queue.redis, TRIM_KEYS, args)
    return found


async def trim(queue: Queue, *groups: str) -> list[int]:
    left, *found = await trim_all(queue, 0, **dict.fromkeys(groups, "refuse"))
    return [left, *found[::4]]


async def test_only_what_every_reader_has_acknowledged_is_trimmed(queue: Queue) -> None:
    await queue.add(1_000)
    history, kafka = queue.reader(1_000), queue.reader(1_000, "kafka")
    assert await trim(queue, "history", "kafka") == [1_000, -1, -1]
    found = await read(history, 1_000)
    await history.acknowledge(found)
    assert await trim(queue, "history", "kafka") == [1_000, 0, -1]
    mirrored = await read(kafka, 1_000)
    # The reader that is farthest behind keeps all that it has not acknowledged.
    await kafka.acknowledge(mirrored[:300])
    left, *behind = await trim(queue, "history", "kafka")
    assert behind == [0, 700]
    ids = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    # (What is at the position itself stays.)
    assert left == 701
    assert ids[1:] == [event.id for event in mirrored[300:]]
    await kafka.acknowledge(mirrored[300:])
    left, *_ = await trim(queue, "history", "kafka")
    assert left == 1


async def test_a_stream_that_is_not_there_is_not_trimmed(queue: Queue) -> None:
    assert await trim(queue, "history") == [0, -1]
    assert await trim(queue) == [0]


async def test_what_is_no_stream_is_put_away_so_that_publishing_goes_on(queue: Queue) -> None:
    await queue.redis.set(KEYS.events, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await queue.send(notification())
    assert await trim(queue, "history") == [0, -1]
    taken = await queue.take("w:high.0.1")
    assert await queue.publish("w:high.0.1", taken) == [1, 0]


async def test_a_reader_that_drops_loses_the_oldest_near_the_bound_and_is_told_of_the_hole(
    queue: Queue,
) -> None:
    history, kafka = queue.reader(2_000), queue.reader(2_000, "kafka")
    policies = {"history": "refuse", "kafka": "drop"}
    await queue.add(500)
    await kafka.acknowledge((await read(kafka, 500))[:100])
    await queue.add(390)
    await history.acknowledge(await read(history, 890))
    # Below nine tenths of the bound nothing is let go of.
    assert await trim_all(queue, 1_000, **policies) == [791, 0, 0, 0, 0, 790, 0, 0, 0]
    await queue.add(150)
    before = [entry for entry, _ in await queue.redis.xrange(KEYS.events)]
    left, h_behind, h_now, _, _, behind, now, total, state = await trim_all(
        queue, 1_000, **policies
    )
    # (What history has not read stays.)
    assert (h_behind, h_now) == (150, 0)
    after = [entry for entry, _ in await queue.redis.xrange(KEYS.events)]
    assert after == before[-left:]
    assert 151 <= left <= 850
    assert (behind, now, total, state) == (left, 940 - left, 940 - left, 1)
    # It goes on, and once it is past the hole, the stream says where that is.
    assert (await trim_all(queue, 1_000, **policies))[5:] == [left, 0, total, 0]
    heir = queue.reader(2_000, "kafka")
    await kafka.close()
    found = await read(heir, left)
    assert [event.id.encode() for event in found] == after
    await heir.acknowledge(found)
    assert (await trim_all(queue, 1_000, **policies))[5:] == [0, 0, total, 2]
    (marker,) = await read(heir, 1)
    assert marker.kind == EventKind.DROPPED
    told = json.loads(marker.text)
    assert (told["reader"], told["count"], told["before"]) == ("kafka", total, found[0].id)
    assert told["after"] < before[0].decode() or told["after"] == before[0].decode()
    assert (await trim_all(queue, 1_000, **policies))[6:] == [0, 0, 0]


async def test_what_a_reader_that_refuses_has_not_read_is_never_let_go_of(queue: Queue) -> None:
    history = queue.reader(2_000)
    await queue.add(1_500)
    found = await read(history, 1_500)
    policies = {"history": "refuse", "kafka": "drop"}
    # Neither has acknowledged anything: the bound is passed, and all stays.
    assert (await trim_all(queue, 1_000, **policies))[0] == 1_500
    await history.acknowledge(found[:200])
    left, *_ = await trim_all(queue, 1_000, **policies)
    ids = [entry.decode() for entry, _ in await queue.redis.xrange(KEYS.events)]
    assert left == len(ids) >= 1_300
    assert set(ids) >= {event.id for event in found[200:]}


async def test_a_lone_reader_that_drops_is_no_reason_to_refuse(queue: Queue) -> None:
    for _ in range(5):
        await queue.add(400)
        left, behind, *_ = await trim_all(queue, 1_000, kafka="drop")
        assert left <= 900
    assert behind == -1  # it never came


async def test_entries_are_counted_by_client_and_forgotten_with_the_stream(queue: Queue) -> None:
    reader = queue.reader()
    await reader.read()
    await queue.send(*(notification() for _ in range(3)), events_max="")
    settings = Settings(_env_file=None, event_readers="history")
    receipts = Receipts(queue.redis, SHARDS, settings, "g")
    await receipts.record(EventKind.READ, "1", ["a", "b"], client="other")
    counts = await queue.redis.hgetall(KEYS.event_clients)
    assert counts == {b"default": b"3", b"other": b"2"}
    await trim(queue, "history")
    assert await queue.redis.hgetall(KEYS.event_clients) == counts
    await reader.acknowledge(await read(reader, 5))
    # Of a stream that is nearly empty nobody has much.
    await trim_all(queue, 1_000, history="refuse")
    assert await queue.redis.hgetall(KEYS.event_clients) == {}


def trimmer(queue: Queue, **settings: object) -> EventTrimmer:
    made = Settings(_env_file=None, **settings)  # type: ignore[arg-type]
    return EventTrimmer(queue.redis, KEYS, made)


async def test_a_stream_at_its_bound_is_full_until_its_readers_have_read(queue: Queue) -> None:
    one = trimmer(queue, event_readers="history", events_bound=100)
    reader = queue.reader(200)
    await reader.read()
    states = []
    for count in (99, 1):
        await queue.add(count)
        await one.trim()
        states.append(one.full)
    assert REGISTRY.get_sample_value("roomcast_events_unread", {"reader": "history"}) == 100
    await reader.acknowledge(await read(reader, 100))
    await one.trim()
    assert [*states, one.full] == [False, True, False]
    assert REGISTRY.get_sample_value("roomcast_event_entries") == 1


async def test_the_operator_is_told_once_of_a_loss_and_once_of_its_end(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    one = trimmer(queue, event_readers="kafka:drop", events_bound=100)
    reader = queue.reader(200, "kafka")
    await reader.read()
    await queue.add(100)
    for _ in range(3):
        await one.trim()
    assert not one.full
    (told,) = caplog.records
    assert told.levelno == logging.ERROR
    lost = int(one.notes["kafka"].split()[3])
    assert one.notes == {"kafka": f"too far behind: {lost} events were dropped unread"}
    assert await queue.redis.xlen(KEYS.events) == 100 - lost
    caplog.clear()
    await reader.acknowledge(await read(reader, 100 - lost))
    for _ in range(3):
        await one.trim()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert one.notes == {}


async def test_all_contents_that_nothing_refers_to_are_deleted(queue: Queue) -> None:
    one = trimmer(queue, log_ttl_s=1)
    for number in range(1_001):
        await queue.redis.set(f"{KEYS.content_prefix}{number}", "x")
    await queue.redis.zadd(KEYS.contents, {str(number): 1 for number in range(1_000)})
    await queue.redis.zadd(KEYS.contents, {"1000": 10**15})
    await one.clean()
    assert await queue.redis.zrange(KEYS.contents, 0, -1) == [b"1000"]
    assert [key async for key in queue.redis.scan_iter(f"{KEYS.content_prefix}*")] == [
        f"{KEYS.content_prefix}1000".encode()
    ]
