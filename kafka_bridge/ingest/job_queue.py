"""Requests into Redis's lanes by the acceptance script, as the server does it."""

from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis

from common.config.settings import Settings
from common.errors import REDIS_ERRORS, RoomcastError
from common.jobs.accept_script import AcceptScript, Decision, Verdict, read_decisions
from common.jobs.acceptance import Acceptance
from common.jobs.capacity import Capacity, Memory
from common.redis.client import REQUIRED_POLICY
from common.redis.keys import ShardKeys

CALL_MAX_JOBS: Final = 500
CALL_MAX_BYTES: Final = 2 * 1024 * 1024

_LARGEST_PART: Final = 2
"""A request may need one in so many bytes that Redis may take; others are in it, too."""

_NO_ROOM: Final = {
    Verdict.FULL: "the lane {} is full",
    Verdict.CLIENT_FULL: "too many requests wait in the lane {}",
    Verdict.NO_ROOM: "redis has no room for what waiting jobs will take",
}
"""Verdicts after which a request is to be tried again, as reasons."""


class NoRoomError(RoomcastError):
    """Redis has no room, or does not answer: try again later. The text says which."""


class NeverFitsError(RoomcastError):
    """The first request asks for more of Redis than it will ever give. The text says how much."""


class JobQueue:
    """Pushes planned requests.

    Guarantee: a verdict is given only after Redis executed the script (with `ACCEPT_FSYNC`, after
    it was on disk). A lost reply leads to the same call again, which the idempotency keys make
    harmless.

    Args:
        redis: a client whose replies may take `ACCEPT_TIMEOUT_S`.
        keys: of the shard.
        settings: bounds.
    """

    def __init__(self, redis: Redis, keys: ShardKeys, settings: Settings) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._settings = settings
        self._capacity = Capacity(settings)
        self._accept = AcceptScript("accept", keys, settings)

    async def admit(self, acceptances: Sequence[Acceptance]) -> list[Verdict]:
        """Push requests, in order, until the first for which there is no room.

        Returns:
            Verdicts (`OK`, `REPLAY`, `CONFLICT`) of the first ones; at least one.

        Raises:
            NoRoomError: not even the first could be pushed.
            NeverFitsError: nor will it ever be.
        """
        try:
            head, memory = await self._fitting(acceptances)
            decisions = await self._push(head, memory.room)
        except REDIS_ERRORS as error:
            raise NoRoomError(f"redis: {type(error).__name__}: {error}") from None
        verdicts = [decision.verdict for decision in decisions]
        for index, (verdict, detail) in enumerate(decisions):
            if verdict in _NO_ROOM:
                # Others filled the lane at this moment.
                if index == 0:
                    self._check_it_can_fit(acceptances[0], memory.share)
                    raise NoRoomError(_NO_ROOM[verdict].format(detail))
                return verdicts[:index]
        return verdicts

    def _check_it_can_fit(self, acceptance: Acceptance, whole: int) -> None:
        """Check that a request does not wait for ever, and hold all that is behind it.

        Raises:
            NeverFitsError: it is so.
        """
        weight = sum(acceptance.weights)
        most = whole // _LARGEST_PART
        if whole and weight > most:
            raise NeverFitsError(f"it takes {weight} bytes of redis; one request may take {most}")

    async def _fitting(
        self, acceptances: Sequence[Acceptance]
    ) -> tuple[Sequence[Acceptance], Memory]:
        """Those of the first ones that fit into one call and into what room there is now."""
        keys, lane_max = self._keys, self._settings.lane_max_jobs
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.xlen(keys.events)
            pipeline.hgetall(keys.waiting)
            pipeline.info("memory")
            events, waiting, info = await pipeline.execute()
        if self._capacity.events_full(events):
            raise NoRoomError("the event stream is full")
        policy = info.get("maxmemory_policy", REQUIRED_POLICY)
        if policy != REQUIRED_POLICY:
            raise NoRoomError(f"redis is unfit: maxmemory-policy is {policy}")
        memory = self._capacity.memory(info)
        if memory.is_nearly_full:
            raise NoRoomError("redis is nearly full")
        jobs: dict[str, int] = {}
        size = count = 0
        for index, acceptance in enumerate(acceptances):
            for lane, _, _ in acceptance.jobs:
                jobs[lane] = jobs.get(lane, 0) + 1
            count += len(acceptance.jobs)
            size += acceptance.size
            full = [
                lane
                for lane, more in jobs.items()
                if int(waiting.get(lane.encode(), 0)) + more > lane_max
            ]
            if full and index == 0:
                raise NoRoomError(f"the lane {full[0]} is full")
            if index and (full or count > CALL_MAX_JOBS or size > CALL_MAX_BYTES):
                return acceptances[:index], memory
        return acceptances, memory

    async def _push(self, acceptances: Sequence[Acceptance], room: int | str) -> list[Decision]:
        settings, script = self._settings, self._accept.script
        keys, args = self._accept.keys, self._accept.head(room)
        for acceptance in acceptances:
            args += acceptance._replace(lane_max=settings.client_lane_jobs).arguments()
        if not settings.accept_fsync:
            return read_decisions(await script(self._redis, keys, args))
        # On one connection, right behind the script: elsewhere WAITAOF would not wait for it.
        async with self._redis.client() as connection:
            replies = await script(connection, keys, args)
            timeout_ms = int(settings.accept_timeout_s * 1000)
            synced = await connection.execute_command("WAITAOF", 1, 0, timeout_ms)
            if synced[0] < 1:
                raise TimeoutError("the append-only file was not on disk in time")
        return read_decisions(replies)
