"""The event stream: what is trimmed, and receipts on it. On a real Valkey."""

import json
from typing import Any

import pytest
from redis.exceptions import ResponseError

from common.events import EventKind
from common.problems import Problem
from common.receipts import Receipts
from common.scripts import Script
from common.settings import Settings
from tests.scripts.queue import KEYS, Queue, notification
from tests.scripts.test_event_reader import read


async def trim(queue: Queue, *groups: str) -> list[int]:
    found: list[int] = await Script("trim")(queue.redis, [KEYS.events], groups)
    return found


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


@pytest.mark.parametrize("kind", [EventKind.DELIVERED, EventKind.READ])
async def test_a_repeated_receipt_is_no_new_event(queue: Queue, kind: EventKind) -> None:
    receipts = Receipts(queue.redis, KEYS, Settings(_env_file=None), "g")
    listening = queue.redis.pubsub()
    await listening.subscribe(KEYS.pub("default/user:1"))
    for ids in (["a", "b"], ["b", "a"], ["b", "c"], ["a", "b", "c"]):
        await receipts.record(kind, "1", ids)
    await receipts.record(kind, "2", ["a"])
    written = [json.loads(event[b"p"]) for event in await queue.events()]
    assert [(one["userId"], one["id"]) for one in written] == [
        ("1", "a"), ("1", "b"), ("1", "c"), ("2", "a"),
    ]  # fmt: skip
    told: list[Any] = [await listening.get_message(timeout=0.1) for _ in range(6)]
    await listening.aclose()
    signals = [one for one in told if one and one["type"] == "message"]
    assert len(signals) == (2 if kind is EventKind.READ else 0)


async def test_receipts_are_refused_while_half_of_the_event_stream_waits_for_readers(
    queue: Queue,
) -> None:
    bounded = Settings(_env_file=None, event_readers="history", events_bound=200)
    receipts = Receipts(queue.redis, KEYS, bounded, "g")
    await receipts.record(EventKind.DELIVERED, "1", [f"n{k}" for k in range(100)])
    with pytest.raises(Problem) as refused:
        await receipts.record(EventKind.READ, "1", ["n1"])
    assert (refused.value.status, refused.value.code) == (503, "events-filling")
    assert await queue.redis.xlen(KEYS.events) == 100
    assert await queue.redis.exists(KEYS.reads("default/1"), KEYS.changes("default/1")) == 0
    # A repeat writes nothing, so there is nothing to refuse.
    await receipts.record(EventKind.DELIVERED, "1", ["n1"])
    # Without readers the stream is trimmed, and never full.
    unbounded = Receipts(queue.redis, KEYS, Settings(_env_file=None, events_bound=200), "g")
    await unbounded.record(EventKind.READ, "1", ["n1"])
