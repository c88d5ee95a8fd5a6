"""Receipts on the event stream of a real Valkey: written together, once, and never in its way."""

import json
from typing import Any

import pytest

from common.config.settings import Settings
from common.events.event import EventKind
from common.events.receipts import Receipts
from common.model.problems import Problem
from tests.support.stores.job_queue import KEYS, SHARDS, Queue


@pytest.mark.parametrize("kind", [EventKind.DELIVERED, EventKind.READ])
async def test_receipts_are_written_together_and_what_was_read_leaves_the_unread(
    queue: Queue, kind: EventKind
) -> None:
    unread = KEYS.unread("default/1")
    await queue.redis.zadd(unread, {"a": 1, "b": 2, "c": 3})
    settings = Settings(_env_file=None)
    listening = queue.redis.pubsub()
    await listening.subscribe(KEYS.pub("default/user:1"))
    await Receipts(queue.redis, SHARDS, settings, "g").record(
        kind, "1", ["a", "b"], connection="g-7"
    )
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
    receipts = Receipts(queue.redis, SHARDS, Settings(_env_file=None), "g")
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
    receipts = Receipts(queue.redis, SHARDS, bounded, "g")
    await receipts.record(EventKind.DELIVERED, "1", [f"n{k}" for k in range(100)])
    with pytest.raises(Problem) as refused:
        await receipts.record(EventKind.READ, "1", ["n1"])
    assert (refused.value.status, refused.value.code) == (503, "events-filling")
    assert await queue.redis.xlen(KEYS.events) == 100
    assert await queue.redis.exists(KEYS.reads("default/1"), KEYS.changes("default/1")) == 0
    # A repeat writes nothing, so there is nothing to refuse.
    await receipts.record(EventKind.DELIVERED, "1", ["n1"])
    # Without readers the stream is trimmed, and never full.
    unbounded = Receipts(queue.redis, SHARDS, Settings(_env_file=None, events_bound=200), "g")
    await unbounded.record(EventKind.READ, "1", ["n1"])
