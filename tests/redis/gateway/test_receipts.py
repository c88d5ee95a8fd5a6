"""Receipts of one turn are written in one round trip (`ws_gateway/reports/receipts.py`)."""

import asyncio

import pytest
from redis.asyncio import Redis

from common.config.settings import Settings
from common.events.event import EventKind
from common.events.receipts import Receipts
from tests.redis.gateway.away import away, running
from tests.support.stores.job_queue import SHARDS, Queue
from ws_gateway.reports import receipts
from ws_gateway.reports.receipts import ROUND_MAX, ReceiptWriter


def writer_to(redis: Redis) -> ReceiptWriter:
    return ReceiptWriter(redis, Receipts(redis, SHARDS, Settings(), "gw"))


async def written(writer: ReceiptWriter, *ids: str) -> list[bool]:
    """Whether each of the receipts, of users of the same name, was written."""
    return await asyncio.gather(
        *(writer.write(EventKind.DELIVERED, "default", an_id, [an_id], "gw-1") for an_id in ids)
    )


async def test_all_of_a_turn_are_written_although_redis_lost_the_script(queue: Queue) -> None:
    writer = writer_to(queue.redis)
    ids = [f"n{number}" for number in range(ROUND_MAX + 1)]
    await queue.redis.script_flush()
    async with running(writer.run()):
        assert await written(writer, *ids) == [True] * len(ids)
    assert len(await queue.events()) == len(ids)


async def test_a_repeat_is_written_already(queue: Queue) -> None:
    writer = writer_to(queue.redis)
    async with running(writer.run()):
        assert await written(writer, "a") == await written(writer, "a") == [True]
    assert len(await queue.events()) == 1


async def test_while_redis_is_away_they_are_to_be_repeated() -> None:
    redis = away()
    writer = writer_to(redis)
    async with running(writer.run()):
        assert await written(writer, "a", "b") == [False, False]
    await redis.aclose()


async def test_more_than_may_wait_are_refused_at_once(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "WAITING_MAX", 1)
    writer = writer_to(redis)
    async with running(writer.run()):
        assert sorted(await written(writer, "a", "b")) == [False, True]
        assert await written(writer, "b") == [True]


async def test_one_that_stopped_waiting_does_not_stop_the_others(redis: Redis) -> None:
    writer = writer_to(redis)
    gone = asyncio.create_task(writer.write(EventKind.READ, "default", "1", ["a"], "gw-1"))
    await asyncio.sleep(0)
    gone.cancel()
    async with running(writer.run()):
        assert await written(writer, "b") == [True]
