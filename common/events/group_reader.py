"""A consumer group on the event stream, of which one replica reads at a time.

Guarantee: every entry is handed out at least once, in the order of the stream, until it is
acknowledged. One replica leads, by a lease in Redis; the others wait. A new leader begins with
the first entry that the previous one did not acknowledge. A leader that was paused may hand out its
entries once more, but none that its successor has not begun with: first occurrences stay in order.

Acknowledged entries are kept as the group's position, not as a list of pending entries, which would
cost Redis three times as much: readers acknowledge in the order in which they read. A group that
Redis lost is made again from the beginning of the stream: entries acknowledged before are repeated,
and none that is there is skipped. If the stream itself was deleted, its unread entries are lost:
that is logged, and counted.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.errors import REDIS_ERRORS
from common.events.event import Event
from common.events.stream_entries import read_entries
from common.model.shared_content import put_back, references
from common.redis.keys import ShardKeys
from common.redis.pipelined_connection import Link, Word
from common.redis.scripts import Argument, Script

log = logging.getLogger("roomcast.events")

LEASE_S: Final = 5.0
"""A leader that did not call `read` for this long may be replaced."""
READ_AT_ONCE: Final = 256
"""Entries in one reply, so that Redis is not held up; a batch may take several."""
_FIRST_BATCH: Final = 256
_FIRST_REPLY: Final = 16
BYTES_MAX: Final = 4 * 1024 * 1024
"""A batch ends with the entry that brings it to this many bytes of text.

A reader holds several batches, each in several forms: as texts, as rows or messages.
"""
REPLY_MAX_BYTES: Final = 1024 * 1024
"""A reply has about this many bytes of text.

