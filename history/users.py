"""Users that were made known over HTTP."""

from datetime import datetime
from typing import Any


async def find_user(connection: Any, client: str, user: str) -> datetime | None:
    """When a user was made known, or None."""
    created: datetime | None = await connection.fetchval(
        "SELECT created_at FROM users WHERE client = $1 AND id = $2", client, user
    )
    return created
