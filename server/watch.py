"""Keep an eye on Redis for the server: is it there, is there room in it?"""

import asyncio
import logging
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.keys import Keys
from common.redis_client import UnfitRedisError, check_fitness
from common.settings import Settings

log = logging.getLogger("roomcast.server")

WATCH_INTERVAL_S: Final = 1.0


class RedisWatch:
    """What the last look at Redis saw."""

    def __init__(self, redis: Redis, keys: Keys, settings: Settings) -> None:
        self._redis = redis
        self._events = keys.events
        self._events_bound = settings.events_bound
        self._ratio = settings.redis_memory_max_ratio
        self._fsync = settings.accept_fsync
        self.trouble: str | None = "redis was not reached yet"
        self.nearly_full = False
        self.events_full = False
        """A reader of the event stream is so far behind that nothing may be added."""
        self.looked = asyncio.Event()
        """Set once Redis has answered."""

    async def run(self) -> None:
        """Look once a second, until cancelled.

        Raises:
            UnfitRedisError: a server took over on which jobs could be lost.
        """
        while True:
            await self.look()
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def look(self) -> None:
        """Look once."""
        try:
            info = await self._redis.info()
            events = int(await self._redis.xlen(self._events))
        except (RedisError, OSError, TimeoutError) as error:
            if self.trouble is None:
                log.warning("redis does not answer", extra={"reason": str(error)})
            self.trouble = f"redis does not answer: {type(error).__name__}"
            return
        check_fitness(info)
        if self._fsync and not info.get("aof_enabled"):
            raise UnfitRedisError("ACCEPT_FSYNC needs Redis's append-only file (appendonly yes)")
        if self.trouble is not None:
            log.info("redis answers", extra={"run_id": info["run_id"]})
        self.trouble = None
        self.looked.set()
        limit = info.get("maxmemory", 0)
        nearly_full = bool(limit) and info["used_memory"] >= self._ratio * limit
        if nearly_full != self.nearly_full:
            log.warning(
                "redis is nearly full; notifications are refused"
                if nearly_full
                else "redis has room again",
                extra={"used": info["used_memory"], "maxmemory": limit},
            )
        self.nearly_full = nearly_full
        events_full = events >= self._events_bound
        if events_full != self.events_full:
            log.warning(
                "the event stream is full; notifications are refused"
                if events_full
                else "the event stream has room again",
                extra={"entries": events, "bound": self._events_bound},
            )
        self.events_full = events_full
