"""Receipts: that a user got or read a notification. Each is an event, whoever brings it."""

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from common.events import EventKind
from common.jobs import format_time
from common.keys import Keys
from common.names import DEFAULT_CLIENT, scoped, user_channel
from common.scripts import Argument, Script
from common.settings import Settings

IDS_MAX: Final = 1_000
"""Most notifications that one call reports."""
READS_MAX: Final = 1_000
"""Reads of a user that are remembered until the history writer has surely written them."""
READS_KEPT_S: Final = 86_400
_encode: Final = msgspec.json.Encoder().encode


class Receipts:
    """Writes receipts to the event stream.

    Args:
        redis: where it is.
        keys: of the shard.
        settings: whether the stream has readers.
        writer: name of this gateway or server.
    """

    def __init__(self, redis: Redis, keys: Keys, settings: Settings, writer: str) -> None:
        # redis-py does not type this one call.
        self._redis: Any = redis
        self._keys = keys
        self._writer = writer
        self._events_max: Argument = "" if settings.reader_groups else settings.events_max_entries
        self.script = Script("receipt")

    async def record(
        self,
        kind: EventKind,
        user: str,
        notifications: Sequence[str],
        *,
        connection: str = "",
        client: str = DEFAULT_CLIENT,
    ) -> None:
        """Write one receipt per notification, all in one step.

        What was read is also told to the user's connections, but the one that it came from; it
        leaves the cache of unread notifications in the same step.

        Args:
            kind: `DELIVERED` or `READ`.
            user: whose receipt it is.
            notifications: their ids, `IDS_MAX` at most.
            connection: id of the connection that it came from, if any.
            client: the client application that the user belongs to.

        Raises:
            redis.exceptions.RedisError: refused, or the outcome is unknown; repeating is harmless.
        """
        words = self.command(kind, user, notifications, connection=connection, client=client)
        try:
            await self._redis.execute_command(*words)
        except NoScriptError:
            await self._redis.script_load(self.script.text)
            await self._redis.execute_command(*words)

    def command(
        self,
        kind: EventKind,
        user: str,
        notifications: Sequence[str],
        *,
        connection: str = "",
        client: str = DEFAULT_CLIENT,
    ) -> list[Argument]:
        """Return the command that `record` sends, for a caller who sends several together."""
        channel = scoped(user_channel(user), client)
        signal = b""
        if kind is EventKind.READ:
            frame = _encode({"type": "read", "userId": user, "ids": notifications})
            signal = b"! %b\n%b" % (connection.encode(), frame)
        at_ms = time.time_ns() // 1_000_000
        at = format_time(at_ms)
        user_scoped = scoped(user, client)
        args: list[Argument] = [
            self._events_max,
            self._writer,
            str(kind),
            channel,
            self._keys.pub(channel),
            self._keys.unread(user_scoped),
            signal,
            self._keys.reads(user_scoped),
            self._keys.changes(user_scoped),
            at_ms if kind is EventKind.READ else "",
            READS_MAX,
            READS_KEPT_S,
        ]
        for notification in notifications:
            args += (notification, _encode({"id": notification, "userId": user, "at": at}))
        return ["EVALSHA", self.script.sha, 1, self._keys.events, *args]
