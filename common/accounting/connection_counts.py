"""Connections of each client at each gateway, which the gateways share through Redis.

Each gateway writes its own counts once a second into one hash. A count whose gateway has not
written for `STALE_AFTER_S` is not counted: the gateway is gone. The machines' clocks are assumed
to agree within that.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from common.redis.keys import GlobalKeys

log = logging.getLogger("roomcast.connections")

STALE_AFTER_S: Final = 5.0
FORGOTTEN_AFTER_S: Final = 60.0
"""A gateway that has been gone for this long is removed from the hash."""


class _Report(msgspec.Struct):
    at: float
    clients: dict[str, int]


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Report).decode


class ConnectionCounts:
    """The hash of counts.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys) -> None:
        self._redis: Any = redis
        self._key = keys.connections

    async def write(self, gateway: str, clients: Mapping[str, int]) -> None:
        """Write how many connections of each client a gateway has.

        Raises:
            redis.exceptions.RedisError, OSError: Redis does not answer.
        """
        report = _Report(time.time(), dict(clients))
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(self._key, gateway, _encode(report))
            pipeline.expire(self._key, int(FORGOTTEN_AFTER_S))
            await pipeline.execute()

    async def forget(self, gateway: str) -> None:
        """Remove a gateway that is stopping.

        Raises:
            redis.exceptions.RedisError, OSError: Redis does not answer.
        """
        await self._redis.hdel(self._key, gateway)

    async def read(self, but: str = "") -> Counter[str]:
        """Count the connections of each client at all gateways.

        Args:
            but: leave this gateway out.

        Raises:
            redis.exceptions.RedisError, OSError: Redis does not answer.
        """
        now = time.time()
        total: Counter[str] = Counter()
        gone = []
        for name, text in (await self._redis.hgetall(self._key)).items():
            try:
                report = _decode(text)
            except msgspec.MsgspecError as error:
                log.warning(
                    "a gateway's connection counts in redis are unreadable; they are removed",
                    extra={"reason": str(error)},
                )
                gone.append(name)
                continue
            age = now - report.at
            if age > FORGOTTEN_AFTER_S:
                gone.append(name)
            elif age <= STALE_AFTER_S and name != but.encode():
                total.update(report.clients)
        if gone:
            await self._redis.hdel(self._key, *gone)
        return total
