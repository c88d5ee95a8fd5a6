"""Usage: outcomes of each client's notifications per UTC day, counted by every process.

Counts are gathered in memory and added to the metrics and to Redis once a second. Counts that Redis
does not take are kept for the next write. Guarantee: a process that dies loses at most the counts
since its last write; a write whose reply was lost may count twice. History has exact numbers.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import prometheus_client
from redis.asyncio import Redis

from common.errors import REDIS_ERRORS
from common.model.channels import DEFAULT_CLIENT
from common.process.periodic import every
from common.redis.keys import GlobalKeys
from common.telemetry.outage import redis_outage

log = logging.getLogger("roomcast.usage")

INTERVAL_S: Final = 1.0
KEPT_DAYS: Final = 40
COUNTS_MAX: Final = 100_000
"""Most counts (by client, day and outcome) that wait for Redis; past it, new ones are dropped."""
SHOWN_MAX: Final = 1_000
"""Most clients with metrics of their own in this process; the rest are summed as `other`."""
_AT_ONCE: Final = 1_000
_DAY_S: Final = 86_400


client_notifications = prometheus_client.Counter(
    "roomcast_client_notifications_total",
    "What became of each client's notifications",
    ["client", "outcome"],
)


class Outcome(StrEnum):
    """Outcome of a notification, as usage counts it."""

    ACCEPTED = "accepted"
    """Notifications that were queued."""
    PUBLISHED = "published"
    """Publications: a notification for three rooms has three."""
    DELIVERED = "delivered"
    """Writes to sockets: a publication that ten sockets received has ten."""
    FAILED = "failed"
    """Jobs that expired before they were published, or became dead letters."""


Source = Callable[[], Iterable[tuple[str, Outcome, int]]]


class Usage:
    """Counters that are written once a second. Open mode's client `default` is not counted.

    Args:
        redis: a client with a short timeout.
        keys: those of no shard.
        sources: called before each write for more counts since their last call, as client,
            outcome and count. They serve hot paths, where a call of `add` each would cost too much.
    """

    def __init__(self, redis: Redis, keys: GlobalKeys, *sources: Source) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._sources = sources
        self._now: Counter[tuple[str, Outcome]] = Counter()
        self._kept: Counter[tuple[str, str, Outcome]] = Counter()
        self._shown: set[str] = set()

    def add(self, client: str, outcome: Outcome, count: int = 1) -> None:
        """Add to the count of one client."""
        if count and client not in ("", DEFAULT_CLIENT):
            self._now[client, outcome] += count

    def add_all(self, counts: Mapping[str, int], outcome: Outcome) -> None:
        """Add to the counts of several clients."""
        for client, count in counts.items():
            self.add(client, outcome, count)

    async def run(self) -> None:
        """Write, until cancelled."""
        await every(INTERVAL_S, self.write, waits_first=True)

    async def write(self) -> None:
        """Add the counts to Redis; keep those that it does not take."""
        for source in self._sources:
            for client, outcome, count in source():
                self.add(client, outcome, count)
        self._keep(day_of(time.time()))
        try:
            while self._kept:
                some = dict(islice(self._kept.items(), _AT_ONCE))
                async with self._redis.pipeline(transaction=True) as pipeline:
                    for (client, day, outcome), count in some.items():
                        pipeline.hincrby(self._keys.usage(client, day), str(outcome), count)
                    for client, day in {(client, day) for client, day, _ in some}:
                        pipeline.expire(self._keys.usage(client, day), KEPT_DAYS * _DAY_S)
                    await pipeline.execute()
                for key in some:
                    del self._kept[key]
            redis_outage.back("usage")
        except REDIS_ERRORS as error:
            redis_outage.lost("usage", error)

    def _keep(self, day: str) -> None:
        now, self._now = self._now, Counter()
        dropped = 0
        for (client, outcome), count in now.items():
            client_notifications.labels(self._label(client), str(outcome)).inc(count)
            key = client, day, outcome
            if len(self._kept) >= COUNTS_MAX and key not in self._kept:
                dropped += count
            else:
                self._kept[key] += count
        if dropped:
            log.error(
                "counts of usage were dropped: redis took none for too long",
                extra={"count": dropped},
            )

    def _label(self, client: str) -> str:
        if client not in self._shown:
            if len(self._shown) >= SHOWN_MAX:
                return "other"
            self._shown.add(client)
        return client


def day_of(unix_s: float) -> str:
    """Return the UTC day of a Unix time, such as `2026-11-21`."""
    return datetime.fromtimestamp(unix_s, UTC).date().isoformat()


def last_days(count: int, unix_s: float) -> list[str]:
    """Return `count` UTC days, newest first, ending with the day of a Unix time."""
    today = datetime.fromtimestamp(unix_s, UTC).date()
    return [(today - timedelta(days=back)).isoformat() for back in range(count)]


async def read_usage(
    redis: Redis, keys: GlobalKeys, client: str, days: Iterable[str]
) -> dict[str, dict[Outcome, int]]:
    """Read a client's counts by day; a day without any has zeros.

    Raises:
        redis.exceptions.RedisError, OSError: Redis does not answer.
    """
    days = list(days)
    anyhow: Any = redis
    async with anyhow.pipeline(transaction=False) as pipeline:
        for day in days:
            pipeline.hgetall(keys.usage(client, day))
        found = await pipeline.execute()
    return {
        day: {outcome: int(counts.get(outcome.encode(), 0)) for outcome in Outcome}
        for day, counts in zip(days, found, strict=True)
    }
