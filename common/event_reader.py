"""A consumer group on the event stream, of which one replica reads at a time.

Guarantee: every entry is handed out at least once, in the order of the stream, until it is
acknowledged. One replica leads, by a lease in Redis; the others wait. A new leader begins with
what the one before did not acknowledge. A leader that was paused may hand on what it holds once
more, but nothing that its successor has not begun with: first occurrences stay in order.

A group that Redis lost is made again from the beginning of the stream: what was acknowledged before
comes once more, nothing is skipped.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from common.events import EVENT_FIELDS, Event, parse_event
from common.keys import Keys
from common.scripts import Script

log = logging.getLogger("roomcast.events")

LEASE_S: Final = 5.0
"""A leader that did not call `read` for this long may be succeeded."""
_FIRST_BATCH: Final = 256
# In bytes, so that redis-py hands the reply on as it came: it would make a dictionary of each
# entry, which takes as long as all the rest of reading.
_XREADGROUP: Final = b"XREADGROUP"
BYTES_MAX: Final = 16 * 1024 * 1024
"""A batch has about so many bytes of text at most. How many entries that is, is told from the batch
before, so the first of many large ones may have more."""


class EventReader:
    """One replica's end of a consumer group.

    Args:
        redis: a client whose replies may take `block_s`.
        keys: of the shard.
        group: name of the group: the reader, as `EVENT_READERS` names it.
        batch: most entries handed out at once.
        block_s: how long to wait for a first one.
    """

    def __init__(
        self, redis: Redis, keys: Keys, group: str, *, batch: int, block_s: float = 1.0
    ) -> None:
        self._redis: Any = redis
        self._stream = keys.events
        self._lease_key = keys.reader(group)
        self._group = group
        self._batch = batch
        self._count = min(batch, _FIRST_BATCH)
        self._block_ms = int(block_s * 1000)
        self._lead = Script("lead")
        self.name = secrets.token_hex(4)
        self.leads = False
        """Whether this replica has the lease, as of the last `read`."""
        self.more = False
        """Whether the last `read` got as many as it asked for, so that more are likely there."""
        self._taken_over: str | None = None
        self._led_at = float("-inf")

    async def read(self) -> list[Event]:
        """Wait for entries.

        Returns:
            The next ones in order; none if none came, or if another replica leads.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; call again.
        """
        if not await self._has_lease():
            return []
        try:
            if self._taken_over is not None:
                return self._noted(await self._take_over())
            return self._noted(await self._next())
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._make_group()
            return []
        except (RedisError, OSError, TimeoutError):
            # What the lost reply handed out is this consumer's now, and would not come again.
            self._taken_over = "0-0"
            raise

    async def keep(self) -> bool:
        """Keep the lease while nothing is read, because the reader can't take more.

        Returns:
            Whether this replica leads.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        return self.leads and await self._has_lease()

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Say that these need not be handed out again.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; call again.
        """
        if events:
            await self._redis.xack(self._stream, self._group, *(event.id for event in events))

    async def close(self) -> None:
        """Give the lease up, and the consumer if it holds nothing.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; both run out by themselves.
        """
        await self._lead(self._redis, [self._lease_key], [self.name, 0])
        self.leads = False

    async def _has_lease(self) -> bool:
        # Renewed in every third of its time, so that a quick reader does not ask each time.
        if self.leads and time.monotonic() - self._led_at < LEASE_S / 3:
            return True
        asked = time.monotonic()
        leads = bool(
            await self._lead(self._redis, [self._lease_key], [self.name, int(LEASE_S * 1000)])
        )
        if leads and not self.leads:
            log.info("leads", extra={"group": self._group, "consumer": self.name})
            self._taken_over = "0-0"
        self.leads, self._led_at = leads, asked
        if not leads:
            await self._pause()
        return leads

    async def _pause(self) -> None:
        # As long as a read would have waited; a follower has nothing else to do.
        await self._redis.blpop([f"{self._lease_key}:never"], timeout=self._block_ms / 1000)

    async def _make_group(self) -> None:
        log.warning("the group is made from the start", extra={"group": self._group})
        try:
            await self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _take_over(self) -> list[Event]:
        """Hand out what any consumer of the group holds unacknowledged, the oldest first."""
        start, entries, *_ = await self._redis.xautoclaim(
            self._stream,
            self._group,
            self.name,
            min_idle_time=0,
            start_id=self._taken_over,
            count=self._count,
        )
        self._taken_over = None if start in (b"0-0", "0-0") else start
        return parse_entries(entries)

    def _noted(self, events: list[Event]) -> list[Event]:
        # Next time as many are asked for as would fit, if they are like these.
        self.more = len(events) >= self._count
        if events:
            size = sum(len(event.text) for event in events)
            fit = BYTES_MAX * len(events) // (size + 1)
            grown = 2 * self._count if self.more else self._count
            self._count = max(1, min(self._batch, grown, fit))
        return events

    async def _next(self) -> list[Event]:
        reply = await self._redis.execute_command(
            *(_XREADGROUP, "GROUP", self._group, self.name),
            *("COUNT", self._count, "BLOCK", self._block_ms, "STREAMS", self._stream, ">"),
        )
        return read_entries(entries_of(reply))


def entries_of(reply: Any) -> list[Any]:
    """Entries in a reply about one stream, as Redis sends it: None, RESP2 or RESP3."""
    if not reply:
        return []
    ((_, entries),) = reply.items() if isinstance(reply, dict) else reply
    found: list[Any] = entries
    return found


def read_entries(entries: list[Any]) -> list[Event]:
    """Read entries as Redis sends them; what is no event has an empty kind."""
    found = []
    for entry_id, fields in entries:
        if not fields:
            # What was trimmed while somebody held it comes without fields.
            continue
        if fields[::2] == EVENT_FIELDS:
            _, kind, _, channel, _, writer, _, text, _, extra = fields
            try:
                event = Event(
                    entry_id.decode(), kind.decode(), channel.decode(), writer.decode(), text, extra
                )
            except UnicodeDecodeError as error:
                event = _no_event(entry_id, error)
        else:
            event = _parse_one(entry_id, dict(zip(fields[::2], fields[1::2], strict=True)))
        found.append(event)
    return found


def parse_entries(entries: list[Any]) -> list[Event]:
    """Read entries as redis-py's methods return them; otherwise as `read_entries`."""
    return [_parse_one(entry_id, fields) for entry_id, fields in entries if fields]


def _parse_one(entry_id: bytes, fields: dict[bytes, bytes]) -> Event:
    try:
        return parse_event(entry_id, fields)
    except (KeyError, UnicodeDecodeError) as error:
        return _no_event(entry_id, error)


def _no_event(entry_id: bytes, error: Exception) -> Event:
    # Somebody else wrote it. A reader knows no such kind, and acknowledges it with the rest.
    log.error("no event", extra={"entry": entry_id.decode(), "reason": repr(error)})
    return Event(entry_id.decode(), "", "", "", b"", b"")
