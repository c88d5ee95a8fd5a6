"""Texts of events (`p` of an entry, and `x`), by kind: writers encode these, readers decode them.

Times are texts as `format_time` writes them, and `moment` reads them: a batch has few different
ones. A field with a default is one that some texts don't have, also of earlier releases. Readers
that need less than a struct has lose nothing: what is not declared is skipped over.
"""

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from common.model.channels import DEFAULT_CLIENT

_Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_UnixMs = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


@lru_cache(maxsize=1024)
def moment(text: str) -> datetime:
    """Read a time of an event.

    Raises:
        msgspec.ValidationError: it is not a time, or has no zone.
    """
    return msgspec.convert(text, _Moment)


class PublishedFrame(msgspec.Struct, rename="camel"):
    """`published`, as a worker begins it: the frame that clients receive.

    The order of these fields is the order in the text; `publish.lib.lua` goes on behind `epoch`.
    """

    type: str
    id: str
    user_id: str
    target: str | None
    message: msgspec.Raw
    data: msgspec.Raw
    priority: str
    created_at: str
    channel: str
    epoch: str = ""


class Published(msgspec.Struct, rename="camel", gc=False):
    """`published`, without message and data."""

    id: str
    type: str
    user_id: str
    priority: str
    created_at: str
    epoch: str
    offset: _Offset
    target: str | None = None


class Identified(msgspec.Struct, rename="camel", gc=False):
    """`published`, of which only the id is needed, and perhaps the time."""

    id: str
    created_at: str = ""


class PublishedExtra(msgspec.Struct, omit_defaults=True, gc=False):
    """`x` of `published`: what clients are not sent."""

    email: str = ""


class Expired(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """`expired`: a job that was too old to be sent."""

    id: str
    user_id: str = ""
    priority: str = ""
    created_at: str


class Dead(msgspec.Struct, gc=False):
    """`dead`: the part of a text in the dead letters that we read; the rest may be anything."""

    id: str = ""
    client: str = DEFAULT_CLIENT


class UserReceipt(msgspec.Struct, rename="camel", gc=False):
    """`delivered` and `read`."""

    id: str
    user_id: str
    at: str


class Written(msgspec.Struct, gc=False):
    """`written`: runs of publications, each as first offset, last offset, sockets."""

    gateway: str
    epoch: str
    runs: list[tuple[_Offset, _Offset, _Count]]
    at: str


class Mirrored(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """`mirrored`: positions in Kafka (`history.queries.kafka_positions`), of a span of Unix ms."""

    topic: str
    at: str
    first_ms: _Offset = 0
    last_ms: _Offset | None = None
    entries: msgspec.Raw


class Changed(msgspec.Struct, rename="camel", gc=False, omit_defaults=True):
    """Changes of a user, a membership or an item of an inbox.

    They are `user`, `user-deleted`, `member-joined`, `member-left`, `read-all`, `archived`,
    `unarchived` and `unread`.

    Attributes:
        user_id: whose it is.
        at: when, and for `read-all` and `user-deleted` up to when.
        room: of a membership.
        id: of a notification.
        created_at: when that was created.
    """

    user_id: str
    at: str
    room: str = ""
    id: str = ""
    created_at: str | None = None


class Seen(msgspec.Struct, gc=False):
    """`seen`: users, each with a time (Unix ms). `sight.lua` writes it."""

    users: list[tuple[str, _UnixMs]]


class Audit(msgspec.Struct, gc=False):
    """`audit`: an action on a client application."""

    number: int
    at: str
    action: str
    subject: str
    client: str
    key: str
    details: Any


class Dropped(msgspec.Struct, rename="camel", gc=False):
    """`dropped`: a hole in what a reader got. `trim.lua` writes it.

    Attributes:
        reader: who was too far behind.
        count: about how many events it never got.
        after: id of the last entry before the hole.
        before: id of the first entry after it.
        since_ms: when entries were first dropped (Unix ms).
    """

    reader: str = ""
    count: int = 0
    after: str = ""
    before: str = ""
    since_ms: int = 0


encode: Final = msgspec.json.Encoder().encode
"""Write a text."""
decode_published: Final = msgspec.json.Decoder(Published).decode
decode_identified: Final = msgspec.json.Decoder(Identified).decode
decode_extra: Final = msgspec.json.Decoder(PublishedExtra).decode
decode_expired: Final = msgspec.json.Decoder(Expired).decode
decode_dead: Final = msgspec.json.Decoder(Dead).decode
decode_receipt: Final = msgspec.json.Decoder(UserReceipt).decode
decode_written: Final = msgspec.json.Decoder(Written).decode
decode_mirrored: Final = msgspec.json.Decoder(Mirrored).decode
decode_changed: Final = msgspec.json.Decoder(Changed).decode
decode_seen: Final = msgspec.json.Decoder(Seen).decode
decode_dropped: Final = msgspec.json.Decoder(Dropped).decode
