"""`python -m kafka_bridge restore --since TIME`: fills an empty Redis from the events topic.

Restored are every channel's position and the end of its log, so that sockets can resume, and the
event stream, from which the history writer fills an empty database. Lost are jobs that waited in
Redis, and the dead letters (their events are restored). Running it again changes nothing.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from common.config.settings import Settings
from common.errors import RoomcastError
from common.events.event import Event, stream_order
from common.model.channels import KAFKA_GROUP
from common.model.timestamps import format_time
from common.redis.client import UnfitRedisError, check_fitness, connect
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from common.redis.shards import Shards
from kafka_bridge.messages.cloud_events import dropped_before
from kafka_bridge.restore.channel_rebuild import Rebuild, RebuiltChannel, new_ones
from kafka_bridge.restore.topic_reader import Archive, ArchiveError

log = logging.getLogger("roomcast.kafka")

RUN: Final = "restored"
"""The server run that restored channels are of: none there is (see
`common/redis/lua/publish/restore.lua`)."""

_FILTER_BITS: Final = 8 * 4_194_304
"""As `common/redis/lua/publish/epoch.lib.lua` has it."""
_CHUNK: Final = 1_000
_REDIS_TIMEOUT_S: Final = 30.0
_PROGRESS_S: Final = 1.0
_TRIM_PAUSE_S: Final = 0.2


class RestoreRefusedError(RoomcastError):
    """Nothing was changed; the text says why."""


class Restore:
    """One run.

    Args:
        redis: to be filled.
        shards: makes its keys.
        settings: topic and bounds.
        since_ms: Unix time in milliseconds from which on the topic is read.
    """

    def __init__(self, redis: Redis, shards: Shards, settings: Settings, since_ms: int) -> None:
        self._redis: Any = redis
        self._shards = shards
        self._settings = settings
        self._since_ms = since_ms
        self._archive = Archive(settings, since_ms)
        self._rebuild = Rebuild(settings.log_max_entries)
        self._write = Script("restore")
        self._trim = Script("trim")
        self._told_at = 0.0
        self._known: dict[str, tuple[int, int]] = {}
        """Per shard: the last event that was on the stream already."""
        self._tops: dict[str, tuple[int, int]] = {}
        self.events = self.added = self.channels = self.never_mirrored = 0
        """Events read (once each), events put onto the stream, channels written, and about how many
        events the topic says that it never got."""

    async def run(self) -> None:
        """Restore, telling on stderr how far it is.

        Raises:
            RestoreRefusedError: this Redis holds something else.
            ArchiveError: the topic can't be read.
            redis.exceptions.RedisError: Redis does not answer; run it again.
        """
        check_fitness(await self._redis.info())
        await self._begin()
        for keys in self._shards:
            await self._find_top(keys)
        events = self._archive.events(partial(new_ones, self._rebuild))
        while chunk := await asyncio.to_thread(_take, events):
            for event in chunk:
                self._rebuild.add(event)
                self.never_mirrored += dropped_before(event)
            self.events += len(chunk)
            for keys in self._shards:
                mine = [event for event in chunk if self._shards.of(event.channel) == keys]
                await self._put_back(keys, mine)
            self._tell(chunk[-1])
        for name, channel in self._rebuild.channels.items():
            self.channels += await self._put_channel(name, channel)
        await self._put_epoch()
        await self._redis.hset(self._shards.only.restored, "finished", 1)

    async def _begin(self) -> None:
        restored = self._shards.only.restored
        if await self._redis.dbsize() and not await self._redis.exists(restored):
            raise RestoreRefusedError("this Redis is not empty, and was not restored before")
        if await self._redis.exists(restored):
            return
        await self._redis.hset(
            restored,
            mapping={
                "since": format_time(self._since_ms),
                "topic": self._settings.kafka_events_topic,
                "at": format_time(time.time_ns() // 1_000_000),
                "finished": 0,
            },
        )

    async def _find_top(self, keys: ShardKeys) -> None:
        """Up to where events are on the stream already."""
        try:
            await self._redis.xgroup_create(keys.events, KAFKA_GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        info = await self._redis.xinfo_stream(keys.events)
        last = info["last-generated-id"]
        milliseconds, _, number = (last.decode() if isinstance(last, bytes) else last).partition(
            "-"
        )
        top = (int(milliseconds), int(number))
        self._known[keys.shard] = self._tops[keys.shard] = top

    async def _put_back(self, keys: ShardKeys, chunk: list[Event]) -> None:
        """Put events onto the stream under the ids they had; what was there before is left out."""
        settings, known = self._settings, self._known[keys.shard]
        top = self._tops[keys.shard]
        fresh = [event for event in chunk if stream_order(event) > known]
        if not fresh:
            return
        kept = "history" in settings.reader_groups
        if kept:
            await self._wait_for_history(keys, len(fresh))
        async with self._redis.pipeline(transaction=True) as pipeline:
            for event in fresh:
                # A clock that was set back, once: behind what is there, in the order of the topic.
                top = max(stream_order(event), (top[0], top[1] + 1))
                fields = {"k": event.kind, "c": event.channel, "w": event.writer, "p": event.text}
                if event.extra:
                    fields["x"] = event.extra
                pipeline.xadd(
                    keys.events,
                    fields,
                    id=_entry_id(top),
                    maxlen=None if kept else settings.events_max_entries,
                )
            # They came from Kafka: the bridge need not send them there.
            pipeline.xgroup_setid(keys.events, KAFKA_GROUP, id=_entry_id(top))
            await pipeline.execute()
        self._tops[keys.shard] = top
        self.added += len(fresh)

    async def _wait_for_history(self, keys: ShardKeys, more: int) -> None:
        """Let the history writer take events while the stream is fuller than half its bound."""
        while True:
            length = int(await self._redis.xlen(keys.events))
            if length + more <= max(more, self._settings.events_bound // 2):
                return
            names = [keys.events, keys.dropped, keys.event_clients]
            await self._trim(self._redis, names, [0, "history", "refuse"])
            self._tell(None, "waiting for the history writer (python -m history)")
            await asyncio.sleep(_TRIM_PAUSE_S)

    async def _put_channel(self, name: str, channel: RebuiltChannel) -> int:
        keys, settings = self._shards.of(name), self._settings
        written: int = await self._write(
            self._redis,
            [keys.channel_prefix + name, keys.log_prefix + name],
            [
                channel.epoch,
                channel.offset,
                channel.before,
                channel.ended_at,
                settings.log_ttl_s,
                settings.channel_ttl_s,
                *channel.log,
            ],
        )
        return written

    async def _put_epoch(self) -> None:
        """Channels in which nothing was published go on behind the epoch that began last."""
        keys = self._shards.only
        run = await self._redis.hget(keys.epoch, "r")
        if not self._rebuild.epoch or run is not None:
            return
        now = str(int(time.time()))
        epoch = self._rebuild.epoch
        # Which channels were in it is known: those that have been written.
        await self._redis.setbit(keys.entered(epoch), _FILTER_BITS - 1, 0)
        await self._redis.expire(keys.entered(epoch), self._settings.channel_ttl_s)
        await self._redis.hset(keys.epoch, mapping={"e": epoch, "r": RUN, "p": "", "t": now})

    def _tell(self, event: Event | None, what: str = "") -> None:
        if time.monotonic() - self._told_at < _PROGRESS_S:
            return
        self._told_at = time.monotonic()
        at = f", at {format_time(event.at_ms)}" if event else ""
        archive = self._archive
        sys.stderr.write(f"{archive.read} of about {archive.expected} messages{at} {what}\n")

    def summary(self) -> str:
        """Summary of the restore, for a person to read."""
        archive, rebuild = self._archive, self._rebuild
        heads = archive.heads
        repeats = archive.read - self.events - archive.earlier - archive.foreign - heads
        earlier = f"{archive.earlier} of before that time, " if archive.earlier else ""
        holes = (
            f"; about {self.never_mirrored} events are missing, which the bridge was too far "
            "behind to mirror"
            if self.never_mirrored
            else ""
        )
        if archive.left_out:
            holes += (
                f"; {len(archive.left_out)} events are missing, of which the topic took only the "
                "head"
            )
        return (
            f"read {archive.read} messages: {self.events} events, "
            f"{repeats} repeats, {earlier}{archive.foreign} others; "
            f"wrote {self.added} events and {self.channels} of {len(rebuild.channels)} channels"
            f"{holes}"
        )


def _entry_id(order: tuple[int, int]) -> str:
    return f"{order[0]}-{order[1]}"


def _take(events: Iterator[Event]) -> list[Event]:
    return list(islice(events, _CHUNK))


async def _restore(settings: Settings, since_ms: int) -> int:
    redis = connect(settings.redis_url, timeout_s=_REDIS_TIMEOUT_S)
    restore = Restore(redis, Shards(), settings, since_ms)
    try:
        await restore.run()
    except (RestoreRefusedError, UnfitRedisError, ArchiveError, RedisError, OSError) as error:
        sys.stderr.write(f"restore: {error}\n")
        return 1
    finally:
        await redis.aclose()
    sys.stdout.write(restore.summary() + "\n")
    return 0


def main(settings: Settings, since_ms: int) -> int:
    """Restore from a moment on.

    Args:
        settings: of the bridge.
        since_ms: Unix time in milliseconds.

    Returns:
        The exit status: 1 when it could not restore.
    """
    return asyncio.run(_restore(settings, since_ms))
