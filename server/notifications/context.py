"""Context of the routes of sent notifications."""

from dataclasses import dataclass, replace

from redis.asyncio import Redis

from common.model.channels import DEFAULT_CLIENT
from common.redis.shards import Shards
from history.database import Database


@dataclass(frozen=True, slots=True)
class SentNotifications:
    """Notifications that a client sent, wherever they are.

    Args:
        database: PostgreSQL.
        redis: a client with a short timeout.
        shards: makes its keys.
        client: the client that sent them.
    """

    database: Database
    redis: Redis
    shards: Shards
    client: str = DEFAULT_CLIENT

    def of(self, client: str) -> "SentNotifications":
        """Return the notifications of another client."""
        return self if client == self.client else replace(self, client=client)
