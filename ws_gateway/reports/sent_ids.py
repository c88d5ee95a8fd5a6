"""Knows which notifications the users of a gateway were sent, so that only those get receipts.

What the fan-out and the replays of this gateway send is remembered by id, for as long as there is
room, from the first receipt on: a gateway whose connections report nothing remembers nothing. What
is not remembered is looked for in Redis: among what the user was known to have, and in the logs of
the connection's channels. Such looks are bounded in size and number.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from redis.asyncio import Redis

from common.model.channels import scoped
from common.model.publication import Publication
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.member import Member
from ws_gateway.channels.pending import Pending
from ws_gateway.protocol.notification_id import notification_id
from ws_gateway.reports.receipt_limits import Buckets

REMEMBERED: Final = 50_000
"""Notifications that are remembered at least, and twice as many at most."""
LOOKS_PER_S: Final = 20
LOOKS_BURST: Final = 200
"""Looks into Redis of one gateway process."""
USER_LOOKS_PER_S: Final = 1
USER_LOOKS_BURST: Final = 20
"""Looks into Redis for one user."""
LOOK_MAX_ENTRIES: Final = 1_000
LOOK_MAX_BYTES: Final = 256 * 1024
"""Entries and bytes of logs that one look goes through, about."""


class SentIds:
    """Notifications that were sent, by channel.

    Args:
        redis: where the logs are.
        keys: of the shard.
        channels: of this gateway, by scoped name.
    """

    def __init__(self, redis: Redis, keys: ShardKeys, channels: Mapping[str, Channel]) -> None:
        self._redis = redis
        self._keys = keys
        self._channels = channels
        self._script = Script("was_sent")
        self._is_on = False
        self._now: dict[str, set[str] | str] = {}
        self._before: dict[str, set[str] | str] = {}
        self._looks = Buckets(LOOKS_PER_S, LOOKS_BURST)
        self._user_looks = Buckets(USER_LOOKS_PER_S, USER_LOOKS_BURST)

    def __len__(self) -> int:
        """Approximate number of remembered notifications."""
        return len(self._now) + len(self._before)

    def note(self, channel: Channel, items: list[Pending], written: int) -> None:
        """Remember what was written to so many sockets."""
        if self._is_on and written:
            for item in items:
                if not item.is_reset:
                    self._remember(notification_id(item.text), channel.name)

    def note_read(self, name: str, publications: Iterable[Publication]) -> None:
        """Remember what was read of a channel's log, to be replayed."""
        if self._is_on:
            for publication in publications:
                self._remember(notification_id(publication.text), name)

    def unknown(self, connection: Member, ids: Sequence[str]) -> list[str]:
        """Return those ids that are not known to have been sent to a connection's channels."""
        self._is_on = True
        return [one for one in ids if not self._knows(connection, one)]

    def may_look(self, client: str, user: str) -> bool:
        """Count one look into Redis, and return whether it may be made."""
        name, now = f"{client}/{user}", time.monotonic()
        if not self._user_looks.fits(name, 1, now) or not self._looks.fits("", 1, now):
            return False
        self._user_looks.take(name, 1, now)
        self._looks.take("", 1, now)
        return True

    async def look(
        self, client: str, user: str, ids: Sequence[str], channels: Sequence[str]
    ) -> set[str]:
        """Look for ids in Redis.

        Args:
            client: the client application that the user belongs to.
            user: whose receipts they are.
            ids: of notifications.
            channels: scoped names of what the connection hears.

        Returns:
            Those that the user was sent.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        keys, name = self._keys, scoped(user, client)
        found, seen = await self._script(
            self._redis,
            [keys.unread(name), keys.reads(name), keys.acks(name)],
            [keys.log_prefix, LOOK_MAX_ENTRIES, LOOK_MAX_BYTES, len(ids), *ids, *channels],
        )
        # What else was sent there is likely to be reported next.
        for channel, others in zip(channels, seen, strict=True):
            for one in others:
                self._remember(one.decode(), channel)
        return {one.decode() for one in found}

    def _knows(self, connection: Member, an_id: str) -> bool:
        for known in (self._now, self._before):
            names = known.get(an_id, ())
            for name in (names,) if isinstance(names, str) else names:
                channel = self._channels.get(name)
                if channel is not None and connection in channel.members:
                    return True
        return False

    def _remember(self, an_id: str, name: str) -> None:
        names = self._now.get(an_id)
        if names is None:
            if len(self._now) >= REMEMBERED:
                self._before, self._now = self._now, {}
            self._now[an_id] = name
        elif isinstance(names, set):
            names.add(name)
        elif names != name:
            self._now[an_id] = {names, name}
