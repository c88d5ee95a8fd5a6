"""What is counted of waiting jobs: each client's share of a lane, and what they will grow to."""

import json
from typing import Any

import pytest

from common.jobs.acceptance import Acceptance
from common.jobs.planning import plan_batch, plan_one
from common.model.job import decode_job, weight_of
from tests.support.stores.job_queue import KEYS, LANE, Queue

HOLDER = "w:high.0.1"


def of(client: str, *rooms: int, most: int = 0, message: str = "x") -> Acceptance:
    body = [{"type": "room", "userId": 1, "target": room, "message": message} for room in rooms]
    return plan_batch(json.dumps(body).encode(), client=client)._replace(lane_max=most)


async def backlog(queue: Queue) -> dict[str, int]:
    found: dict[bytes, bytes] = await queue.redis.hgetall(KEYS.backlog)
    return {name.decode(): int(count) for name, count in found.items()}


async def drain(queue: Queue) -> None:
    while taken := await queue.take(HOLDER):
        await queue.publish(HOLDER, taken)


async def test_a_client_s_share_of_a_lane_is_bounded_and_others_go_on(queue: Queue) -> None:
    assert await queue.accept(of("a", 1, 2, most=3)) == [[b"ok"]]
    full = [b"client-full", b"high"]
    # As a whole or not at all; what is refused leaves the room to who asks next.
    verdicts = await queue.accept(
        of("a", 3, 4, most=3), of("b", 1, 2, most=3), of("a", 5, most=3), of("a", 6, most=3)
    )
    assert verdicts == [full, [b"ok"], [b"ok"], full]
    assert (await backlog(queue))["high/a"] == 3
    assert await queue.accept(of("c", *range(50))) == [[b"ok"]]
    await drain(queue)
    assert await backlog(queue) == {}
    assert await queue.accept(of("a", 1, 2, 3, most=3)) == [[b"ok"]]


async def test_what_waits_may_only_grow_to_the_room_there_is(queue: Queue) -> None:
    one = of("a", 1, message="x" * 1_000)
    (weight,) = one.weights
    assert weight > 2_000
    assert await queue.accept(one, one, one, room=2 * weight) == [[b"ok"], [b"ok"], [b"no-room"]]
    assert await queue.accept(one, room=2 * weight) == [[b"no-room"]]
    assert await queue.accept(one, room=3 * weight) == [[b"ok"]]
    assert (await backlog(queue))["bytes"] == 3 * weight
    await drain(queue)
    assert await backlog(queue) == {}
    assert await queue.accept(one, room=0) == [[b"no-room"]]
    assert await queue.accept(one) == [[b"ok"]]


@pytest.mark.parametrize("size", [10, 1_500, 3_000, 60_000])
@pytest.mark.parametrize("targets", [1, 2, 300])
async def test_the_weight_is_about_what_redis_will_hold(
    queue: Queue, size: int, targets: int
) -> None:
    body = {"type": "room", "userId": 1, "target": list(range(targets)), "message": "x" * size}
    plan = plan_one(json.dumps(body).encode())
    assert [weight_of(decode_job(text)) for _, _, text in plan.jobs] == plan.weights
    await queue.accept(plan)
    await drain(queue)
    kept = (KEYS.channel_prefix, KEYS.log_prefix, KEYS.content_prefix, KEYS.events)
    found = [key async for key in queue.redis.scan_iter("*")]
    keys = [key for key in found if key.decode().startswith(kept)]
    held = sum([await queue.redis.memory_usage(key, samples=0) for key in keys])
    # The content of a shared one took as much as a job; an empty stream takes a few KB.
    content = size if targets > 1 else 0
    assert sum(plan.weights) / 3 < held < 1.1 * sum(plan.weights) + content + 10_000


async def test_jobs_that_expire_or_are_no_jobs_are_no_longer_counted(queue: Queue) -> None:
    body = {"type": "broadcast", "userId": 1, "message": "x", "expiresAt": "2027-01-01T00:00:00Z"}
    await queue.accept(plan_one(json.dumps(body).encode(), client="a"))
    taken = await queue.take(HOLDER)
    await queue.publish(HOLDER, taken, now_ms=10**14)
    assert await backlog(queue) == {}


async def test_a_lost_turn_leaves_its_jobs_counted(queue: Queue) -> None:
    await queue.accept(of("a", 1))
    before = await backlog(queue)
    taken = await queue.take(HOLDER)
    await queue.lease(given_up=[HOLDER])
    assert await queue.publish(HOLDER, taken) == [0, 1]
    assert await backlog(queue) == before


async def test_a_condemned_job_is_no_longer_its_client_s(queue: Queue) -> None:
    await queue.accept(of("a", 1))
    await queue.lease(HOLDER, lease_ms=-1_000)
    await queue.take(HOLDER)
    assert (await queue.lease(condemned=1))[:2] == (1, 1)
    assert "high/a" not in await backlog(queue)


async def test_counts_that_somebody_changed_are_put_right(queue: Queue) -> None:
    await queue.accept(of("a", 1, 2))
    await queue.redis.hset(KEYS.waiting, LANE, 77)
    await queue.redis.hset(KEYS.backlog, "high/gone", 5)
    await queue.audit()
    assert await queue.waiting_count() == 2
    await drain(queue)
    await queue.redis.hset(KEYS.backlog, mapping={"high/gone": 5, "bytes": 12})
    await queue.audit()
    assert await backlog(queue) == {}


async def test_nothing_is_written_when_the_counts_are_something_else(queue: Queue) -> None:
    await queue.redis.set(KEYS.backlog, "x")
    before: Any = await queue.snapshot()
    with pytest.raises(Exception, match="WRONGTYPE"):
        await queue.accept(of("a", 1))
    assert await queue.snapshot() == before
