"""Events: entries of the stream `rc:{s}:events`, and their parser.

Every publication and every receipt is an entry, written in the same atomic step. Readers are
consumer groups (`common.events.group_reader`). Fields of an entry: `k` kind, `c` scoped channel,
`w` writer (a worker or a gateway), `p` JSON text, `x` more JSON that clients don't receive, or
absent.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

EVENT_FIELDS: Final = [b"k", b"c", b"w", b"p", b"x"]
"""Fields of an entry, in the order in which scripts write them; receipts have no `x`."""


class EventKind(StrEnum):
    """Kind of an event, which decides the text of its entry."""

    PUBLISHED = "published"
    """`p` is the frame that clients received; `x` may be `{"email"}`."""
    EXPIRED = "expired"
    """A job expired unsent: `p` is `{"id", "userId", "priority", "createdAt"}`."""
    DEAD = "dead"
    """A text went to the dead letters: `p` is the text (a job or other), `x` is the reason as
    plain text; `c` is empty."""
    DELIVERED = "delivered"
    """A user's receipt: `p` is `{"id", "userId", "at"}`; `c` is the user's channel."""
    READ = "read"
    """A user's receipt, as `DELIVERED`."""
    WRITTEN = "written"
    """A gateway counted the sockets that it wrote runs of publications to.

    `p` is `{"gateway", "epoch", "runs": [[first offset, last offset, sockets], …], "at"}`.
    """
    MIRRORED = "mirrored"
    """The positions of publications in Kafka; written by the bridge, and itself not mirrored.

    `p` is `{"topic", "at", "firstMs", "lastMs", "entries": [[scoped channel, epoch, offset,
    partition, kafka offset], …]}`; `c` is empty. The publications were written to the event stream
    between the two times (Unix, in milliseconds).
    """
    USER = "user"
    """A user was registered: `p` is `{"userId", "at"}`; `c` is the user's channel."""
    MEMBER_JOINED = "member-joined"
    """A user joined a room: `p` is `{"userId", "room", "at"}`; `c` is the room's channel. Somebody
    who is a member already keeps the time at which they joined."""
    MEMBER_LEFT = "member-left"
    """A user left a room, as `MEMBER_JOINED`."""
    READ_ALL = "read-all"
    """A user read everything published until `at`, by Redis's clock; as `USER`."""
    ARCHIVED = "archived"
    """A user archived a notification: `p` is `{"userId", "id", "createdAt", "at"}`, with the time
    the notification was created; `c` is the user's channel. The last one in the stream counts."""
    UNARCHIVED = "unarchived"
    """A user unarchived a notification, as `ARCHIVED`."""
    UNREAD = "unread"
    """A user marked a notification unread, as `ARCHIVED`: receipts before `at` do not count."""
    SEEN = "seen"
    """Users connected to a gateway and had no recent sight: `p` is `{"users": [[user, Unix ms],
    …]}`, by Redis's clock; `c` is their client's broadcast channel. Broadcasts count for each of
    them from then on, or from an earlier sight."""
    USER_DELETED = "user-deleted"
    """A user was deleted, with all their data until `at`; as `USER`."""
    AUDIT = "audit"
    """An action on a client application: `p` is `{"number", "at", "action", "subject",
    "client", "key", "details"}`, `c` the subject and a slash. It is a copy of a row that
    PostgreSQL stored with the action."""

    DROPPED = "dropped"
    """A reader was too far behind, and entries were dropped: `p` is `{"reader", "count",
    "after", "before", "sinceMs"}`. It never got about `count` entries of the stream, between the
    ids `after` and `before`. `c` is empty."""


class Event(NamedTuple):
    """One entry of the stream. `id` is its id there, `<Unix ms>-<number>`."""

    id: str
    kind: str
    channel: str
    writer: str
    text: bytes
    extra: bytes

    @property
    def at_ms(self) -> int:
        """Unix time in milliseconds at which it was written, by Redis's clock."""
        return int(self.id.partition("-")[0])


def parse_event(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """Read an entry as redis-py returns it.

    Raises:
        KeyError, UnicodeDecodeError: it is not an entry of this stream.
    """
    return Event(
        entry_id.decode(),
        fields[b"k"].decode(),
        fields[b"c"].decode(),
        fields.get(b"w", b"").decode(),
        fields[b"p"],
        fields.get(b"x", b""),
    )
