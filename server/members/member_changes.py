"""Changes of users, memberships and inboxes: first an event, then the database."""

import copy
from typing import Any

from redis.asyncio import Redis

from common.config.settings import Settings
from common.events.event import EventKind
from common.events.payloads import Changed, encode
from common.model.channels import DEFAULT_CLIENT, room_channel, scoped, user_channel
from common.model.publication import CLOSE_DELETED, SIGNAL
from common.model.timestamps import format_time
from common.redis.shards import Shards
from history.queries.member_changes import Change, apply


class Changes:
    """Makes changes of a client's users.

    The event comes first. If the server dies before the database has the change, the history writer
    makes it from the event; the other way round, the change would be missing from Kafka, and from
    everything restored from there.

    Args:
        redis: where the event stream is.
        shards: makes its keys.
        settings: whether the stream has readers.
        writer: name of this server.
        client: the client application.
    """

    def __init__(
        self,
        redis: Redis,
        shards: Shards,
        settings: Settings,
        writer: str,
        client: str = DEFAULT_CLIENT,
    ) -> None:
        self._client = client
        self._redis: Any = redis
        self._shards = shards
        self._events_max = None if settings.reader_groups else settings.events_max_entries
        self._writer = writer

    def of(self, client: str) -> "Changes":
        """Return the changes for another client."""
        one = copy.copy(self)
        one._client = client  # noqa: SLF001 - a copy of its own
        return one

    async def make(
        self,
        connection: Any,
        kind: EventKind,
        user: str,
        *,
        at_ms: int,
        room: str = "",
        notification: str = "",
        created_ms: int | None = None,
    ) -> None:
        """Write the event and change the database.

        Args:
            connection: of asyncpg.
            kind: as `Change` has it.
            user: the user that changes.
            at_ms: Unix time in milliseconds; `kind` says of what.
            room: which room, if any.
            notification: which notification, if any; the user's sockets are notified of the change.
            created_ms: when that was created (Unix ms).

        Raises:
            redis.exceptions.RedisError: the outcome is unknown; repeating is harmless.
            asyncpg.PostgresError, OSError, TimeoutError: the change comes with the history writer.
        """
        body = Changed(user, format_time(at_ms), room)
        if created_ms is not None:
            body.id, body.created_at = notification, format_time(created_ms)
        own = scoped(user_channel(user), self._client)
        fields = {
            "k": str(kind),
            "c": scoped(room_channel(room), self._client) if room else own,
            "w": self._writer,
            "p": encode(body),
        }
        keys = self._shards.of(own)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(keys.events, fields, maxlen=self._events_max)
            if notification:
                frame = encode({"type": str(kind), "userId": user, "ids": [notification]})
                pipe.publish(keys.pub(own), SIGNAL + b"\n" + frame)
            if kind is EventKind.UNREAD:
                # After this, reading it again is not a repeat.
                pipe.zrem(keys.reads(scoped(user, self._client)), notification)
            if kind is EventKind.USER_DELETED:
                name = scoped(user, self._client)
                # The position stays: if offsets started again, clients would take them for known.
                pipe.delete(keys.log_prefix + own, keys.inbox(name), keys.unread(name))
                pipe.delete(keys.reads(name), keys.acks(name))
                pipe.zrem(keys.sights, name)
                pipe.publish(keys.pub(own), SIGNAL + CLOSE_DELETED + b"\n")
            entry, *_ = await pipe.execute()
        change = Change(kind, user, room, at_ms, entry.decode(), notification, created_ms)
        await apply(connection, self._client, change)
