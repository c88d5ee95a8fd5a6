"""Usage, connections and quota shown by `GET /clients/me`."""

import time
from typing import Annotated, Final, NamedTuple

from msgspec import Meta
from redis.asyncio import Redis

from common.accounting.connection_counts import ConnectionCounts
from common.accounting.usage import Outcome, last_days, read_usage
from common.auth.principal import Principal
from common.errors import REDIS_ERRORS
from common.model.problem_codes import ProblemCode
from common.redis.keys import GlobalKeys
from server.access.client_limits import Limiter
from server.web.answers import JsonModel, away

DAYS: Final = 30


class OwnClientUsageItem(JsonModel):
    """Usage of one UTC day."""

    day: Annotated[str, Meta(extra_json_schema={"format": "date"})]
    accepted: Annotated[int, Meta(description="Notifications that were queued.")]
    published: Annotated[int, Meta(description="Publications: for three rooms, three.")]
    delivered: Annotated[int, Meta(description="Writes to sockets.")]
    failed: Annotated[int, Meta(description="Jobs that expired, or that no worker survived.")]


class OwnClientQuota(JsonModel):
    """Notifications of today (UTC)."""

    limit: int
    left: int


class UsageNow(NamedTuple):
    """Usage by day (newest first), current connections and today's quota of a client."""

    days: list[OwnClientUsageItem]
    connections: int
    quota: OwnClientQuota


class UsageReport:
    """Reader of usage, connections and quota.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
        limiter: has the quotas.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys, limiter: Limiter) -> None:
        self._redis = redis
        self._keys = keys
        self._connections = ConnectionCounts(redis, keys)
        self._limiter = limiter

    async def of(self, principal: Principal) -> UsageNow:
        """Read usage by day (newest first), current connections and today's quota.

        Raises:
            Problem: 503; Redis does not answer.
        """
        client, counters = principal.client, self._limiter.of(principal)
        try:
            days = await read_usage(self._redis, self._keys, client, last_days(DAYS, time.time()))
            connections = (await self._connections.read())[client]
            left = await counters.notifications.look() if counters else 0
        except REDIS_ERRORS:
            raise away(ProblemCode.REDIS_AWAY, "Redis does not answer; repeat") from None
        return UsageNow(
            days=[
                OwnClientUsageItem(
                    day=day,
                    accepted=counts[Outcome.ACCEPTED],
                    published=counts[Outcome.PUBLISHED],
                    delivered=counts[Outcome.DELIVERED],
                    failed=counts[Outcome.FAILED],
                )
                for day, counts in days.items()
            ],
            connections=connections,
            quota=OwnClientQuota(limit=counters.notifications.limit if counters else 0, left=left),
        )
