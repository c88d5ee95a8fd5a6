"""redis-py as we set it up: no retries, a bound on every wait, and only on a fit server."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from common.redis.client import (
    UnfitRedisError,
    check_fitness,
    check_version,
    connect,
    says_full,
    wait_until_reached,
)
from tests.support.stores.valkey import Valkey


def info(**more: Any) -> dict[str, Any]:
    return {"redis_version": "7.2.4", "maxmemory_policy": "noeviction"} | more


@pytest.mark.parametrize(
    "fit",
    [
        info(),
        info(redis_version="7.2"),
        info(redis_version="10.0.1"),
        # Valkey tells this version to old clients, whatever its own is.
        info(valkey_version="8.0.0", redis_version="7.2.4"),
        info(valkey_version="9.1.0", redis_version="6.0.0"),
        # A server that hides its policy.
        {"redis_version": "8.0.0"},
    ],
)
def test_a_server_that_keeps_what_was_accepted_is_fit(fit: dict[str, Any]) -> None:
    check_fitness(fit)


@pytest.mark.parametrize(
    ("unfit", "said"),
    [
        (info(redis_version="7.1.9"), "Redis 7.1.9 is too old"),
        (info(redis_version="6.9"), "Redis 6.9 is too old"),
        (info(valkey_version="7.2.5"), "Valkey 7.2.5 is too old"),
        (info(maxmemory_policy="allkeys-lru"), "maxmemory-policy is allkeys-lru"),
        (info(valkey_version="8.1.0", maxmemory_policy="volatile-ttl"), "noeviction"),
    ],
)
def test_another_is_refused_with_the_reason(unfit: dict[str, Any], said: str) -> None:
    with pytest.raises(UnfitRedisError, match=said):
        check_fitness(unfit)


@pytest.mark.parametrize("version", [{"redis_version": "7.1.9"}, {"valkey_version": "7.2.5"}])
def test_only_a_version_is_wrong_for_good(version: dict[str, str]) -> None:
    check_version(info(maxmemory_policy="allkeys-lru"))
    with pytest.raises(UnfitRedisError, match="too old"):
        check_version(info(**version))


async def test_a_server_that_starts_late_is_waited_for(tmp_path: Path) -> None:
    valkey = Valkey(tmp_path, maxmemory_policy="allkeys-lru")
    client = connect(valkey.url, timeout_s=5)
    waiting = asyncio.create_task(wait_until_reached(client))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await asyncio.to_thread(valkey.start)
    try:
        async with asyncio.timeout(20):
            await waiting
        await client.aclose()
    finally:
        valkey.stop()


async def test_a_reply_that_is_late_is_given_up_and_the_command_not_repeated(
    server: Valkey,
) -> None:
    client: Any = connect(server.url, timeout_s=1)
    await client.delete("sent")
    server.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(RedisTimeoutError):
            await client.rpush("sent", "x")
        assert time.monotonic() - began < 10
    finally:
        server.thaw()
    # It was executed nevertheless: a retry would have sent it twice.
    assert await client.lrange("sent", 0, -1) == [b"x"]
    await client.aclose()


async def test_a_lost_connection_is_an_error_and_no_second_try(server: Valkey) -> None:
    client: Any = connect(server.url, timeout_s=5)
    await client.ping()
    server.command("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes")
    with pytest.raises(RedisConnectionError):
        await client.incr("count")
    # The next one connects again.
    assert await client.incr("count") == 1
    await client.delete("count")
    await client.aclose()


async def test_a_server_on_a_unix_socket_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "v"
    valkey = Valkey(tmp_path, unixsocket=str(path))
    valkey.start()
    try:
        client = connect(f"unix://{path}", timeout_s=5)
        assert await client.ping() is True
        await client.aclose()
    finally:
        valkey.stop()


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OutOfMemoryError("command not allowed"), True),
        (ResponseError("OOM command not allowed when used memory > 'maxmemory'"), True),
        (ResponseError("WRONGTYPE Operation against a key"), False),
        (ResponseError("the OOM is elsewhere"), False),
        (OSError("OOM"), False),
        (None, False),
    ],
)
def test_a_server_without_memory_is_told_from_other_refusals(
    error: Exception | None, full: bool
) -> None:
    assert says_full(error) is full
