"""Counts of connections that gateways share: added up, and forgotten with their gateway."""

import json
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from common.accounting.connection_counts import (
    FORGOTTEN_AFTER_S,
    STALE_AFTER_S,
    ConnectionCounts,
)
from tests.support.processes.stack import GLOBAL_KEYS


@pytest.fixture
def counts(redis: Redis) -> ConnectionCounts:
    return ConnectionCounts(redis, GLOBAL_KEYS)


async def write_long_ago(redis: Any, gateway: str, age_s: float, clients: dict[str, int]) -> None:
    report = {"at": time.time() - age_s, "clients": clients}
    await redis.hset(GLOBAL_KEYS.connections, gateway, json.dumps(report))


async def test_the_counts_of_all_gateways_add_up(counts: ConnectionCounts) -> None:
    await counts.write("g1", {"shop": 2, "bank": 1})
    await counts.write("g2", {"shop": 3})
    assert await counts.read() == {"shop": 5, "bank": 1}
    assert await counts.read(but="g2") == {"shop": 2, "bank": 1}


async def test_a_report_replaces_the_one_before(counts: ConnectionCounts) -> None:
    await counts.write("g1", {"shop": 2, "bank": 1})
    await counts.write("g1", {"shop": 1})
    assert await counts.read() == {"shop": 1}
    await counts.write("g1", {})
    assert await counts.read() == {}


async def test_a_gateway_that_stops_takes_its_counts_along(counts: ConnectionCounts) -> None:
    await counts.write("g1", {"shop": 2})
    await counts.write("g2", {"shop": 3})
    await counts.forget("g1")
    assert await counts.read() == {"shop": 3}


async def test_a_gateway_that_fell_silent_is_not_counted_and_later_removed(
    redis: Any, counts: ConnectionCounts
) -> None:
    await write_long_ago(redis, "recent", STALE_AFTER_S - 1, {"shop": 1})
    await write_long_ago(redis, "silent", STALE_AFTER_S + 1, {"shop": 10})
    await write_long_ago(redis, "gone", FORGOTTEN_AFTER_S + 1, {"shop": 100})
    assert await counts.read() == {"shop": 1}
    assert set(await redis.hkeys(GLOBAL_KEYS.connections)) == {b"recent", b"silent"}


@pytest.mark.parametrize("text", ["rubbish", "{}", '{"at":"now","clients":{}}', b"\xff"])
async def test_a_report_that_somebody_broke_is_removed_and_the_others_count(
    redis: Any, counts: ConnectionCounts, text: str | bytes
) -> None:
    await counts.write("g1", {"shop": 2})
    await redis.hset(GLOBAL_KEYS.connections, "broken", text)
    assert await counts.read() == {"shop": 2}
    assert await redis.hkeys(GLOBAL_KEYS.connections) == [b"g1"]


async def test_nothing_is_left_of_gateways_that_all_went_away(
    redis: Any, counts: ConnectionCounts
) -> None:
    await counts.write("g1", {"shop": 2})
    assert 0 < await redis.ttl(GLOBAL_KEYS.connections) <= FORGOTTEN_AFTER_S
