"""Connections to Redis, and the check that a server is fit to keep notifications."""

import asyncio
import logging
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ResponseError

from common.errors import REDIS_ERRORS, CannotRunError
from common.process.backoff import jittered
from common.telemetry.outage import redis_outage

log = logging.getLogger("roomcast.redis")

CONNECT_TIMEOUT_S: Final = 2.0
REQUIRED_POLICY: Final = "noeviction"
_REDIS_MINIMUM: Final = (7, 2)
_VALKEY_MINIMUM: Final = (8, 0)


class UnfitRedisError(CannotRunError):
    """This server can't keep our guarantees; the text says why and what to set."""


def connect(url: str, *, timeout_s: float) -> Redis:
    """Make a client with its own connection pool, which never retries a command by itself.

    A retried LPUSH is a notification sent twice: commands that are retried must be scripts that
    detect a repeat.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout_s: for a reply; past it the connection is dropped and the outcome unknown.
    """
    # redis-py refuses TCP options for a Unix socket.
    of_tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool: ConnectionPool = ConnectionPool.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout_s,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        health_check_interval=0,
        **of_tcp,
    )
    return Redis.from_pool(pool)


def _version(text: str) -> tuple[int, int]:
    major, minor, *_ = (*text.split("."), "0")
    return int(major), int(minor)


def says_full(error: BaseException | None) -> bool:
    """Return True if Redis refused a command or a whole script for being at its maxmemory."""
    # redis-py removes the error's code; `common.redis.pipelined_connection` leaves it.
    return isinstance(error, OutOfMemoryError) or (
        isinstance(error, ResponseError) and str(error).startswith("OOM")
    )


def check_version(info: dict[str, Any]) -> None:
    """Refuse a server that is too old for our scripts.

    Args:
        info: the reply to INFO (section server).

    Raises:
        UnfitRedisError: it is.
    """
    valkey = info.get("valkey_version")
    if valkey and _version(valkey) < _VALKEY_MINIMUM:
        raise UnfitRedisError(f"Valkey {valkey} is too old: 8.0 or newer is needed")
    if not valkey and _version(str(info["redis_version"])) < _REDIS_MINIMUM:
        raise UnfitRedisError(f"Redis {info['redis_version']} is too old: 7.2 or newer is needed")


def check_fitness(info: dict[str, Any]) -> None:
    """Refuse a server on which accepted notifications could be lost.

    Args:
        info: the reply to INFO (sections server and memory).

    Raises:
        UnfitRedisError: too old, or it evicts keys.
    """
    check_version(info)
    policy = info.get("maxmemory_policy", REQUIRED_POLICY)
    if policy != REQUIRED_POLICY:
        raise UnfitRedisError(
            f"maxmemory-policy is {policy}: it must be {REQUIRED_POLICY}, or waiting jobs could be "
            "evicted"
        )


async def wait_until_reached(redis: Redis) -> None:
    """Wait for the server to answer, as long as it takes, and check its version.

    Settings that can be mended while it runs, such as its `maxmemory-policy`, are for those to
    watch that take jobs.

    Raises:
        UnfitRedisError: it answers, and is too old.
    """
    for wait in jittered():
        try:
            info: dict[str, Any] = await redis.info()
        except REDIS_ERRORS as error:
            redis_outage.lost("start", error)
            await asyncio.sleep(wait)
            continue
        redis_outage.back("start")
        check_version(info)
        return
    raise AssertionError("unreachable: jittered() never ends")


__all__ = [
    "CONNECT_TIMEOUT_S",
    "REQUIRED_POLICY",
    "Connection",
    "UnfitRedisError",
    "check_fitness",
    "check_version",
    "connect",
    "says_full",
    "wait_until_reached",
]
