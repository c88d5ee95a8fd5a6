"""Readiness of a gateway: a probe through the path that notifications take."""

import asyncio
import secrets

from redis.asyncio import Redis

from common.redis.keys import ShardKeys
from ws_gateway.channels.hub import Hub


class PathProbe:
    """Publishes on a name of its own and waits for the subscription to bring it."""

    def __init__(self, redis: Redis, keys: ShardKeys, hub: Hub, gateway: str) -> None:
        self._redis = redis
        self.name = keys.probe(gateway)
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        hub.listeners[self.name.encode()] = self._arrived

    async def __call__(self) -> str | None:
        """Probe once; None if it came through.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        token = secrets.token_bytes(8)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        try:
            if not await self._redis.publish(self.name, token):
                return "the subscription is not there"
            await future
        finally:
            del self._waiting[token]
        return None

    def _arrived(self, token: bytes) -> None:
        future = self._waiting.get(token)
        if future and not future.done():
            future.set_result(None)