The number of entries is estimated from the previous reply, so the first reply of many large entries
may have `READ_AT_ONCE` of them.
"""
NO_GROUP: Final = -1
"""Reply of the acknowledging scripts if there is no group."""
_REPLY_TIMEOUT_S: Final = 5.0
_BEGINNING: Final = b"0-0"


lost_streams = Counter(
    "roomcast_event_streams_lost_total",
    "Times that a reader found the event stream gone, with whatever it had not read of it",
    ["reader"],
)


async def acknowledged(redis: Redis, stream: str, group: str) -> bytes | None:
    """Read the id of the last entry that a group has acknowledged; None: there is no such group.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or the key is not a stream.
    """
    client: Any = redis
    try:
        groups: list[dict[str, Any]] = await client.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return None
    for found in groups:
        if found["name"].decode() == group:
            position: bytes = found["last-delivered-id"]
            return position
    return None


class EventReader:
    """One replica's reader of a consumer group.

    Args:
        redis: a client whose replies may take `block_s`.
        url: of that Redis. Entries are read over a connection of their own
            (`common.redis.pipelined_connection`), which takes a third of the time that redis-py
            does.
        keys: of the shard.
        group: name of the group: the reader, as `EVENT_READERS` names it.
        batch: most entries returned at once.
        block_s: how long to wait for a first one.
    """

    def __init__(
        self,
        redis: Redis,
        url: str,
        keys: ShardKeys,
        group: str,
        *,
        batch: int,
        block_s: float = 1.0,
    ) -> None:
        self._redis: Any = redis
        self._url = url
        self._link: Link | None = None
        self._stream = keys.events
        self._content_prefix = keys.content_prefix
        self._lease_key = keys.reader(group)
        self._group = group
        self._batch = batch
        self._count = min(batch, _FIRST_BATCH)
        self._at_once = _FIRST_REPLY
        self._block_s = block_s
        self._lead = Script("lead")
        self._advance = Script("advance")
        self._make_group = Script("group")
        self._position = b""
        """Id of the last entry that was handed out."""
        self._begins = True
        """True if the next `read` starts at the position that Redis has."""
        self._led_at = float("-inf")
        self.name = secrets.token_hex(4)
        self.leads = False
        """True if this replica had the lease at the last `read`."""
        self.more = False
        """True if the last `read` stopped at a bound, so that more entries are likely."""

    async def read(self) -> list[Event]:
        """Wait for entries, but not at a beginning.

        Returns:
            The next ones in order; none if none came, or if another replica leads.

        Raises:
            OSError, TimeoutError, redis.exceptions.RedisError: Redis does not answer; call again.
        """
        if not await self._has_lease():
            return []
        try:
            begins = self._begins
            if begins:
                self._begins = False
                self._position = await self._begin()
            # A first read returns at once, so that the caller knows that all is well.
            events = await self._next(block=not begins)
            if not events and await acknowledged(self._redis, self._stream, self._group) is None:
                # A read does not notice that the group or the stream is gone.
                self._begins = True
        except REDIS_ERRORS:
            # Start again after the acknowledged position.
            self._begins = True
            raise
        if len(events) >= self._count:
            self._count = min(self._batch, 2 * self._count)
        return events

    async def keep(self) -> bool:
        """Keep the lease while nothing is read, because the reader can't take more.

        Returns:
            Whether this replica leads.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        return self.leads and await self._has_lease()

    async def acknowledge(
        self, events: Sequence[Event], script: Script | None = None, *more: Argument
    ) -> None:
        """Acknowledge these events and all that were handed out before them.

        Args:
            events: a run as it was handed out.
            script: moves the position as `advance` does, and does something else in the same step
                (see `mirrored.lua`); None: only moves it.
            more: arguments of that script after the first three.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; call again.
        """
        if not events:
            return
        args: list[Argument] = [self._group, events[-1].id, len(events), *more]
        moved = await (script or self._advance)(self._redis, [self._stream], args)
        if moved == NO_GROUP:
            # A read does not notice that the group is gone.
            self._begins = True

    async def close(self) -> None:
        """Give the lease up.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; the lease expires by itself.
        """
        if self._link:
            self._link.close()
        await self._lead(self._redis, [self._lease_key], [self.name, 0])
        self.leads = False

    async def _has_lease(self) -> bool:
        # Renewed once per third of its time, so that a fast reader does not renew at each read.
        if self.leads and time.monotonic() - self._led_at < LEASE_S / 3:
            return True
        asked = time.monotonic()
        leads = bool(
            await self._lead(self._redis, [self._lease_key], [self.name, int(LEASE_S * 1000)])
        )
        if leads and not self.leads:
            log.info("leads", extra={"group": self._group, "consumer": self.name})
            self._begins = True
        self.leads, self._led_at = leads, asked
        if not leads:
            await self._pause()
        return leads

    async def _pause(self) -> None:
        # For as long as a read would have waited: a follower has nothing else to do.
        await self._redis.blpop([f"{self._lease_key}:never"], timeout=self._block_s)

    async def _begin(self) -> bytes:
        """Read the group's acknowledged position; make the group if there is none."""
        position = await acknowledged(self._redis, self._stream, self._group)
        if position is not None:
            return position
        if self._position and not await self._redis.xrange(
            self._stream, self._position, self._position
        ):
            # The last entry that was read stays in the stream, so this is another stream.
            lost_streams.labels(self._group).inc()
            log.error(
                "the event stream was deleted; what was in it unread is lost",
                extra={"group": self._group, "read_to": self._position.decode()},
            )
        log.info("the consumer group is made from the start", extra={"group": self._group})
        try:
            await self._make_group(self._redis, [self._stream], [self._group])
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return _BEGINNING

    async def _next(self, *, block: bool) -> list[Event]:
        if self._link is None or self._link.lost.done():
            self._link = await Link.connect(self._url, f"reader-{self._group}")
        timeout_s = self._block_s + _REPLY_TIMEOUT_S
        self.more = False
        found: list[Event] = []
        left, position = self._count, self._position
        bytes_left = BYTES_MAX
        wait: tuple[Word, ...] = ("BLOCK", int(self._block_s * 1000)) if block else ()
        while left > 0 and bytes_left > 0:
            wanted = min(left, self._at_once, READ_AT_ONCE)
            reply = await self._link.call(
                *("XREAD", "COUNT", wanted, *wait, "STREAMS", self._stream, position),
                timeout_s=timeout_s,
            )
            # The reply has the one stream, or nothing if no entry came in time.
            ((_, entries),) = reply.items() if reply else ((None, []),)
            if entries:
                events = read_entries(await self._whole(entries))
                sizes = [len(event.text) + len(event.extra) for event in events]
                size = sum(sizes)
                fit = REPLY_MAX_BYTES * len(events) // (size + 1)
                self._at_once = max(1, min(4 * self._at_once, fit, READ_AT_ONCE))
                if size > bytes_left:
                    # Entries past the bound are read again.
                    ends = enumerate(accumulate(sizes), 1)
                    del events[next(count for count, end in ends if end >= bytes_left) :]
                found += events
                bytes_left -= size
                position = entries[len(events) - 1][0]
            if len(entries) < wanted and bytes_left > 0:
                break
            left, wait = left - wanted, ()
        else:
            self.more = True
        self._position = position
        return found

    async def _whole(self, entries: list[Any]) -> list[Any]:
        """Return the entries with their shared contents put back."""
        digests = list(references(entries))
        if not digests or self._link is None:
            return entries
        keys = [self._content_prefix + digest.decode() for digest in digests]
        contents = await self._link.call("MGET", *keys, timeout_s=_REPLY_TIMEOUT_S)
        return put_back(entries, dict(zip(digests, contents, strict=True)))
