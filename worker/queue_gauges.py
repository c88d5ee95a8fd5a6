"""Ask Redis, now and then, how much waits; the answers are metrics and readiness."""

import asyncio
from typing import Any, Final

from redis.asyncio import Redis

from common.model.channels import Lane
from common.process.periodic import every
from common.redis.client import UnfitRedisError, check_fitness
from common.redis.keys import ShardKeys
from worker import metrics

OBSERVE_INTERVAL_S: Final = 1.0


class QueueObserver:
    """Sets the gauges of the queue."""

    def __init__(self, redis: Redis, keys: ShardKeys) -> None:
        self._redis = redis
        self._keys = keys
        self.unfit: str | None = None
        """Reason why Redis could lose the queue, as of the last check."""
        self.looked = asyncio.Event()
        """Set after the first check, even if Redis refused it."""

    async def run(self) -> None:
        """Look once a second, until cancelled."""

        async def look() -> None:
            try:
                await self.look()
            finally:
                self.looked.set()

        await every(OBSERVE_INTERVAL_S, look, part="gauges of the queue")

    async def look(self) -> None:
        """Look once.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(self._keys.waiting)
        pipe.xlen(self._keys.dead)
        pipe.smembers(self._keys.dead_clients)
        for lane in Lane:
            pipe.llen(self._keys.ready(lane))
            pipe.scard(self._keys.active(lane))
            pipe.llen(self._keys.door(lane))
        pipe.info()
        waiting, dead, clients, *lanes, info = await pipe.execute()
        for client in clients:
            pipe.xlen(self._keys.dead_of(client.decode()))
        if clients:
            dead += sum(await pipe.execute())
        self._look_at_fitness(info)
        metrics.dead_letter_entries.set(dead)
        for index, lane in enumerate(Lane):
            ready, active, door = lanes[3 * index : 3 * index + 3]
            metrics.waiting_jobs.labels(lane).set(int(waiting.get(lane.encode(), 0)))
            metrics.ready_turns.labels(lane).set(ready)
            metrics.held_turns.labels(lane).set(active - ready)
            metrics.door_jobs.labels(lane).set(door)

    def _look_at_fitness(self, info: dict[str, Any]) -> None:
        # What waits is published all the same: the sooner, the less of it can be lost.
        try:
            check_fitness(info)
        except UnfitRedisError as error:
            self.unfit = f"redis is unfit: {error}"
        else:
            self.unfit = None
