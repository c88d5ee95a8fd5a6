"""One loop of one lane: wait for turns, read their jobs, publish them.

Guarantee: every job of a turn is published exactly once, in the order of acceptance. The loop
removes nothing; the publishing script does, and only while this loop still holds the turn. A loop
that is killed, paused past its lease, or cut off at any point publishes nothing twice.
"""

import asyncio
import logging
import secrets
import time
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from common.backoff import jittered
from common.keys import Keys
from common.names import Lane
from common.redis_client import connect
from common.scripts import Argument, Script
from common.settings import Settings
from worker import metrics
from worker.enrich import Batch, BatchBuilder
from worker.holders import Holders

log = logging.getLogger("roomcast.worker")

_REPLY_TIMEOUT_S: Final = 5.0


class LaneLoop:
    """One of a worker's loops; has a connection of its own."""

    def __init__(
        self, lane: Lane, number: int, holders: Holders, keys: Keys, settings: Settings
    ) -> None:
        self._lane = lane
        self._number = number
        self._holders = holders
        self._keys = keys
        self._settings = settings
        # Under a third of the lease: a pending BLMOVE is over before the holder is forgotten.
        self._wait_s = settings.lease_s / 4
        self._take = Script("take")
        self._publish = Script("publish")
        self._jobs_prefix = f"{keys.jobs_prefix}{lane}:"
        self._publications = metrics.publications.labels(lane)
        self._stopping = False

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopping = True

    async def run(self) -> None:
        """Serve turns until `stop`; a lost connection begins a new life.

        Raises:
            Exception: a defect; never a Redis that is away.
        """
        retry = jittered()
        while not self._stopping:
            redis = connect(self._settings.redis_client, timeout_s=self._wait_s + _REPLY_TIMEOUT_S)
            holder = None
            try:
                holder = await self._holders.begin_life(self._lane, self._number)
                await redis.script_load(self._take.text)
                await redis.script_load(self._publish.text)
                retry = jittered()
                await self._live(redis, holder)
            except (RedisError, OSError, TimeoutError) as error:
                metrics.reconnects.labels(f"{self._lane}.{self._number}").inc()
                log.warning(
                    "loop lost redis; it begins a new life",
                    extra={
                        "lane": str(self._lane),
                        "loop": self._number,
                        "reason": f"{type(error).__name__}: {error}",
                    },
                )
            finally:
                if holder:
                    self._holders.end_life(holder)
                await redis.aclose()
            if not self._stopping:
                await asyncio.sleep(next(retry))

    async def _live(self, redis: Redis, holder: str) -> None:
        while not self._stopping:
            turns = await self._take_turns(redis, holder)
            if not turns:
                continue
            with metrics.publish_seconds.time():
                batch = await self._build(redis, turns)
                published, lost = await self._publish_batch(redis, holder, batch)
            self._count(batch, published, lost)

    async def _take_turns(self, redis: Redis, holder: str) -> list[Any]:
        """Wait for a turn; partitions and their jobs in alternation, or nothing after a while."""
        settings = self._settings
        keys = [self._keys.ready(self._lane), self._keys.held(holder), self._keys.workers]
        args: list[Argument] = [
            holder,
            self._holders.lease_ms,
            settings.take_max_turns,
            self._jobs_prefix,
            settings.publish_max_jobs,
            settings.publish_max_bytes,
        ]
        # Sent together: the script runs as soon as the turn has come, without a round trip.
        # What is published is read from the held list, so a lost reply loses nothing.
        pipe = redis.pipeline(transaction=False)
        pipe.execute_command("BLMOVE", keys[0], keys[1], "RIGHT", "LEFT", self._wait_s)
        pipe.execute_command("EVALSHA", self._take.sha, len(keys), *keys, *args)
        turn, taken = await pipe.execute(raise_on_error=False)
        if isinstance(turn, Exception):
            raise turn
        if isinstance(taken, NoScriptError):
            taken = await self._take(redis, keys, args)
        if isinstance(taken, Exception):
            raise taken
        return list(taken)

    async def _build(self, redis: Redis, turns: list[Any]) -> Batch:
        builder = BatchBuilder(self._settings.publish_max_jobs, self._settings.publish_max_bytes)
        now_ms = time.time_ns() // 1_000_000
        for partition, jobs in zip(turns[::2], turns[1::2], strict=True):
            builder.add_turn(partition, jobs, now_ms)
        return builder.batch

    async def _publish_batch(self, redis: Redis, holder: str, batch: Batch) -> tuple[int, int]:
        keys, settings = self._keys, self._settings
        published, lost = await self._publish(
            redis,
            [
                keys.epoch,
                keys.held(holder),
                keys.ready(self._lane),
                keys.active(self._lane),
                keys.waiting,
                keys.returns,
                keys.events,
                keys.dead,
            ],
            [
                str(self._lane),
                self._jobs_prefix,
                keys.channel_prefix,
                keys.log_prefix,
                keys.pub_prefix,
                secrets.token_hex(4),
                settings.log_max_entries,
                settings.log_ttl_s,
                settings.channel_ttl_s,
                settings.events_max_entries,
                settings.dead_max_entries,
                self._holders.worker,
                *batch.args,
            ],
        )
        return published, lost

    def _count(self, batch: Batch, published: int, lost: int) -> None:
        self._publications.inc(published)
        if batch.expired:
            metrics.expired.inc(batch.expired)
        if batch.dead:
            metrics.dead_letters.inc(batch.dead)
        if lost:
            metrics.lost_turns.labels(self._lane).inc(lost)
            log.warning("turns were gone; nothing of them was published", extra={"turns": lost})
        if log.isEnabledFor(logging.DEBUG):
            for notification in batch.ids:
                log.debug("published", extra={"id": notification, "lane": str(self._lane)})
