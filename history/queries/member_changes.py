"""Changes of users, memberships and of what was read through: the one way to write them."""

from typing import Any, NamedTuple

from common.events.event import EventKind
from common.model.timestamps import from_unix_ms


class Change(NamedTuple):
    """Event that changes existing rows rather than only adding new ones.

    Attributes:
        kind: `USER`, `USER_DELETED`, `MEMBER_JOINED`, `MEMBER_LEFT`, `READ_ALL`, `ARCHIVED`,
            `UNARCHIVED` or `UNREAD`.
        user: id of the user that changes.
        room: which room, or ''.
        at_ms: Unix time in milliseconds of `kind`'s meaning (`common.events.event`).
        event: id of the event in the stream.
        notification: which one, or ''.
        created_ms: when that was created.
    """

    kind: EventKind
    user: str
    room: str
    at_ms: int
    event: str
    notification: str = ""
    created_ms: int | None = None


async def apply(connection: Any, client: str, change: Change) -> None:
    """Make a change, by one statement. Nothing happens if it, or a later one, was made already."""
    milliseconds, _, number = change.event.partition("-")
    await connection.execute(
        """
        INSERT INTO changes
            (client, kind, user_id, room, at, event_ms, event_number, notification, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        """,
        client,
        str(change.kind),
        change.user,
        change.room,
        from_unix_ms(change.at_ms),
        int(milliseconds),
        int(number),
        change.notification,
        None if change.created_ms is None else from_unix_ms(change.created_ms),
    )
