"""Trims the event stream behind its readers, and tells how far each is behind.

Guarantee: what a reader that refuses has not acknowledged stays. One that drops loses the oldest
of what it has not read when the stream nears its bound: that is counted and logged, and when the
reader has come past the hole, an event (`dropped`) on the stream tells where the hole is.
"""

import logging
from typing import Final

from redis.asyncio import Redis

from common.config.settings import Settings
from common.jobs.capacity import Capacity
from common.process.periodic import every
from common.redis.keys import ShardKeys
from common.redis.scripts import Argument, Script
from worker import metrics

log = logging.getLogger("roomcast.worker")

TRIM_INTERVAL_S: Final = 1.0
_CLEANED_AT_ONCE: Final = 500
_BEGINS: Final = 1
_ENDS: Final = 2


class EventTrimmer:
    """Deletes what every enabled reader has acknowledged. Any number of workers may do it."""

    def __init__(self, redis: Redis, keys: ShardKeys, settings: Settings) -> None:
        self._redis = redis
        self._all_keys = keys
        self._keys = [keys.events, keys.dropped, keys.event_clients]
        self._groups = settings.reader_groups
        self._capacity = Capacity(settings)
        self._args: list[Argument] = [settings.events_bound]
        for group, policy in settings.reader_policies.items():
            self._args += (group, str(policy))
        self._trim = Script("trim")
        self._clean = Script("contents")
        # As much longer as the expiry of a log may have been put off (see publish.lib.lua).
        self._kept_ms = int(settings.log_ttl_s * 1_100)
        self.full = False
        """True if the stream has reached its bound: nothing new may be accepted."""
        self.notes: dict[str, str] = {}
        """Notes on readers for the operator, shown by `/readyz`."""

    async def run(self) -> None:
        """Trim once a second, until cancelled."""

        async def trim_and_clean() -> None:
            await self.trim()
            await self.clean()

        await every(TRIM_INTERVAL_S, trim_and_clean, part="trimming events")

    async def trim(self) -> None:
        """Trim the stream once; does nothing without readers, where publishing bounds it.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        length, *found = await self._trim(self._redis, self._keys, self._args)
        metrics.event_entries.set(length)
        self.full = self._capacity.events_full(length)
        for index, group in enumerate(self._groups):
            self._note(group, *found[4 * index : 4 * index + 4])

    def _note(self, group: str, behind: int, now: int, total: int, state: int) -> None:
        metrics.events_unread.labels(group).set(behind)
        metrics.events_dropped.labels(group).inc(now)
        if state == _BEGINS:
            log.error(
                "a reader of the event stream is too far behind, and loses what it has not read",
                extra={"reader": group, "events": now, "bound": self._capacity.events_bound},
            )
        elif state == _ENDS:
            log.warning(
                "a reader of the event stream goes on behind what it lost",
                extra={"reader": group, "events": total},
            )
        if total and state != _ENDS:
            self.notes[group] = f"too far behind: {total} events were dropped unread"
        else:
            self.notes.pop(group, None)

    async def clean(self) -> None:
        """Delete shared contents that neither events nor logs refer to any more.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        keys = self._all_keys
        deleted = _CLEANED_AT_ONCE
        while deleted == _CLEANED_AT_ONCE:
            deleted, _ = await self._clean(
                self._redis,
                [keys.events, keys.contents],
                [keys.content_prefix, self._kept_ms, _CLEANED_AT_ONCE],
            )
