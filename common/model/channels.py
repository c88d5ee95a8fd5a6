"""Lanes, channels and partitions: the names that everything else is keyed by."""

import zlib
from enum import StrEnum
from typing import Final

DEFAULT_CLIENT: Final = "default"
"""Client application of senders without credentials: open mode, and jobs pushed by hand."""

HISTORY_GROUP: Final = "history"
"""Name of the history writer among the readers of the event stream, as in `EVENT_READERS`."""

KAFKA_GROUP: Final = "kafka"
"""Name of the Kafka bridge there."""

PARTITIONS: Final = 64
"""Job lists per lane. Fixed: changing it while jobs wait would break their order."""


class Lane(StrEnum):
    """One priority; each has its own lists and its own loops in every worker."""

    CRITICAL = "critical"
    HIGH = "high"
    LOW = "low"


class Kind(StrEnum):
    """Kind of a notification: for users, for rooms, or for everybody."""

    PRIVATE = "private"
    ROOM = "room"
    BROADCAST = "broadcast"


BROADCAST_CHANNEL: Final = "broadcast"


def user_channel(user: str) -> str:
    """Return the channel of one user's private notifications, for instance `user:1`."""
    return f"user:{user}"


def room_channel(room: str) -> str:
    """Return the channel of one room, for instance `room:1`."""
    return f"room:{room}"


_KINDS: Final = {"user": Kind.PRIVATE, "room": Kind.ROOM}


def channel_of(kind: str, target: str | None) -> str:
    """Return the channel for a notification of `kind` to `target` (None for a broadcast)."""
    if kind == Kind.PRIVATE:
        return f"user:{target}"
    if kind == Kind.ROOM:
        return f"room:{target}"
    return BROADCAST_CHANNEL


def kind_and_target(channel: str) -> tuple[Kind, str | None]:
    """Split a channel into the kind and target that `channel_of` made it from.

    Raises:
        ValueError: `channel_of` makes no such channel.
    """
    head, colon, target = channel.partition(":")
    if colon and head in _KINDS:
        return _KINDS[head], target
    if channel == BROADCAST_CHANNEL:
        return Kind.BROADCAST, None
    raise ValueError(f"no channel: {channel[:200]!r}")


def scoped(channel: str, client: str = DEFAULT_CLIENT) -> str:
    """Return the name of a client's channel in keys, for instance `default/room:1`."""
    return f"{client}/{channel}"


def client_of(scoped_name: str) -> str:
    """Return the client application that a scoped name belongs to."""
    return scoped_name.partition("/")[0]


def partition_of(scoped_channel: str) -> int:
    """Return the partition (0 to `PARTITIONS` - 1) in which a channel's jobs wait, in order."""
    return zlib.crc32(scoped_channel.encode()) % PARTITIONS
