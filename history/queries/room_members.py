"""Members of rooms. A member's inbox has what the room was sent since they joined."""

from typing import Any, NamedTuple

from common.model.timestamps import from_unix_ms, unix_ms


class RoomMember(NamedTuple):
    """A member of a room, and when they joined (Unix ms)."""

    user: str
    joined_ms: int


async def members(
    connection: Any, client: str, room: str, *, after: RoomMember | None, limit: int
) -> list[RoomMember]:
    """Members in the order in which they joined, `limit` at most."""
    rows = await connection.fetch(
        """
        SELECT user_id, joined_at FROM room_members
        WHERE client = $1 AND room = $2 AND joined_at IS NOT NULL
            AND (joined_at, user_id) > ($3, $4)
        ORDER BY joined_at, user_id LIMIT $5
        """,
        client,
        room,
        from_unix_ms(after.joined_ms if after else -62_000_000_000_000),
        after.user if after else "",
        limit,
    )
    return [RoomMember(row["user_id"], unix_ms(row["joined_at"])) for row in rows]
