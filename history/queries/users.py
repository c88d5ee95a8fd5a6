"""Users that were made known over HTTP, their memberships, and what is left of deleted ones."""

from datetime import datetime
from typing import Any, Final, NamedTuple

from common.model.timestamps import unix_ms

REMOVED_AT_ONCE: Final = 2_000
"""Rows of a kind that one call removes."""


class Membership(NamedTuple):
    """A room that a user is a member of, and since when (Unix ms)."""

    room: str
    joined_ms: int


async def find_user(connection: Any, client: str, user: str) -> datetime | None:
    """Return when a user was registered, or None."""
    created: datetime | None = await connection.fetchval(
        "SELECT created_at FROM users WHERE client = $1 AND id = $2", client, user
    )
    return created


async def memberships(
    connection: Any, client: str, user: str, *, after: str, limit: int
) -> list[Membership]:
    """Rooms of a user by their ids, those behind `after`, `limit` at most."""
    rows = await connection.fetch(
        """
        SELECT room, joined_at FROM room_members
        WHERE client = $1 AND user_id = $2 AND joined_at IS NOT NULL AND room > $3
        ORDER BY room LIMIT $4
        """,
        client,
        user,
        after,
        limit,
    )
    return [Membership(row["room"], unix_ms(row["joined_at"])) for row in rows]


async def remove_leftovers(
    connection: Any, client: str | None = None, user: str | None = None
) -> int:
    """Remove some of what a deleted user left; of whose turn it is, if nobody is named.

    Returns:
        How many rows were removed.
    """
    removed: int = await connection.fetchval(
        "SELECT remove_leftovers($1, $2, $3)", REMOVED_AT_ONCE, client, user
    )
    return removed
