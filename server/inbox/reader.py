"""Inboxes, read from the cache first, then the database. No HTTP here."""

import copy
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Counter
from redis.asyncio import Redis

from common.errors import REDIS_ERRORS
from common.events.event import EventKind
from common.events.payloads import decode_identified
from common.events.receipts import IDS_MAX, Receipts
from common.model.channels import (
    BROADCAST_CHANNEL,
    DEFAULT_CLIENT,
    room_channel,
    scoped,
    user_channel,
)
from common.model.publication import Position, parse_publication
from common.redis.shards import Shards
from history.database import Database
from history.queries import inbox as queries
from history.queries.first_sights import first_sight_ms
from history.queries.inbox import UNREAD_IDS_MAX, Filters, InboxPlace, Item, Reader
from server.inbox.cache import CHANNELS_MAX, CachedPage, InboxCache, Marks
from server.members.member_changes import Changes

log = logging.getLogger("roomcast.server")

PAGE_DEFAULT: Final = 20
"""Default number of items of a page; the first page of this size is cached."""
MARKED_MAX: Final = 10_000
"""Most receipts written when an inbox is marked read; older notifications get none."""
_LOG_CHUNK: Final = 100
"""Most entries of a log that are in memory at once; each may be large."""
inbox_answers = Counter(
    "roomcast_inbox_answers_total",
    "Unread counts and first pages, by where they came from",
    ["source"],
)
_cached_answers = inbox_answers.labels("cache")
_database_answers = inbox_answers.labels("database")


@dataclass(frozen=True, slots=True)
class _View:
    """One reading of an inbox in the database.

    Attributes:
        unread: ids of unread notifications; only some of them, if not `complete`.
        page: the first one.
        count: number of unread notifications.
        complete: whether all unread notifications are known.
        caught_up: whether the database has everything that it needs for this to be cached.
    """

    unread: list[InboxPlace]
    page: CachedPage
    count: int
    complete: bool
    caught_up: bool


