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
_CLEANED_AT_ONCE: Final = 500


class EventTrimmer:
    """Deletes what every enabled reader has acknowledged. Any number of workers may do it."""

    def __init__(self, redis: Redis, keys: Keys, settings: Settings) -> None:
        self._redis = redis
        self._keys = keys
        self._groups = settings.reader_groups
        self._bound = settings.events_bound
        self._trim = Script("trim")
        self._clean = Script("contents")
        # As much longer as the expiry of a log may have been put off (see publish.lib.lua).
        self._kept_ms = int(settings.log_ttl_s * 1_100)
        self.full = False
        """Whether the stream has reached its bound: nothing new may be let in."""

    async def run(self) -> None:
        """Trim once a second, until cancelled."""
        while True:
            try:
                await self.trim()
                await self.clean()
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

    async def clean(self) -> None:
        """Delete shared contents that neither events nor logs refer to any more.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        keys = self._keys
        deleted = _CLEANED_AT_ONCE
        while deleted == _CLEANED_AT_ONCE:
            deleted, _ = await self._clean(
                self._redis,
                [keys.events, keys.contents],
                [keys.content_prefix, self._kept_ms, _CLEANED_AT_ONCE],
            )
