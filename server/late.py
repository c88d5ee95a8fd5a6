"""What the history writer has not written yet: the end of the event stream."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.events import Event, parse_event
from common.keys import Keys

EVENTS_SCANNED_MAX: Final = 20_000
"""Events that are looked through for one answer."""
_EVENTS_PAGE: Final = 1_000
_GROUP: Final = b"history"


class PublishedText(msgspec.Struct, rename="camel"):
    """What a `published` event says."""

    id: str
    type: str
    user_id: str
    target: str | None
    priority: str
    created_at: datetime
    channel: str
    epoch: str
    offset: int


class ExpiredText(msgspec.Struct, rename="camel"):
    """What an `expired` event says, and a job in the dead letters. Older ones say less."""

    id: str
    created_at: datetime
    user_id: str = ""
    priority: str = ""


decode_published: Final = msgspec.json.Decoder(PublishedText).decode
decode_expired: Final = msgspec.json.Decoder(ExpiredText).decode


class LateEvents:
    """The stream's end. Every method raises RedisError when Redis is away.

    While the writer is further behind than `EVENTS_SCANNED_MAX` events, what lies between is
    missing from its answers until it is written.
    """

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis: Any = redis
        self._events = keys.events

    async def mentioning(self, text: bytes, since_ms: int | None) -> AsyncIterator[Event]:
        """Events with this in their text, oldest first, from a Unix time (ms) on or from all."""
        start = "-" if since_ms is None else str(max(0, since_ms))
        for _ in range(EVENTS_SCANNED_MAX // _EVENTS_PAGE):
            page = await self._redis.xrange(self._events, start, "+", count=_EVENTS_PAGE)
            for entry_id, fields in page:
                if text in fields.get(b"p", b""):
                    yield parse_event(entry_id, fields)
            if len(page) < _EVENTS_PAGE:
                return
            start = f"({page[-1][0].decode()}"

    async def unwritten(self, *kinds: str) -> AsyncIterator[Event]:
        """Events of some kinds behind the writer's position, newest first."""
        wanted = {kind.encode() for kind in kinds}
        end, start = "+", await self._position()
        for _ in range(EVENTS_SCANNED_MAX // _EVENTS_PAGE):
            page = await self._redis.xrevrange(self._events, end, start, count=_EVENTS_PAGE)
            for entry_id, fields in page:
                if fields.get(b"k") in wanted:
                    yield parse_event(entry_id, fields)
            if len(page) < _EVENTS_PAGE:
                return
            end = f"({page[-1][0].decode()}"

    async def _position(self) -> str:
        try:
            groups = await self._redis.xinfo_groups(self._events)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            groups = []
        for group in groups:
            if group["name"] == _GROUP:
                return f"({group['last-delivered-id'].decode()}"
        return "-"
