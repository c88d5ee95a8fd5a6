"""Holders: under which names this worker's loops hold turns, and their leases.

A loop begins a new life, with a new name, whenever its connection was lost: a command of the old
life that Redis executes late then finds its turn gone. The old name is given up, which puts its
turns back at once, and is watched for a while, because a pending BLMOVE may still fill its list.
"""

import asyncio
import logging
import secrets
import time
from typing import Any, Final

from redis.asyncio import Redis

from common.accounting.usage import Outcome, Usage
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.model.channels import PARTITIONS, Lane
from common.process.backoff import jittered
from common.process.periodic import every
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from common.telemetry.outage import redis_outage
from worker import metrics

log = logging.getLogger("roomcast.worker")

RETURNS_UNTIL_DEAD: Final = 5
"""The job at the tail of a partition whose turn came back so often in a row is condemned."""

_AUDIT_EVERY_LEASES: Final = 10


class Holders:
    """Leases of one worker process; its name is new at every start."""

    def __init__(self, redis: Redis, keys: ShardKeys, settings: Settings, usage: Usage) -> None:
        self._usage = usage
        self._redis = redis
        self._keys = keys
        self.worker = secrets.token_hex(4)
        self.lease_ms = int(settings.lease_s * 1000)
        self._dead_max = settings.dead_max_entries
        self._lease = Script("lease")
        self._audit = Script("audit")
        self._alive: set[str] = set()
        self._given_up: set[str] = set()
        self._lives = 0
        self._suspects: dict[Lane, list[bytes]] = {}
        self.renewed = asyncio.Event()
        """Set once Redis has answered."""
        self.renewed_at = float("-inf")
        """`time.monotonic()` of the last renewal that Redis answered."""

    async def begin_life(self, lane: Lane, loop: int) -> str:
        """Name a holder and enter it into the leases, before its first turn.

        Raises:
            redis.exceptions.RedisError: Redis does not answer; the name is not used.
        """
        self._lives += 1
        holder = f"{self.worker}:{lane}.{loop}.{self._lives}"
        await self._renew({holder})
        self._alive.add(holder)
        return holder

    def end_life(self, holder: str) -> None:
        """Give a holder's turns back, at the next renewal."""
        self._alive.discard(holder)
        self._given_up.add(holder)

    async def run(self) -> None:
        """Renew leases and take over expired ones, until cancelled."""
        interval_s = self.lease_ms / 1000 / 4
        beats = 0

        async def beat() -> None:
            nonlocal beats
            await self.renew()
            beats += 1
            if beats % (4 * _AUDIT_EVERY_LEASES) == 0:
                await self._heal()

        await every(
            interval_s, beat, part="leases", retries=lambda: jittered(interval_s / 4, interval_s)
        )

    async def renew(self) -> None:
        """Renew once; put the turns of expired leases and of ended lives back.

        Raises:
            redis.exceptions.RedisError: Redis does not answer.
        """
        await self._renew(set(self._alive))

    async def _renew(self, holders: set[str]) -> None:
        given_up = list(self._given_up)
        args: list[str | bytes | int] = [
            self.lease_ms,
            # Longer than any BLMOVE of a holder can still be pending (see worker.lane_loop).
            3 * self.lease_ms,
            self._keys.held_prefix,
            self._keys.ready_prefix,
            self._keys.active_prefix,
            self._keys.jobs_prefix,
            RETURNS_UNTIL_DEAD,
            self._dead_max,
            len(holders),
            *holders,
            *given_up,
        ]
        keys = [
            self._keys.workers,
            self._keys.returns,
            self._keys.waiting,
            self._keys.dead,
            self._keys.events,
            self._keys.backlog,
            self._keys.dead_clients,
        ]
        back, died, valid, clients = await self._lease(self._redis, keys, args)
        self.renewed_at = time.monotonic()
        self.renewed.set()
        # Once listed as expired they are watched by every worker's renewals.
        self._given_up.difference_update(given_up)
        if back:
            metrics.returned_turns.inc(back)
            log.info("turns of expired leases were put back", extra={"turns": back})
        if died:
            metrics.dead_letters.inc(died)
            for client in clients:
                self._usage.add(client.decode(), Outcome.FAILED)
            log.error(
                "jobs went to the dead letters: each worker that took them died or stalled",
                extra={"jobs": died},
            )
        if holders <= self._alive and not all(valid):
            # While Redis is away nobody renews anything.
            level = logging.INFO if redis_outage.is_recent else logging.WARNING
            log.log(level, "leases ran out before they were renewed: this process or redis stalled")

    async def _heal(self) -> None:
        for lane in Lane:
            keys = [
                self._keys.workers,
                self._keys.ready(lane),
                self._keys.active(lane),
                self._keys.waiting,
                self._keys.backlog,
            ]
            args: list[Any] = [
                str(lane),
                f"{self._keys.jobs_prefix}{lane}:",
                self._keys.held_prefix,
                PARTITIONS,
                *self._suspects.get(lane, ()),
            ]
            found, healed = await self._audit(self._redis, keys, args)
            self._suspects[lane] = found
            if healed:
                metrics.healed_turns.labels(lane).inc(healed)
                log.error(
                    "job lists had lost their turns, which were made again: were keys deleted?",
                    extra={"turns": healed},
                )

    async def close(self) -> None:
        """Give up all lives and put their turns back now, if Redis answers."""
        self._given_up |= self._alive
        self._alive.clear()
        try:
            await self._renew(set())
        except REDIS_ERRORS as error:
            log.warning(
                "turns could not be given back; other workers take them over when their leases end",
                extra={"reason": str(error)},
            )
