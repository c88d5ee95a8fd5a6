"""A gateway's counts of writes become events, many at a time."""

import asyncio
import contextlib
import json
from typing import Any

from redis.asyncio import Redis

from common.model.publication import Position
from tests.support.stores.job_queue import KEYS
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending
from ws_gateway.reports.delivery_counts import EVENTS_AT_ONCE, WriteCounts

CHANNELS = 2 * EVENTS_AT_ONCE + 1


def note(counts: WriteCounts) -> list[str]:
    names = [f"default/user:{number}" for number in range(CHANNELS)]
    for name in names:
        channel = Channel(name, name.partition("/")[2])
        counts.note(channel, [Pending(b"", Position("e", n), 1) for n in (1, 2)], 3)
    return names


async def reported(redis: Redis) -> list[tuple[str, list[list[int]]]]:
    entries: Any = await redis.xrange(KEYS.events)
    assert all((fields[b"k"], fields[b"w"]) == (b"written", b"gw") for _, fields in entries)
    return [(fields[b"c"].decode(), json.loads(fields[b"p"])["runs"]) for _, fields in entries]


async def test_each_channel_is_an_event(redis: Redis) -> None:
    counts = WriteCounts(redis, KEYS, "gw")
    names = note(counts)
    await counts.report()
    assert await reported(redis) == [(name, [[1, 2, 3]]) for name in names]
    await counts.report()
    assert len(await reported(redis)) == CHANNELS


async def test_a_report_that_is_cut_off_is_finished_by_the_next(redis: Redis) -> None:
    counts = WriteCounts(redis, KEYS, "gw")
    names = note(counts)
    slow = asyncio.create_task(counts.report(spread_s=3600))
    async with asyncio.timeout(20):
        while not await redis.xlen(KEYS.events):
            await asyncio.sleep(0.01)
    slow.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await slow
    assert await reported(redis) == [(name, [[1, 2, 3]]) for name in names[:EVENTS_AT_ONCE]]
    await counts.report()
    assert await reported(redis) == [(name, [[1, 2, 3]]) for name in names]


async def test_what_redis_does_not_take_is_reported_later(redis: Redis) -> None:
    counts = WriteCounts(redis, KEYS, "gw")
    names = note(counts)
    await redis.set(KEYS.events, "no stream")
    await counts.report()
    await redis.delete(KEYS.events)
    await counts.report()
    assert await reported(redis) == [(name, [[1, 2, 3]]) for name in names]
