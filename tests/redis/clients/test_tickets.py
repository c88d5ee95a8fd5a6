"""`ticket_issue.lua` and `ticket_redeem.lua`."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import RedisError

from common.redis.scripts import Script
from tests.support.stores.job_queue import GLOBAL_KEYS, Queue

ISSUE, REDEEM = Script("ticket_issue"), Script("ticket_redeem")
PREFIX = GLOBAL_KEYS.tickets_prefix


async def issue(
    queue: Queue,
    name: str,
    owner: str = "shop/ann",
    ttl_ms: int = 60_000,
    most: int = 9,
    own: int = 9,
) -> list[int]:
    client = owner.partition("/")[0]
    found: list[int] = await ISSUE(
        queue.redis,
        [GLOBAL_KEYS.ticket(name), PREFIX + client, PREFIX + owner],
        [name, f"{owner}\nsealed {name}", ttl_ms, most, own],
    )
    return found


async def redeem(queue: Queue, *names: str) -> list[bytes | None]:
    found: list[bytes | None] = await REDEEM(
        queue.redis, [GLOBAL_KEYS.ticket(name) for name in names], [PREFIX, *names]
    )
    return found


async def test_a_ticket_is_taken_once_also_within_one_call(queue: Queue) -> None:
    await issue(queue, "a")
    await issue(queue, "b")
    kept = b"shop/ann\nsealed a"
    assert await redeem(queue, "x", "a", "a", "b") == [None, kept, None, b"shop/ann\nsealed b"]
    assert await redeem(queue, "a", "b") == [None, None]
    assert await queue.redis.keys("*ticket*") == []


async def test_unused_tickets_are_bounded_by_user_and_by_client(queue: Queue) -> None:
    for name in ("a", "b"):
        assert await issue(queue, name, own=2, most=3) == [0]
    refused, wait_ms = await issue(queue, "c", own=2, most=3)
    assert refused == 2
    assert 0 < wait_ms <= 60_000
    assert await issue(queue, "d", "shop/bob", own=2, most=3) == [0]
    refused, wait_ms = await issue(queue, "e", "shop/cy", own=2, most=3)
    assert refused == 1
    assert 0 < wait_ms <= 60_000
    # Another client has its own, also one whose user has a name with a slash.
    assert await issue(queue, "f", "bank/shop/ann", own=1, most=1) == [0]
    assert (await redeem(queue, "c", "e")) == [None, None]
    # What is used makes room.
    await redeem(queue, "a", "f")
    assert await issue(queue, "g", own=2, most=3) == [0]
    assert await issue(queue, "h", "bank/shop/ann", own=1, most=1) == [0]


async def test_a_ticket_expires_and_makes_room_then(queue: Queue) -> None:
    assert await issue(queue, "a", ttl_ms=50, own=1) == [0]
    assert (await issue(queue, "b", ttl_ms=50, own=1))[0] == 2
    await asyncio.sleep(0.1)
    assert await redeem(queue, "a") == [None]
    assert await issue(queue, "b", ttl_ms=50, own=1) == [0]
    await asyncio.sleep(0.1)
    # Nothing is left behind, whether they were used or not.
    assert await queue.redis.keys("*ticket*") == []


@pytest.mark.parametrize("set_of", ["shop", "shop/ann"])
async def test_what_somebody_wrote_there_by_hand_breaks_no_ticket_of_others(
    queue: Queue, set_of: str
) -> None:
    await issue(queue, "a")
    await issue(queue, "b", "bank/bob")
    await queue.redis.set(PREFIX + set_of, "rubbish")
    await queue.redis.rpush(GLOBAL_KEYS.ticket("list"), "rubbish")
    await queue.redis.set(GLOBAL_KEYS.ticket("text"), "rubbish")
    found: list[Any] = await redeem(queue, "list", "text", "a", "b")
    assert found == [None, b"rubbish", b"shop/ann\nsealed a", b"bank/bob\nsealed b"]
    with pytest.raises(RedisError):
        await issue(queue, "c")
    assert await redeem(queue, "c") == [None]


async def test_tickets_are_taken_and_none_is_given_while_redis_is_full(queue: Queue) -> None:
    await issue(queue, "a")
    await queue.redis.config_set("maxmemory", 1)
    try:
        assert await redeem(queue, "a") == [b"shop/ann\nsealed a"]
        with pytest.raises(RedisError):
            await issue(queue, "b")
    finally:
        await queue.redis.config_set("maxmemory", 0)
    assert await queue.redis.keys("*ticket*") == []
