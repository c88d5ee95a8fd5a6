"""Receipts: events that record that a user received or read a notification."""

import time
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from common.config.settings import Settings
from common.events.event import EventKind
from common.events.payloads import UserReceipt, encode
from common.model.channels import DEFAULT_CLIENT, scoped, user_channel
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.timestamps import format_time
from common.redis.scripts import Argument, Script
from common.redis.shards import Shards

IDS_MAX: Final = 1_000
"""Most notifications in one call."""
READS_MAX: Final = 1_000
"""Reads of a user that are remembered until the history writer has surely written them."""
READS_KEPT_S: Final = 86_400
ACKS_MAX: Final = 1_000
"""Deliveries of a user that are remembered, so that a repeat writes no event."""
ACKS_KEPT_S: Final = 3_600
SHARE: Final = 0.5
"""Share of `EVENTS_BOUND` past which receipts are refused: the rest is for notifications."""
FILLING: Final = -1
"""Reply of the script: the event stream is filling, and nothing was written."""
RETRY_AFTER_S: Final = 10


class Receipts:
    """Writer of receipts to the event stream.

    Args:
        redis: where it is.
        shards: makes its keys.
        settings: whether the stream has readers.
        writer: name of this gateway or server.
    """

    def __init__(self, redis: Redis, shards: Shards, settings: Settings, writer: str) -> None:
        # redis-py does not type this one call.
        self._redis: Any = redis
        self._shards = shards
        self._writer = writer
        kept = bool(settings.reader_groups)
        self._events_max: Argument = "" if kept else settings.events_max_entries
        self._bound: Argument = max(1, int(settings.events_bound * SHARE)) if kept else ""
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

        The user's other connections are notified of what was read, and it leaves the cache of
        unread notifications in the same step.

        Args:
            kind: `DELIVERED` or `READ`.
            user: whose receipt it is.
            notifications: their ids, `IDS_MAX` at most.
            connection: id of the connection that it came from, if any.
            client: the client application that the user belongs to.

        Receipts among the last `READS_MAX` or `ACKS_MAX` are not written again.

        Raises:
            Problem: 503; the event stream is filling, and nothing was written.
            redis.exceptions.RedisError: refused, or the outcome is unknown; repeating is harmless.
        """
        words = self.command(kind, user, notifications, connection=connection, client=client)
        try:
            written = await self._redis.execute_command(*words)
        except NoScriptError:
            await self._redis.script_load(self.script.text)
            written = await self._redis.execute_command(*words)
        if written == FILLING:
            raise Problem(
                ProblemCode.EVENTS_FILLING,
                "the readers of the event stream are behind, and notifications come first; "
                "try again later",
                retry_after_s=RETRY_AFTER_S,
            )

    def command(
        self,
        kind: EventKind,
        user: str,
        notifications: Sequence[str],
        *,
        connection: str = "",
        client: str = DEFAULT_CLIENT,
    ) -> list[Argument]:
        """Return the command that `record` sends, for a caller that sends several together."""
        channel = scoped(user_channel(user), client)
        signal = b""
        marks = kind is EventKind.READ
        if marks:
            frame = encode({"type": "read", "userId": user, "ids": notifications})
            signal = b"! %b\n%b" % (connection.encode(), frame)
        at_ms = time.time_ns() // 1_000_000
        at = format_time(at_ms)
        keys, user_scoped = self._shards.of(channel), scoped(user, client)
        args: list[Argument] = [
            self._events_max,
            self._writer,
            str(kind),
            channel,
            keys.pub(channel),
            keys.unread(user_scoped),
            signal,
            keys.reads(user_scoped) if marks else keys.acks(user_scoped),
            keys.changes(user_scoped),
            at_ms,
            READS_MAX if marks else ACKS_MAX,
            READS_KEPT_S if marks else ACKS_KEPT_S,
            int(marks),
            self._bound,
        ]
        for notification in notifications:
            args += (notification, encode(UserReceipt(notification, user, at)))
        return ["EVALSHA", self.script.sha, 1, keys.events, *args]
