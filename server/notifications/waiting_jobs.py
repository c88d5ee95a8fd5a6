"""Jobs that still wait in the job lists: read, never changed."""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import msgspec
from redis.asyncio import Redis

from common.model.channels import PARTITIONS, Lane
from common.model.ids import made_at_ms
from common.model.job import Job, decode_job
from common.redis.shards import Shards
from history.queries.inbox import InboxPlace

BATCH_SPAN: Final = 1_200
"""Most jobs of one list that are searched for a notification whose time is known."""
_APART_MS: Final = 50
"""Most ms by which a job's creation may be later than its id for it to be found."""
_CHUNK: Final = 200
_CHUNKS_MAX: Final = 8
"""Most reads of one list for one page; other clients' jobs may be in between."""


def place_of(job: Job) -> InboxPlace:
    """Return the place of a job in the list of sent notifications."""
    return InboxPlace(job.created_ms, job.id)


class QueuedJobs:
    """Waiting jobs of one client, by list. Every method raises RedisError when Redis is away.

    A list has the newest job at its head. A job that was put back by hand (from the dead letters)
    may be out of order, and is then found only near the head.
    """

    def __init__(self, redis: Redis, shards: Shards, client: str) -> None:
        self._redis: Any = redis
        self._shards = shards
        self._client = client

    async def newest(
        self, before: InboxPlace | None, limit: int
    ) -> AsyncIterator[tuple[list[Job], InboxPlace | None]]:
        """Yield for each list its newest jobs before a place, `limit` at most.

        With them comes the place at which it stopped looking; None: there are no older ones.
        """
        for key, length in await self._lists():
            start = 0 if before is None else await self._first_before(key, length, before)
            found: list[Job] = []
            last: InboxPlace | None = None
            count = max(limit, _CHUNK)
            for _ in range(_CHUNKS_MAX):
                texts = await self._redis.lrange(key, start, start + count - 1)
                start += count
                jobs = [job for job in map(_job, texts) if job is not None]
                found += self._own(jobs)
                if len(texts) < count:
                    last = None
                    break
                last = place_of(jobs[-1]) if jobs else last
                if len(found) >= limit:
                    break
            if len(found) > limit:
                del found[limit:]
                last = place_of(found[-1])
            yield found, last

    async def find(self, notification: str) -> list[Job]:
        """Find the jobs of one notification."""
        made = made_at_ms(notification)
        found = []
        for key, length in await self._lists():
            start = 0
            if made is not None:
                start = await self._first_before(key, length, InboxPlace(made + _APART_MS, ""))
            texts = await self._redis.lrange(key, start, start + BATCH_SPAN - 1)
            jobs = self._own(job for job in map(_job, texts) if job is not None)
            found += [job for job in jobs if job.id == notification]
        return found

    async def _lists(self) -> list[tuple[str, int]]:
        keys = [
            keys.jobs(lane, partition)
            for keys in self._shards
            for lane in Lane
            for partition in range(PARTITIONS)
        ]
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            pipe.llen(key)
        lengths = await pipe.execute()
        return [(key, length) for key, length in zip(keys, lengths, strict=True) if length]

    async def _first_before(self, key: str, length: int, before: InboxPlace) -> int:
        low, high = 0, length
        while low < high:
            middle = (low + high) // 2
            text = await self._redis.lindex(key, middle)
            job = None if text is None else _job(text)
            # Jobs that are gone were older; a text that is not a job tells nothing.
            if text is None or (job is not None and place_of(job) < before):
                high = middle
            else:
                low = middle + 1
        return low

    def _own(self, jobs: Iterable[Job]) -> list[Job]:
        return [job for job in jobs if job.client == self._client]


def _job(text: bytes) -> Job | None:
    try:
        return decode_job(text)
    except msgspec.MsgspecError:
        return None
