"""Changes of users, memberships and of what was read through: an event, and then the database."""

import copy
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from common.events import EventKind
from common.jobs import format_time
from common.keys import Keys
from common.names import DEFAULT_CLIENT, room_channel, scoped, user_channel
from common.settings import Settings
from history.changes import Change, apply

_encode: Final = msgspec.json.Encoder().encode


class Changes:
    """Makes changes of a client's users.

    The event comes first. If the server dies before the database has the change, the history writer
    makes it of the event; the other way round, what the database has would be missing from Kafka,
    and from all that is restored from there.

    Args:
        redis: where the event stream is.
        keys: of the shard.
        settings: whether the stream has readers.
        writer: name of this server.
        client: the client application.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        settings: Settings,
        writer: str,
        client: str = DEFAULT_CLIENT,
    ) -> None:
        self._client = client
        self._redis: Any = redis
        self._stream = keys.events
        self._events_max = None if settings.reader_groups else settings.events_max_entries
        self._writer = writer

    def of(self, client: str) -> "Changes":
        """The same for another client."""
        one = copy.copy(self)
        one._client = client  # noqa: SLF001 - a copy of its own
        return one

    async def make(
        self, connection: Any, kind: EventKind, user: str, *, at_ms: int, room: str = ""
    ) -> None:
        """Write the event and change the database.

        Args:
            connection: of asyncpg.
            kind: `USER`, `MEMBER_JOINED`, `MEMBER_LEFT` or `READ_ALL`.
            user: whom it is about.
            at_ms: Unix time in milliseconds, of the meaning that `kind` says.
            room: which room, if any.

        Raises:
            redis.exceptions.RedisError: the outcome is unknown; repeating is harmless.
            asyncpg.PostgresError, OSError, TimeoutError: the change comes with the history writer.
        """
        body = {"userId": user, "room": room, "at": format_time(at_ms)}
        if not room:
            del body["room"]
        fields = {
            "k": str(kind),
            "c": scoped(room_channel(room) if room else user_channel(user), self._client),
            "w": self._writer,
            "p": _encode(body),
        }
        entry = await self._redis.xadd(self._stream, fields, maxlen=self._events_max)
        await apply(connection, self._client, Change(kind, user, room, at_ms, entry.decode()))
