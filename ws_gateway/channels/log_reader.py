"""Reads channel positions and logs from Redis. A pure reader: it may repeat what it asks."""

import logging
import secrets
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis

from common.model.publication import Position, Publication, parse_publication
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from ws_gateway import metrics

log = logging.getLogger("roomcast.gateway")

REPLAY_MAX_ENTRIES: Final = 500
REPLAY_MAX_BYTES: Final = 1024 * 1024


class Replay(NamedTuple):
    """Publications after a position, as read from a log.

    `now` is the channel's position; `exact` tells whether the publications follow on the position
    asked for without a hole. An exact replay may stop short of `now`: ask again.
    """

    now: Position
    exact: bool
    publications: list[Publication]


class Standing(NamedTuple):
    """Position of a channel, and its previous epoch (empty: none is known)."""

    position: Position
    before: str


class LogReader:
    """Positions and logs of one Redis."""

    def __init__(self, redis: Redis, keys: ShardKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._positions = Script("positions")
        self._replay = Script("replay")

    async def positions(self, names: Sequence[str], *, to_begin: bool = False) -> list[Standing]:
        """Return the positions of scoped channels, in order.

        Args:
            names: the channels.
            to_begin: whether somebody is going to begin there. A channel of which Redis has
                forgotten everything then begins in an epoch of its own; otherwise it looks like one
                in which nothing was published.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        keys = self._keys
        reply = await self._positions(
            self._redis,
            [keys.epoch],
            [
                keys.channel_prefix,
                keys.log_prefix,
                secrets.token_hex(4),
                int(to_begin),
                *names,
            ],
        )
        return [
            # Nearly all channels are in the same epoch, and remember it.
            Standing(Position(sys.intern(epoch.decode()), int(offset)), before.decode())
            for epoch, offset, before in zip(reply[::3], reply[1::3], reply[2::3], strict=True)
        ]

    async def replay(self, name: str, after: Position, max_bytes: int = REPLAY_MAX_BYTES) -> Replay:
        """Read the publications of a scoped channel after a position.

        Args:
            name: the channel.
            after: the position.
            max_bytes: past which the rest is for another call.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        keys = self._keys
        epoch, offset, exact, entries = await self._replay(
            self._redis,
            [keys.epoch],
            [
                keys.channel_prefix,
                keys.log_prefix,
                secrets.token_hex(4),
                name,
                after.epoch,
                after.offset,
                REPLAY_MAX_ENTRIES,
                max_bytes,
                keys.content_prefix,
            ],
        )
        publications, whole = _parse(entries)
        if not whole:
            log.error(
                "a channel's log in redis was changed or cut by somebody else",
                extra={"channel": name},
            )
        return Replay(Position(epoch.decode(), int(offset)), bool(exact) and whole, publications)


def _parse(entries: Sequence[bytes]) -> tuple[list[Publication], bool]:
    """Publications behind the last hole among the entries of a log, and whether there was none.

    Somebody who writes to Redis by hand can make one.
    """
    found: list[Publication] = []
    whole = True
    for entry in entries:
        try:
            publication = parse_publication(entry)
        except (ValueError, UnicodeDecodeError):
            metrics.malformed.inc()
            found, whole = [], False
            continue
        if found and publication.offset != found[-1].offset + 1:
            found, whole = [], False
        found.append(publication)
    return found, whole
