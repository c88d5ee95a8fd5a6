"""Users that were made known over HTTP."""

from datetime import datetime
from typing import Any


async def add_user(connection: Any, client: str, user: str) -> tuple[datetime, bool]:
    """Make a user known; nothing changes if they are.

    Returns:
        When they were made known, and whether that was now.
    """
    created = await connection.fetchval(
        """
        INSERT INTO users (client, id, created_at)
        VALUES ($1, $2, date_trunc('milliseconds', now()))
        ON CONFLICT (client, id) DO NOTHING RETURNING created_at
        """,
        client,
        user,
    )
    if created is not None:
        return created, True
    known = await find_user(connection, client, user)
    assert known is not None
    return known, False


async def find_user(connection: Any, client: str, user: str) -> datetime | None:
    """When a user was made known, or None."""
    created: datetime | None = await connection.fetchval(
        "SELECT created_at FROM users WHERE client = $1 AND id = $2", client, user
    )
    return created
