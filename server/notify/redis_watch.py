"""Health checks of Redis for the server: it answers, takes writes, and has room."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.jobs.capacity import Capacity
from common.model.channels import Lane
from common.process.periodic import every
from common.redis.client import UnfitRedisError, check_fitness, says_full
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from common.telemetry.outage import redis_outage

log = logging.getLogger("roomcast.server")

WATCH_INTERVAL_S: Final = 1.0
_WRONG_TYPE: Final = "WRONGTYPE"
_WRONG_KEY: Final = "a key of the queue can't be used"


class RedisWatch:
    """State of Redis at the last check.

    Args:
        redis: a client with a short timeout.
        keys: of the shard.
        settings: bounds.
        tenants: returns the number of client applications that share the event stream.
    """

    def __init__(
        self, redis: Redis, keys: ShardKeys, settings: Settings, tenants: Callable[[], int]
    ) -> None:
        self._redis: Any = redis
        self._tenants = tenants
        self._events = keys.events
        self._event_clients = keys.event_clients
        self._probe_keys = [keys.write_probe, keys.waiting, keys.backlog]
        for lane in Lane:
            self._probe_keys += [keys.ready(lane), keys.active(lane)]
        self._probe = Script("probe")
        self._capacity = Capacity(settings)
        self._fsync = settings.accept_fsync
        self.trouble: str | None = "redis was not reached yet"
        self.unfit: str | None = None
        """Reason why accepted notifications could be lost; also the `trouble`."""
        self.nearly_full = False
        self.room: int | str = ""
        """Bytes that Redis may grow by; empty: any number, it has no maxmemory."""
        self.events_full = False
        """True if a reader of the event stream is so far behind that nothing may be added."""
        self.crowding: frozenset[str] = frozenset()
        """Clients with so large a part of the event stream that they may add no more."""
        self.looked = asyncio.Event()
        """Set once Redis has answered."""

    async def run(self) -> None:
        """Check once a second, until cancelled."""
        await every(WATCH_INTERVAL_S, self.look)

    async def look(self) -> None:
        """Check once."""
        try:
            info = await self._redis.info()
            events = int(await self._redis.xlen(self._events))
            counts = await self._counts(events)
            refusal = await self._refusal()
        except REDIS_ERRORS as error:
            redis_outage.lost("watch", error)
            self.trouble = f"redis does not answer: {type(error).__name__}"
            return
        redis_outage.back("watch")
        self.looked.set()
        self.unfit = self._unfitness(info)
        self._set_trouble(self.unfit or refusal)
        self._look_at_memory(info)
        self._look_at_events(events)
        self._look_at_clients(events, counts)

    async def _counts(self, events: int) -> dict[bytes, bytes]:
        """Read the entries of each client, if any client could have too many."""
        if not self._capacity.may_crowd(events) or self._tenants() < 2:
            return {}
        counts: dict[bytes, bytes] = await self._redis.hgetall(self._event_clients)
        return counts

    def _look_at_clients(self, events: int, counts: dict[bytes, bytes]) -> None:
        """Find clients whose part of the stream is as large as the rest left for everybody."""
        crowding = frozenset(
            client.decode(errors="replace")
            for client, count in counts.items()
            if count.isdigit() and self._capacity.crowds(events, int(count))
        )
        for client in crowding - self.crowding:
            log.warning(
                "a client fills the event stream; its notifications are refused",
                extra={
                    "client": client,
                    "entries": int(counts[client.encode()]),
                    "bound": self._capacity.events_bound,
                },
            )
        self.crowding = crowding

    async def _refusal(self) -> str | None:
        """Try the writes of acceptance; return None, or the reason why Redis refuses them.

        A read-only replica, too few replicas, a full disk or a user without the permissions still
        answer INFO as usual. So does a Redis in which somebody has overwritten a key of the queue.
        """
        try:
            await self._probe(self._redis, self._probe_keys, [])
        except ResponseError as error:
            if says_full(error):
                # `nearly_full` covers this.
                return None
            text = str(error)
            if text.startswith(_WRONG_TYPE):
                key = text.rpartition(" ")[2]
                return f"{_WRONG_KEY}: {key} is of another type than it has to be; delete it"
            return f"redis refuses writes: {text}"
        return None

    def _unfitness(self, info: dict[str, Any]) -> str | None:
        try:
            check_fitness(info)
        except UnfitRedisError as error:
            return f"redis is unfit: {error}"
        if self._fsync and not info.get("aof_enabled"):
            return "redis is unfit: ACCEPT_FSYNC needs its append-only file (appendonly yes)"
        return None

    def _set_trouble(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            if trouble is None:
                log.info("redis takes notifications")
            else:
                # Everything else may pass by itself; a wrong key has to be repaired by hand.
                level = logging.ERROR if trouble.startswith(_WRONG_KEY) else logging.WARNING
                log.log(level, "nothing can be queued", extra={"reason": trouble})
        self.trouble = trouble

    def _look_at_memory(self, info: dict[str, Any]) -> None:
        memory = self._capacity.memory(info)
        self.room = memory.room
        if memory.is_nearly_full != self.nearly_full:
            log.warning(
                "redis is nearly full; notifications are refused"
                if memory.is_nearly_full
                else "redis has room again",
                extra={"used": memory.used, "maxmemory": memory.limit},
            )
        self.nearly_full = memory.is_nearly_full

    def _look_at_events(self, events: int) -> None:
        events_full = self._capacity.events_full(events)
        if events_full != self.events_full:
            log.warning(
                "the event stream is full; notifications are refused"
                if events_full
                else "the event stream has room again",
                extra={"entries": events, "bound": self._capacity.events_bound},
            )
        self.events_full = events_full
