"""Trims the event stream behind its readers, and tells how far each is behind."""

import asyncio
import logging
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from common.keys import Keys
from common.scripts import Script
from common.settings import Settings
from worker import metrics

log = logging.getLogger("roomcast.worker")

TRIM_INTERVAL_S: Final = 1.0


class EventTrimmer:
    """Deletes what every enabled reader has acknowledged. Any number of workers may do it."""

    def __init__(self, redis: Redis, keys: Keys, settings: Settings) -> None:
        self._redis = redis
        self._keys = keys
        self._groups = settings.reader_groups
        self._bound = settings.events_bound
        self._trim = Script("trim")
        self.full = False
        """Whether the stream has reached its bound: nothing new may be let in."""

    async def run(self) -> None:
        """Trim once a second, until cancelled."""
        while True:
            try:
                await self.trim()
            except (RedisError, OSError, TimeoutError) as error:
                log.debug("events could not be trimmed", extra={"reason": str(error)})
            await asyncio.sleep(TRIM_INTERVAL_S)

    async def trim(self) -> None:
        """Trim once; without readers, whoever publishes bounds the stream.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        length, *behind = await self._trim(self._redis, [self._keys.events], self._groups)
        metrics.event_entries.set(length)
        self.full = length >= self._bound
        for group, entries in zip(self._groups, behind, strict=True):
            metrics.events_unread.labels(group).set(entries)
