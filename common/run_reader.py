"""A reader of the event stream that acknowledges runs of entries, and not entry by entry.

The guarantee is that of `EventReader`, at half of the cost: Redis keeps the group's position and no
list of pending entries. It is for readers that acknowledge in the order in which they read.
"""

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.event_reader import EventReader, entries_of, read_entries
from common.events import Event
from common.keys import Keys
from common.scripts import Script

READ_AT_ONCE: Final = 256
"""Entries in one reply, so that Redis is not held up; a batch may take several."""
_BEGINNING: Final = b"0-0"
# In bytes for the reason that `EventReader` has.
_XREAD: Final = b"XREAD"


async def acknowledged(redis: Redis, stream: str, group: str) -> bytes | None:
    """Id of the last entry that a reader of runs has acknowledged; None: there is no such group.

    Raises:
        redis.exceptions.RedisError: Redis does not answer, or this is no stream.
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


class RunReader(EventReader):
    """One replica's end of a consumer group; arguments as `EventReader`."""

    def __init__(
        self, redis: Redis, keys: Keys, group: str, *, batch: int, block_s: float = 1.0
    ) -> None:
        super().__init__(redis, keys, group, batch=batch, block_s=block_s)
        self._position: bytes = _BEGINNING
        self._advance = Script("advance")

    async def acknowledge(self, events: Sequence[Event]) -> None:
        """Say that these, and all that was handed out before them, need not come again.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; call again.
        """
        if not events:
            return
        moved = await self._advance(
            self._redis, [self._stream], [self._group, events[-1].id, len(events)]
        )
        if moved == -1:
            # Reading does not notice that the group is gone.
            self._taken_over = "0-0"

    async def _take_over(self) -> list[Event]:
        """Go back to what is acknowledged, whoever did that; read on from there."""
        position = await acknowledged(self._redis, self._stream, self._group)
        if position is not None:
            self._position = position
            self._taken_over = None
            return await self._next()
        await self._make_group()
        return []

    async def _next(self) -> list[Event]:
        found: list[Event] = []
        left = self._count
        wait: tuple[str | int, ...] = ("BLOCK", self._block_ms)
        while left:
            wanted = min(left, READ_AT_ONCE)
            reply = await self._redis.execute_command(
                *(_XREAD, "COUNT", wanted, *wait, "STREAMS", self._stream, self._position)
            )
            entries = entries_of(reply)
            if entries:
                self._position = entries[-1][0]
                found += read_entries(entries)
            if len(entries) < wanted:
                break
            left, wait = left - wanted, ()
        return found
