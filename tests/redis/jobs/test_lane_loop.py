"""A loop of one lane on a real Valkey: each job once and in order, whatever happens to the loop."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from common.accounting.usage import Outcome, Usage
from common.config.settings import Settings
from common.jobs.planning import plan_batch
from common.model.channels import Lane
from tests.support.stores.job_queue import GLOBAL_KEYS, KEYS, Queue, notification
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until
from worker.lane_loop import LaneLoop
from worker.leases import Holders


class Tally(Usage):
    """Usage that can be read at once."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis, GLOBAL_KEYS)
        self.counted: dict[tuple[str, Outcome], int] = {}

    def add_all(self, counts: Any, outcome: Outcome) -> None:
        for client, count in counts.items():
            self.counted[client, outcome] = self.counted.get((client, outcome), 0) + count


class Worker:
    """Loops of the lane `high`, and the leases that they hold turns by."""

    def __init__(self, queue: Queue, **settings: Any) -> None:
        made = Settings(_env_file=None, redis_client=queue.url, **settings)
        self.usage = Tally(queue.redis)
        self.holders = Holders(queue.redis, KEYS, made, self.usage)
        self._loop = LaneLoop(Lane.HIGH, 0, self.holders, KEYS, made, self.usage)
        self._running = asyncio.create_task(self._loop.run())

    async def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        self._loop.stop()
        async with asyncio.timeout(20):
            await self._running

    async def kill(self) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running


Start = Callable[..., Worker]


@pytest.fixture
async def start(queue: Queue) -> AsyncIterator[Start]:
    started = []

    def begin(**settings: Any) -> Worker:
        started.append(Worker(queue, **settings))
        return started[-1]

    yield begin
    for worker in started:
        await worker.kill()


async def messages(queue: Queue) -> list[str]:
    """What was published, in the order of the event stream."""
    found = [
        json.loads(e[b"p"])["message"] for e in await queue.events() if e[b"k"] == b"published"
    ]
    return [str(message) for message in found]


async def until_published(queue: Queue, count: int) -> list[str]:
    async def are_there() -> bool:
        return len(await messages(queue)) >= count

    await until(are_there)
    return await messages(queue)


async def test_what_waits_and_what_comes_is_published_in_order_and_removed(
    queue: Queue, start: Start
) -> None:
    await queue.accept(*(notification(message=str(n)) for n in range(100)))
    worker = start()
    await until_published(queue, 100)
    await queue.accept(*(notification(message=str(n)) for n in range(100, 300)))
    assert await until_published(queue, 300) == [str(n) for n in range(300)]
    await worker.stop()
    assert await queue.waiting_count() == 0
    assert await queue.active() == set()
    assert worker.usage.counted == {("default", Outcome.PUBLISHED): 300}


async def test_a_connection_that_is_cut_over_and_over_costs_and_repeats_nothing(
    queue: Queue, start: Start
) -> None:
    worker = start(lease_s=1)
    renewing = asyncio.create_task(worker.holders.run())
    sent = 0
    for _ in range(6):
        await queue.accept(*(notification(message=str(n)) for n in range(sent, sent + 50)))
        sent += 50
        clients: Any = await queue.redis.client_list()
        for client in clients:
            if client["name"].startswith("worker-"):
                await queue.redis.client_kill_filter(_id=client["id"])
        await asyncio.sleep(0.05)
    found = await until_published(queue, sent)
    assert found == [str(n) for n in range(sent)]
    renewing.cancel()


async def test_the_turns_of_a_loop_that_stops_go_to_another(queue: Queue, start: Start) -> None:
    for first in range(0, 500, 50):
        bodies = [
            {"type": "room", "userId": 1, "target": n % 9, "message": str(n)}
            for n in range(first, first + 50)
        ]
        await queue.accept(plan_batch(json.dumps(bodies).encode()))
    one = start(publish_max_jobs=10)
    await until_published(queue, 10)
    await one.stop()
    # Its lease would run for long.
    await one.holders.renew()
    start()
    found = await until_published(queue, 500)
    # Each once, and in order in each room.
    assert sorted(map(int, found)) == list(range(500))
    for room in range(9):
        of_room = [int(text) for text in found if int(text) % 9 == room]
        assert of_room == sorted(of_room)


async def test_a_loop_that_others_gave_up_on_publishes_nothing_twice(
    queue: Queue, start: Start
) -> None:
    paused = start()
    await until(lambda: paused.holders._alive)
    # Somebody gave up on it, and took its turns over.
    (holder,) = paused.holders._alive
    await queue.accept(*(notification(message=str(n)) for n in range(5)))
    await queue.lease(given_up=[holder])
    start()
    assert await until_published(queue, 5) == [str(n) for n in range(5)]
    await asyncio.sleep(0.1)
    assert len(await messages(queue)) == 5


async def test_what_expired_or_is_no_job_holds_nothing_up(queue: Queue, start: Start) -> None:
    late = notification(message="late", expiresAt="2020-01-01T00:00:00Z")
    good = notification(message="good")
    await queue.accept(late)
    (_, partition, _) = good.jobs[0]
    await queue.redis.lpush(KEYS.jobs("high", partition), "rubbish")
    await queue.accept(good)
    worker = start()
    assert await until_published(queue, 1) == ["good"]
    kinds = [event[b"k"] for event in await queue.events()]
    assert sorted(kinds) == [b"dead", b"expired", b"published"]
    (letter,) = await queue.dead()
    assert letter[b"job"] == b"rubbish"
    await worker.stop()
    assert worker.usage.counted == {
        ("default", Outcome.PUBLISHED): 1,
        ("default", Outcome.FAILED): 1,
    }


def batches() -> float:
    return REGISTRY.get_sample_value("roomcast_publish_seconds_count") or 0


async def test_jobs_that_grow_are_published_in_bounded_batches(queue: Queue, start: Start) -> None:
    rooms, size, bound = list(range(40)), 1_500, 100_000
    await queue.accept(*(notification(rooms, message="x" * size) for _ in range(20)))
    before = batches()
    worker = start(publish_max_bytes=bound)
    await until_published(queue, 20 * len(rooms))
    await worker.stop()
    # A turn that finds the batch full has a share of a second one.
    assert batches() - before >= 20 * len(rooms) * size / bound / 2
    assert await queue.waiting_count() == 0


async def test_a_loop_waits_for_a_redis_that_is_away(tmp_path: Any) -> None:
    valkey = Valkey(tmp_path)
    valkey.start()
    try:
        client = Redis(host="127.0.0.1", port=valkey.port)
        queue = Queue(client)
        worker = Worker(queue)
        await queue.accept(notification(message="before"))
        await until_published(queue, 1)
        await asyncio.to_thread(valkey.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(valkey.start)
        await queue.accept(notification(message="after"))
        assert (await until_published(queue, 2))[-1] == "after"
        await worker.stop()
        await client.aclose()
    finally:
        valkey.stop()
