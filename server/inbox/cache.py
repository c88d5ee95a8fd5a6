"""Cache of inboxes in Redis. docs/design/inbox.md says why its answers are right."""

import contextlib
import copy
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.events.receipts import READS_KEPT_S
from common.model.channels import DEFAULT_CLIENT, scoped, user_channel
from common.model.publication import Position
from common.redis.client import says_full
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from common.redis.shards import Shards
from history.database import ACQUIRE_TIMEOUT_S, STATEMENT_TIMEOUT_S
from history.queries.inbox import InboxPlace, Item

KEPT_S: Final = 300
"""Seconds for which an inbox is cached; rows deleted meanwhile (retention) may be in it."""
CHANGE_MAX_MS: Final = int((ACQUIRE_TIMEOUT_S + 2 * STATEMENT_TIMEOUT_S) * 1000)
"""Time after which a dead server's change is either done or never will be."""
PAGE_MAX_BYTES: Final = 256 * 1024
"""Most bytes of a first page that is cached."""
CHANNELS_MAX: Final = 1_000
"""Most channels of a user whose inbox is cached."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_page: Final = msgspec.msgpack.Decoder(tuple[list[Item], InboxPlace | None]).decode


class Marks(NamedTuple):
    """State that must not change between reading an inbox from the database and caching it."""

    run: str
    last_read: str
    last_change: str
    last_sight: str
    """Time (Unix ms) at which Redis last noted that the user connected, or empty."""
    now_ms: int
    """Unix time by Redis's clock."""
    reads: dict[str, int]
    """The user's recent reads, with their times (Unix ms)."""


class CachedPage(NamedTuple):
    """First page of an inbox, and the place of the next one; None: there is no more."""

    items: list[Item]
    following: InboxPlace | None


class InboxCache:
    """Cached inboxes of users in Redis. Every method raises RedisError when Redis is away.

    Args:
        redis: a client with a short timeout.
        shards: makes its keys.
        client: the client application that the users belong to.
    """

    def __init__(self, redis: Redis, shards: Shards, client: str = DEFAULT_CLIENT) -> None:
        self._redis: Any = redis
        self._shards = shards
        self._client = client
        self._read = Script("inbox_read")
        self._begin = Script("inbox_begin")
        self._store = Script("inbox_store")
        self._change = Script("inbox_change")

    def of(self, client: str) -> "InboxCache":
        """Return the cache for another client's users."""
        one = copy.copy(self)
        one._client = client  # noqa: SLF001 - a copy of its own
        return one

    def _keys_of(self, user: str) -> ShardKeys:
        return self._shards.of(scoped(user_channel(user), self._client))

    async def unread_count(self, user: str) -> int | None:
        """Read the number of unread notifications; None if it is not cached."""
        found = await self._ask(user, "")
        return None if found is None else int(found[0])

    async def first_page(self, user: str) -> CachedPage | None:
        """Read the first page with recent reads applied; None if it is not cached."""
        found = await self._ask(user, "1")
        if found is None:
            return None
        try:
            items, following = _decode_page(found[1])
        except msgspec.MsgspecError:
            # A server of another version stored it.
            return None
        return CachedPage(
            [
                item._replace(read_ms=_read_ms(item, found[k], found[k + 1]))
                for item, k in zip(items, range(2, len(found), 2), strict=True)
            ],
            following,
        )

    async def _ask(self, user: str, page: str) -> Any:
        keys, name = self._keys_of(user), scoped(user, self._client)
        return await self._read(
            self._redis,
            [
                keys.inbox(name),
                keys.unread(name),
                keys.reads(name),
                keys.changes(name),
                keys.sights,
            ],
            [keys.channel_prefix, page, name],
        )

    async def marks(self, user: str) -> Marks:
        """Read the marks to keep before an inbox is read from the database."""
        name = scoped(user, self._client)
        keys = self._keys_of(user)
        run, last_read, last_change, last_sight, now_ms, reads = await self._begin(
            self._redis, [keys.reads(name), keys.changes(name), keys.sights], [name]
        )
        pairs = zip(reads[::2], reads[1::2], strict=True)
        return Marks(
            run.decode(),
            last_read.decode(),
            last_change.decode(),
            last_sight.decode(),
            int(now_ms),
            {notification.decode(): int(at) for notification, at in pairs},
        )

    async def positions(self, channels: Sequence[str]) -> list[Position | None]:
        """Read the positions of channels (`room:1`); None if no publication is known."""
        pipe = self._redis.pipeline(transaction=False)
        for channel in channels:
            name = scoped(channel, self._client)
            pipe.hmget(self._shards.of(name).channel_prefix + name, "e", "o")
        return [
            Position(epoch.decode(), int(offset)) if epoch and offset else None
            for epoch, offset in await pipe.execute()
        ]

    async def store(
        self,
        user: str,
        marks: Marks,
        positions: Sequence[tuple[str, Position | None]],
        unread: Sequence[InboxPlace],
        page: CachedPage,
    ) -> bool:
        """Cache an inbox, which was read from a database that knew these positions.

        Returns:
            Whether it was cached; False if something changed since `marks`.
        """
        keys, name = self._keys_of(user), scoped(user, self._client)
        lines = [
            f"{scoped(channel, self._client)}\t{at.epoch}\t{at.offset}\n"
            if at
            else f"{scoped(channel, self._client)}\t\t\n"
            for channel, at in positions
        ]
        text = _encode(page) if sum(len(i.frame) for i in page.items) <= PAGE_MAX_BYTES else b""
        members = [word for place in unread for word in place]
        try:
            stored = await self._store(
                self._redis,
                [keys.inbox(name), keys.unread(name), keys.changes(name), keys.sights],
                [
                    marks.run,
                    marks.last_read,
                    marks.last_change,
                    marks.last_sight,
                    name,
                    "".join(lines),
                    "".join(f"{item.id}\n" for item in page.items),
                    text,
                    KEPT_S,
                    *members,
                ],
            )
        except ResponseError as error:
            if not says_full(error):
                raise
            # It is only a cache: without room in Redis, nothing is cached.
            return False
        return bool(stored)

    @contextlib.asynccontextmanager
    async def change(self, user: str) -> AsyncIterator[None]:
        """Guard a change of a user's inbox in the database by one statement.

        Until it is over, the cache is neither read nor written. If this process dies, or the
        outcome is not known, nothing is cached until the change can't be running any more.
        """
        keys = [self._keys_of(user).changes(scoped(user, self._client))]
        name = await self._change(self._redis, keys, ["", CHANGE_MAX_MS, READS_KEPT_S])
        yield
        await self._change(self._redis, keys, [name, 0, READS_KEPT_S])


def _read_ms(item: Item, unread: int, read_of_late: bytes) -> int | None:
    if unread:
        return None
    if item.read_ms is not None or not read_of_late:
        return item.read_ms
    return int(read_of_late)