class Inbox:
    """The inboxes of one client's users.

    Args:
        database: where history is.
        redis: a client with a short timeout.
        shards: makes its keys.
        receipts: writes reads as events.
        changes: writes that everything was read.
    """

    def __init__(
        self, database: Database, redis: Redis, shards: Shards, receipts: Receipts, changes: Changes
    ) -> None:
        self._database = database
        self._redis: Any = redis
        self._shards = shards
        self._receipts = receipts
        self._changes = changes
        self.cache = InboxCache(redis, shards)
        self._client = DEFAULT_CLIENT

    def of(self, client: str) -> "Inbox":
        """Return the inboxes of another client's users."""
        one = copy.copy(self)
        one._client = client  # noqa: SLF001 - a copy of its own
        one._changes = self._changes.of(client)  # noqa: SLF001 - a copy of its own
        one.cache = self.cache.of(client)
        return one

    async def unread_count(self, user: str) -> int:
        """Count the unread notifications.

        Raises:
            DatabaseAwayError: it is not cached, and the database is away.
        """
        try:
            count = await self.cache.unread_count(user)
        except REDIS_ERRORS:
            count = None
        if count is None:
            return (await self._look(user)).count
        _cached_answers.inc()
        return count

    async def page(
        self, user: str, filters: Filters, before: InboxPlace | None, limit: int
    ) -> tuple[list[Item], InboxPlace | None]:
        """Read the newest notifications, and the place of the next page; None: there are no more.

        Args:
            user: owner of the inbox.
            filters: which notifications.
            before: only older ones than this; None: from the newest on.
            limit: most notifications.

        Raises:
            DatabaseAwayError: it is not cached, and the database is away.
        """
        if filters == Filters() and before is None and limit == PAGE_DEFAULT:
            try:
                cached = await self.cache.first_page(user)
            except REDIS_ERRORS:
                cached = None
            if cached is None:
                return (await self._look(user)).page
            _cached_answers.inc()
            return cached
        reader = self._reader(user, await self._marks(user))
        async with self._database.connection() as connection:
            found = await queries.find_page(
                connection, reader, filters=filters, before=before, limit=limit
            )
            if found[1] is not None and len(found[0]) < limit and filters.unread:
                # Finding so few took long; the next request should be faster.
                await queries.settle(connection, reader)
        return found

    async def mark_read(self, user: str, notification: str) -> bool:
        """Mark one notification read.

        Returns:
            Whether it is in the user's inbox.

        Raises:
            DatabaseAwayError: the database is away.
            redis.exceptions.RedisError: the outcome is unknown; repeat.
        """
        marks = await self.cache.marks(user)
        reader = self._reader(user, marks)
        async with self._database.connection() as connection:
            read = await queries.is_read(connection, reader, notification)
            if read is None:
                rooms = await queries.rooms_of(connection, self._client, user)
        if read is None and notification not in await self._unwritten(user, rooms, marks):
            return False
        if not read and (read is False or notification not in marks.reads):
            await self._receipts.record(EventKind.READ, user, [notification], client=self._client)
        return True

    async def change_item(self, user: str, notification: str, kind: EventKind) -> bool:
        """Archive, unarchive or mark unread a notification, and notify the user's sockets.

        Args:
            user: owner of the inbox.
            notification: its id.
            kind: `ARCHIVED`, `UNARCHIVED` or `UNREAD`.

        Returns:
            Whether it is in the user's inbox.

        Raises:
            DatabaseAwayError: the database is away; repeat.
            redis.exceptions.RedisError: the outcome is unknown; repeat.
        """
        marks = await self.cache.marks(user)
        reader = self._reader(user, marks)
        async with self._database.connection() as connection:
            created_ms = await queries.created_at_ms(connection, reader, notification)
            last_read_ms = await queries.last_read_ms(connection, reader, notification)
            rooms = await queries.rooms_of(connection, self._client, user)
        if created_ms is None:
            created_ms = (await self._unwritten(user, rooms, marks)).get(notification)
        if created_ms is None:
            return False
        # Receipts have the times of other clocks; this must be later than all of them.
        at_ms = max(time.time_ns() // 1_000_000, last_read_ms + 1)
        async with self.cache.change(user), self._database.connection() as connection:
            await self._changes.make(
                connection,
                kind,
                user,
                at_ms=at_ms,
                notification=notification,
                created_ms=created_ms,
            )
        return True

    async def mark_all_read(self, user: str) -> int:
        """Mark everything published until now read, including what the database lacks yet.

        Returns:
            The number that were unread, as far as is known.

        Raises:
            DatabaseAwayError: the database is away; repeat.
            redis.exceptions.RedisError: the outcome is unknown; repeat.
        """
        marks = await self.cache.marks(user)
        reader = self._reader(user, marks)
        async with self._database.snapshot() as connection:
            unread, following = await queries.find_unread(connection, reader, MARKED_MAX)
            count = len(unread)
            if following is not None or count == MARKED_MAX:
                count = await queries.unread_count(connection, reader)
            rooms = await queries.rooms_of(connection, self._client, user)
        ids = {place.id: None for place in unread}
        unwritten = [
            an_id for an_id in await self._unwritten(user, rooms, marks) if an_id not in ids
        ]
        async with self._database.connection() as connection:
            known = await queries.read_among(connection, reader, unwritten) | set(marks.reads)
        seen = [an_id for an_id in unwritten if an_id not in known]
        everything = [*seen, *ids]
        for first in range(0, len(everything), IDS_MAX):
            await self._receipts.record(
                EventKind.READ, user, everything[first : first + IDS_MAX], client=self._client
            )
        async with self.cache.change(user), self._database.connection() as connection:
            await self._changes.make(connection, EventKind.READ_ALL, user, at_ms=marks.now_ms)
        return count + len(seen)

    async def _marks(self, user: str) -> Marks | None:
        try:
            return await self.cache.marks(user)
        except REDIS_ERRORS:
            return None

    def _reader(self, user: str, marks: Marks | None) -> Reader:
        return Reader(self._client, user, marks.reads if marks else {})

    async def _look(self, user: str) -> _View:
        """Read an inbox from the database, and cache it if the database is not behind."""
        _database_answers.inc()
        marks = await self._marks(user)
        positions = await self._positions(user) if marks else None
        view = await self._read(user, marks, positions)
        if not view.complete and len(view.unread) <= UNREAD_IDS_MAX:
            # There are too many single reads to look through each time.
            async with self._database.connection() as connection:
                settled = await queries.settle(connection, self._reader(user, marks))
            if settled:
                view = await self._read(user, marks, positions)
        if marks and positions and view.caught_up and view.complete:
            try:
                await self.cache.store(user, marks, positions, view.unread, view.page)
            except REDIS_ERRORS as error:
                log.debug("an inbox could not be cached", extra={"reason": str(error)})
        return view

    async def _read(
        self,
        user: str,
        marks: Marks | None,
        positions: list[tuple[str, Position | None]] | None,
    ) -> _View:
        reader = self._reader(user, marks)
        async with self._database.snapshot() as connection:
            found = await queries.find_unread(connection, reader, UNREAD_IDS_MAX + 1)
            items, following = await queries.find_page(
                connection, reader, filters=Filters(), before=None, limit=PAGE_DEFAULT
            )
            unread = found.places
            complete = found.following is None and len(unread) <= UNREAD_IDS_MAX
            return _View(
                unread,
                CachedPage(items, following),
                len(unread) if complete else await queries.unread_count(connection, reader),
                complete=complete,
                caught_up=(
                    marks is not None
                    and positions is not None
                    # If the reads were lost, we could not tell whether the database has them.
                    and bool(marks.reads or not marks.last_read)
                    and await _knows(connection, self._client, positions)
                    and await queries.knows_reads(connection, reader)
                    and await _knows_sight(connection, reader, marks)
                ),
            )

    async def _positions(self, user: str) -> list[tuple[str, Position | None]] | None:
        async with self._database.connection() as connection:
            rooms = await queries.rooms_of(connection, self._client, user)
        channels = _channels(user, rooms)
        if len(channels) > CHANNELS_MAX:
            return None
        try:
            return list(zip(channels, await self.cache.positions(channels), strict=True))
        except REDIS_ERRORS:
            return None

    async def _unwritten(self, user: str, rooms: dict[str, int], marks: Marks) -> dict[str, int]:
        """Find notifications that only the channels' logs have; return when each was created."""
        channels = _channels(user, rooms)
        found = await self.cache.positions(channels)
        placed = [(channel, at) for channel, at in zip(channels, found, strict=True) if at]
        async with self._database.connection() as connection:
            known = await queries.known_positions(connection, self._client, placed)
            seen_ms = await first_sight_ms(connection, self._client, user)
        since = {room_channel(room): joined_ms for room, joined_ms in rooms.items()}
        seen = [] if seen_ms is None else [seen_ms]
        if marks.last_sight:
            seen.append(int(marks.last_sight))
        ids: dict[str, int] = {}
        for (channel, _), is_known in zip(placed, known, strict=True):
            if is_known:
                continue
            joined = since.get(channel, 0)
            if channel == BROADCAST_CHANNEL:
                # The user's own channel came first, and its notifications may be their first sight.
                seen = [*seen, *ids.values()]
                if not seen:
                    continue
                joined = min(seen)
            name = scoped(channel, self._client)
            log_key = self._shards.of(name).log_prefix + name
            # From the end, so that entries published or trimmed meanwhile hide none.
            for last in range(1, 1 + await self._redis.llen(log_key), _LOG_CHUNK):
                chunk = await self._redis.lrange(log_key, 1 - last - _LOG_CHUNK, -last)
                for publication in map(parse_publication, chunk):
                    if publication.accepted_ms >= joined:
                        ids[decode_identified(publication.text).id] = publication.accepted_ms
        return ids


def _channels(user: str, rooms: dict[str, int]) -> list[str]:
    return [user_channel(user), BROADCAST_CHANNEL, *map(room_channel, rooms)]


async def _knows_sight(connection: Any, reader: Reader, marks: Marks) -> bool:
    """Return True if the database has seen a user as early as Redis has."""
    if not marks.last_sight:
        return True
    seen_ms = await first_sight_ms(connection, reader.client, reader.user)
    return seen_ms is not None and seen_ms <= int(marks.last_sight)


async def _knows(
    connection: Any, client: str, positions: list[tuple[str, Position | None]]
) -> bool:
    placed = [(channel, at) for channel, at in positions if at]
    return all(await queries.known_positions(connection, client, placed))
