"""Requests from Kafka into the lanes of a real Valkey, while there is room."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from common.config.settings import Settings
from common.jobs.accept_script import Verdict
from common.jobs.acceptance import Acceptance
from common.redis.client import connect
from kafka_bridge.ingest import job_queue
from kafka_bridge.ingest.job_queue import CALL_MAX_JOBS, JobQueue, NeverFitsError, NoRoomError
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.stores.job_queue import KEYS, Queue, request

OK = Verdict.OK
ONE = ("high", 1, b"job")


def jobs(queue: Queue, **settings: Any) -> JobQueue:
    """A queue without shares of clients, unless the settings say otherwise."""
    more = {"auth_mode": "open", **settings}
    return JobQueue(queue.redis, KEYS, Settings(_env_file=None, **more))


@pytest.fixture
async def memory(redis: Redis) -> AsyncIterator[Any]:
    """Settings of the server that may be changed; afterwards they are as before."""
    client: Any = redis
    yield client
    await client.config_set("maxmemory", 0)
    await client.config_set("maxmemory-policy", "noeviction")


async def test_each_request_gets_its_verdict_in_order(queue: Queue) -> None:
    verdicts = await jobs(queue).admit(
        [
            request(ONE, key="k", answer="id"),
            request(("low", 2, b"other")),
            request(ONE, key="k", answer="new id"),
            request(ONE, key="k", fingerprint="g"),
        ]
    )
    assert verdicts == [OK, OK, Verdict.REPLAY, Verdict.CONFLICT]
    assert await queue.waiting(1) == [b"job"]


async def test_what_fits_into_a_lane_is_queued_and_the_rest_waits(queue: Queue) -> None:
    full = jobs(queue, lane_max_jobs=3)
    requests = [request(("high", 1, b"%d" % n)) for n in range(5)]
    assert await full.admit(requests) == [OK] * 3
    with pytest.raises(NoRoomError, match="the lane high is full"):
        await full.admit(requests[3:])
    # Another lane has room, but the order of a partition of the topic counts.
    assert await full.admit([request(("low", 1, b"x")), *requests[3:]]) == [OK]
    assert await queue.waiting(1) == [b"0", b"1", b"2"]


async def test_a_request_of_several_jobs_is_queued_whole_or_not(queue: Queue) -> None:
    full = jobs(queue, lane_max_jobs=3)
    with pytest.raises(NoRoomError):
        await full.admit([request(*[ONE] * 4)])
    assert await queue.waiting_count() == 0
    assert await full.admit([request(ONE, ONE), request(ONE, ONE)]) == [OK]


async def test_a_client_has_its_share_of_a_lane(queue: Queue) -> None:
    shared = jobs(queue, auth_mode="required", lane_max_jobs=4, lane_client_share=0.5)
    of_a = [request(ONE)._replace(client="a") for _ in range(3)]
    assert await shared.admit(of_a) == [OK, OK]
    with pytest.raises(NoRoomError, match="too many requests wait in the lane high"):
        await shared.admit(of_a[2:])
    assert await shared.admit([request(ONE)._replace(client="b")]) == [OK]


async def test_one_call_is_bounded(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [request(ONE) for _ in range(CALL_MAX_JOBS + 1)]
    assert len(await jobs(queue).admit(requests)) == CALL_MAX_JOBS
    monkeypatch.setattr(job_queue, "CALL_MAX_BYTES", 10)
    large = [request(("high", 2, b"x" * 6)) for _ in range(3)]
    assert len(await jobs(queue).admit(large)) == 1
    # One request is sent whatever its size.
    assert len(await jobs(queue).admit([request(("high", 2, b"x" * 100))])) == 1


async def test_a_full_event_stream_lets_nothing_in(queue: Queue) -> None:
    bounded = jobs(queue, event_readers="history", events_bound=100)
    await queue.add(99)
    assert await bounded.admit([request(ONE)]) == [OK]
    await queue.add(1)
    with pytest.raises(NoRoomError, match="the event stream is full"):
        await bounded.admit([request(ONE)])


async def test_a_redis_that_would_lose_jobs_gets_none(queue: Queue, memory: Any) -> None:
    await memory.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(NoRoomError, match="maxmemory-policy is allkeys-lru"):
        await jobs(queue).admit([request(ONE)])
    assert await queue.waiting_count() == 0


async def test_a_redis_that_is_nearly_full_gets_none(queue: Queue, memory: Any) -> None:
    used = (await memory.info("memory"))["used_memory"]
    await memory.config_set("maxmemory", int(used * 1.05))
    with pytest.raises(NoRoomError, match="redis is nearly full"):
        await jobs(queue, redis_memory_max_ratio=0.9).admit([request(ONE)])


def weighing(size: int) -> Acceptance:
    """A request that will take so many bytes once it is published."""
    return request(ONE)._replace(weights=[size])


async def test_what_will_not_fit_waits_and_what_never_will_is_refused(
    queue: Queue, memory: Any
) -> None:
    await memory.config_set("maxmemory", 100_000_000)
    half = jobs(queue, redis_memory_max_ratio=0.5)
    # There is room for two of these, and each may come.
    quarter = weighing(20_000_000)
    assert await half.admit([quarter] * 4) == [OK, OK]
    with pytest.raises(NoRoomError, match="no room for what waiting jobs will take"):
        await half.admit([quarter])
    with pytest.raises(NeverFitsError, match="it takes 30000000 bytes of redis"):
        await half.admit([weighing(30_000_000)])
    # Not the first: what is ahead of it goes first.
    await queue.redis.flushall()
    assert await half.admit([quarter, weighing(60_000_000)]) == [OK]


async def test_a_redis_that_does_not_answer_has_no_room() -> None:
    nobody = connect(f"redis://{LOOPBACK}:{free_port()}/0", timeout_s=1)
    with pytest.raises(NoRoomError, match="redis: ConnectionError"):
        await JobQueue(nobody, KEYS, Settings(_env_file=None)).admit([request(ONE)])
    await nobody.aclose()


@pytest.mark.parametrize("setting", [("appendonly", "no"), ("appendfsync", "no")])
async def test_nothing_is_admitted_that_is_not_on_disk_in_time(
    queue: Queue, setting: tuple[str, str]
) -> None:
    name, off = setting
    await queue.redis.config_set("appendonly", "yes")
    before = (await queue.redis.config_get(name))[name]
    durable = jobs(queue, accept_fsync=True, accept_timeout_s=5)
    assert await durable.admit([request(ONE, key="k", answer="id")]) == [OK]
    hasty = jobs(queue, accept_fsync=True, accept_timeout_s=0.2)
    await queue.redis.config_set(name, off)
    try:
        with pytest.raises(NoRoomError):
            await hasty.admit([request(ONE, key="j", answer="id")])
    finally:
        await queue.redis.config_set(name, before)
    # What is repeated after that is no second job.
    verdict = await durable.admit([request(ONE, key="j", answer="other")])
    assert verdict == [Verdict.REPLAY]
    assert await queue.waiting(1) == [b"job", b"job"]
