"""Events that the history writer has not written yet: the end of the event stream."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from common.events.event import Event, EventKind
from common.events.group_reader import acknowledged
from common.events.merge import merge_events
from common.events.payloads import decode_dead
from common.events.stream_entries import parse_entries
from common.model.channels import DEFAULT_CLIENT, HISTORY_GROUP, client_of
from common.redis.keys import ShardKeys
from common.redis.shards import Shards

EVENTS_SCANNED_MAX: Final = 20_000
"""Most events that are looked through for one answer."""
_EVENTS_PAGE: Final = 1_000
_Range = Callable[..., Awaitable[list[Any]]]
Positions = Mapping[str, str | None]
"""Id of an event by shard; None: before all of them."""


class UnwrittenEvents:
    """Unwritten events of one client. Every method raises RedisError when Redis is away.

    While the writer is further behind than `EVENTS_SCANNED_MAX` events of a shard, the events
    between are missing from the answers until they are written.
    """

    def __init__(self, redis: Redis, shards: Shards, client: str) -> None:
        self._redis: Any = redis
        self._shards = shards
        self._client = client

    async def positions(self) -> Positions:
        """Read the id of the last event of each shard that the writer has written."""
        return {keys.shard: await self._position(keys) for keys in self._shards}

    async def _position(self, keys: ShardKeys) -> str | None:
        written = await acknowledged(self._redis, keys.events, HISTORY_GROUP)
        return None if written is None else written.decode()

    def mentioning(
        self, text: bytes, *, since_ms: int | None, after: Positions
    ) -> AsyncIterator[Event]:
        """Yield events whose text contains this, oldest first.

        Args:
            text: part of an event's text.
            since_ms: only from this Unix time on.
            after: only after these in the streams.
        """
        return merge_events(
            [self._mentioning(keys, text, since_ms, after.get(keys.shard)) for keys in self._shards]
        )

    async def _mentioning(
        self, keys: ShardKeys, text: bytes, since_ms: int | None, after: str | None
    ) -> AsyncIterator[Event]:
        start = "-" if after is None else f"({after}"
        if since_ms is not None and (after is None or int(after.partition("-")[0]) < since_ms):
            start = str(max(0, since_ms))
        async for entries in self._pages(keys, self._redis.xrange, start, "+"):
            for event in parse_entries([e for e in entries if text in e[1].get(b"p", b"")]):
                if self._owns(event):
                    yield event

    def unwritten(self, *kinds: str) -> AsyncIterator[Event]:
        """Yield events of some kinds after the writer's position, newest first."""
        wanted = {kind.encode() for kind in kinds}
        return merge_events(
            [self._unwritten(keys, wanted) for keys in self._shards], newest_first=True
        )

    async def _unwritten(self, keys: ShardKeys, wanted: set[bytes]) -> AsyncIterator[Event]:
        written = await self._position(keys)
        start = "-" if written is None else f"({written}"
        async for entries in self._pages(keys, self._redis.xrevrange, "+", start):
            for event in parse_entries([e for e in entries if e[1].get(b"k") in wanted]):
                if self._owns(event):
                    yield event

    def _owns(self, event: Event) -> bool:
        if event.kind != EventKind.DEAD:
            return client_of(event.channel) == self._client
        try:
            return decode_dead(event.text).client == self._client
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._client == DEFAULT_CLIENT

    async def _pages(
        self, keys: ShardKeys, read: _Range, first: str, last: str
    ) -> AsyncIterator[list[Any]]:
        for _ in range(EVENTS_SCANNED_MAX // _EVENTS_PAGE):
            entries = await read(keys.events, first, last, count=_EVENTS_PAGE)
            yield entries
            if len(entries) < _EVENTS_PAGE:
                return
            first = f"({entries[-1][0].decode()}"
