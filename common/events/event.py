"""Events: entries of the stream `rc:{s}:events`, and their parser.

Every publication and every receipt is an entry, written in the same atomic step. Readers are
consumer groups (`common.events.group_reader`). Fields of an entry: `k` kind, `c` scoped channel,
`w` writer (a worker or a gateway), `p` JSON text, `x` more JSON that sockets don't receive, or
absent.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

EVENT_FIELDS: Final = [b"k", b"c", b"w", b"p", b"x"]
"""Fields of an entry, in the order in which scripts write them; receipts have no `x`."""


class EventKind(StrEnum):
    """Kind of an event, and the `type` of the CloudEvent that is made of it, if any.

    `common.events.payloads` has the texts. A new kind is declared here and there; if it makes rows,
    `history.writing.rows` reads it.
    """

    cloud_type: str
    """Empty: it is not mirrored to Kafka."""

    def __new__(cls, value: str, cloud_type: str = "") -> "EventKind":
        """Make a member."""
        kind = str.__new__(cls, value)
        kind._value_ = value
        kind.cloud_type = cloud_type
        return kind

    PUBLISHED = "published", "roomcast.notification.published"
    """`p` is the frame that sockets received; `x` may be `{"email"}`."""
    EXPIRED = "expired", "roomcast.notification.expired"
    """A job expired unsent."""
    DEAD = "dead", "roomcast.notification.dead"
    """A text went to the dead letters: `p` is the text (a job or other), `x` is the reason as
    plain text; `c` is empty."""
    DELIVERED = "delivered", "roomcast.receipt.delivered"
    """A user's receipt; `c` is the user's channel."""
    READ = "read", "roomcast.receipt.read"
    """A user's receipt, as `DELIVERED`."""
    WRITTEN = "written", "roomcast.gateway.written"
    """A gateway counted the sockets that it wrote runs of publications to."""
    MIRRORED = "mirrored"
    """The positions of publications in Kafka; written by the bridge, and itself not mirrored.

    Its entries are `[scoped channel, epoch, offset, partition, kafka offset]`; `c` is empty. The
    publications were written to the event stream between its two times (Unix, in milliseconds).
    """
    USER = "user", "roomcast.user.added"
    """A user was registered; `c` is the user's channel."""
    MEMBER_JOINED = "member-joined", "roomcast.room.member-joined"
    """A user joined a room; `c` is the room's channel. Somebody who is a member already keeps the
    time at which they joined."""
    MEMBER_LEFT = "member-left", "roomcast.room.member-left"
    """A user left a room, as `MEMBER_JOINED`."""
    READ_ALL = "read-all", "roomcast.receipt.read-all"
    """A user read everything published until `at`, by Redis's clock; as `USER`."""
    ARCHIVED = "archived", "roomcast.receipt.archived"
    """A user archived a notification; `c` is the user's channel. The last one in the stream
    counts."""
    UNARCHIVED = "unarchived", "roomcast.receipt.unarchived"
    """A user unarchived a notification, as `ARCHIVED`."""
    UNREAD = "unread", "roomcast.receipt.unread"
    """A user marked a notification unread, as `ARCHIVED`: receipts before `at` do not count."""
    SEEN = "seen", "roomcast.user.seen"
    """Users connected to a gateway and had no recent sight, by Redis's clock; `c` is their client's
    broadcast channel. Broadcasts count for each of them from then on, or from an earlier sight."""
    USER_DELETED = "user-deleted", "roomcast.user.deleted"
    """A user was deleted, with all their data until `at`; as `USER`."""
    AUDIT = "audit", "roomcast.audit"
    """An action on a client application; `c` is the subject and a slash. It is a copy of a row that
    PostgreSQL stored with the action."""

    DROPPED = "dropped", "roomcast.events.dropped"
    """A reader was too far behind, and entries were dropped that it never got. `c` is empty."""


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


def stream_order(event: Event) -> tuple[int, int]:
    """Return the position of an event in the stream."""
    milliseconds, _, number = event.id.partition("-")
    return int(milliseconds), int(number)


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
