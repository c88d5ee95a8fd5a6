import asyncio
import json

import pytest

from common.config.settings import Settings
from common.jobs.planning import plan_one
from common.model.channels import PARTITIONS
from tests.support.stores.job_queue import KEYS, Queue, notification, request
from worker.dead_letters import DeadLetters

HOLDER = "w:high.0.1"
OTHER = "v:high.0.1"


async def stopped(queue: Queue, holder: str = HOLDER) -> dict[bytes, list[bytes]]:
    """A holder that took what there is and whose lease has run out."""
    taken = await queue.take(holder)
    assert taken
    await queue.redis.zadd(KEYS.workers, {holder: 1})
    return taken


async def test_a_renewed_holder_keeps_its_turns(queue: Queue) -> None:
    await queue.lease(HOLDER)
    await queue.accept(notification())
    await queue.take(HOLDER)
    assert await queue.lease(OTHER) == (0, 0, [0])
    assert await queue.lease(HOLDER, OTHER) == (0, 0, [1, 1])
    assert len(await queue.held(HOLDER)) == 1


async def test_a_lease_runs_out_by_the_clock_of_redis(queue: Queue) -> None:
    await queue.lease(HOLDER, lease_ms=1)
    await queue.accept(notification())
    await queue.take(HOLDER)
    await asyncio.sleep(0.05)
    back, died, valid = await queue.lease(OTHER)
    assert (back, died, valid) == (1, 0, [0])


async def test_the_turns_of_an_expired_holder_go_to_the_front_of_the_ready_list(
    queue: Queue,
) -> None:
    await queue.accept(request(("high", 1, b"a")))
    await stopped(queue)
    await queue.accept(request(("high", 2, b"b")))
    await queue.lease(OTHER)
    assert await queue.held(HOLDER) == []
    assert list(await queue.take(OTHER, turns=1)) == [b"1"]


async def test_who_comes_back_late_learns_that_its_lease_had_run_out(queue: Queue) -> None:
    await queue.accept(notification())
    taken = await stopped(queue)
    assert (await queue.lease(OTHER))[0] == 1
    assert await queue.lease(HOLDER) == (0, 0, [0])
    assert await queue.publish(HOLDER, taken) == [0, 1]


async def test_a_turn_without_jobs_is_dropped(queue: Queue) -> None:
    await queue.accept(request(("high", 1, b"a")))
    await stopped(queue)
    await queue.redis.delete(KEYS.jobs("high", 1))
    await queue.lease(OTHER)
    assert (await queue.ready(), await queue.active()) == ([], set())
    await queue.accept(request(("high", 1, b"b")))
    assert await queue.ready() == [b"1"]


@pytest.mark.parametrize("condemned", [1, 5])
async def test_the_job_at_the_tail_of_a_turn_that_came_back_too_often_is_condemned(
    queue: Queue, condemned: int
) -> None:
    await queue.accept(request(("high", 1, b"poison"), ("high", 1, b"good")))
    for n in range(1, condemned + 1):
        await stopped(queue)
        assert await queue.lease(OTHER, condemned=condemned) == (
            1,
            int(n == condemned),
            [int(n > 1)],
        )
    (letter,) = await queue.dead()
    assert letter[b"job"] == b"poison"
    assert letter[b"lane"] == b"high"
    assert f"{condemned} times in a row".encode() in letter[b"reason"]
    assert await queue.waiting(1) == [b"good"]
    assert await queue.waiting_count() == 1
    # The next one is counted anew.
    assert not await queue.redis.hlen(KEYS.returns)
    assert await queue.take(HOLDER) == {b"1": [b"good"]}


async def test_a_publication_in_between_begins_the_count_anew(queue: Queue) -> None:
    for _ in range(3):
        for _ in range(2):
            await queue.accept(notification())
            await stopped(queue)
            await queue.lease(OTHER, condemned=3)
        assert (await queue.publish(HOLDER, await queue.take(HOLDER)))[1] == 0
    assert await queue.dead() == []


async def test_a_holder_that_is_given_up_returns_its_turns_at_once_and_condemns_nothing(
    queue: Queue,
) -> None:
    await queue.accept(request(("high", 1, b"a")))
    for _ in range(10):
        await queue.lease(HOLDER)
        await queue.take(HOLDER)
        assert (await queue.lease(given_up=[HOLDER], condemned=2))[:2] == (1, 0)
    assert await queue.dead() == []
    assert not await queue.redis.hlen(KEYS.returns)


async def test_a_holder_is_watched_for_a_while_for_a_move_that_was_pending(queue: Queue) -> None:
    await queue.accept(notification())
    await queue.lease(given_up=[HOLDER])
    # A BLMOVE of the lost connection is executed late.
    await queue.redis.lmove(KEYS.ready("high"), KEYS.held(HOLDER), "RIGHT", "LEFT")
    assert (await queue.lease(OTHER))[0] == 1
    assert len(await queue.ready()) == 1


async def test_then_it_is_forgotten(queue: Queue) -> None:
    await queue.lease(given_up=[HOLDER], watched_ms=0)
    await asyncio.sleep(0.01)
    await queue.lease(OTHER, watched_ms=0)
    assert await queue.redis.zrange(KEYS.workers, 0, -1) == [OTHER.encode()]


async def test_turns_go_back_to_the_lane_that_they_are_of(queue: Queue) -> None:
    await queue.accept(request(("low", 4, b"l"), ("high", 4, b"h")))
    for lane in ("low", "high"):
        await queue.redis.lmove(KEYS.ready(lane), KEYS.held(f"w:{lane}.0.1"), "RIGHT", "LEFT")
    assert (await queue.lease(given_up=["w:low.0.1", "w:high.0.1"]))[0] == 2
    for lane in ("low", "high"):
        assert await queue.redis.lrange(KEYS.ready(lane), 0, -1) == [b"4"]


async def test_an_audit_finds_what_deleted_keys_left_behind_and_heals_it_the_second_time(
    queue: Queue,
) -> None:
    await queue.accept(request(("high", 1, b"a"), ("high", 2, b"b"), ("high", 3, b"c")))
    await queue.take(HOLDER, turns=1)
    await queue.redis.delete(KEYS.ready("high"))
    found, healed = await queue.audit()
    assert (sorted(found), healed) == ([b"2", b"3"], 0)
    assert await queue.ready() == []
    assert await queue.audit(b"2") == ([b"3"], 1)
    assert await queue.ready() == [b"2"]
    assert await queue.audit(b"2", b"3") == ([], 1)


async def test_an_audit_leaves_what_is_ready_or_held_alone(queue: Queue) -> None:
    await queue.accept(*(request(("high", p, b"x")) for p in range(PARTITIONS)))
    await queue.lease(HOLDER)
    await queue.take(HOLDER, turns=20)
    before = await queue.snapshot()
    everything = [b"%d" % p for p in range(PARTITIONS)]
    assert await queue.audit(*everything) == ([], 0)
    assert await queue.snapshot() == before


async def condemn(queue: Queue, client: str) -> str:
    """Accept a job of a client, whose worker dies once too often; return its id."""
    body = b'{"type":"broadcast","userId":1,"message":"x"}'
    plan = plan_one(body, client=client)
    await queue.accept(plan)
    await queue.lease("w:high.0.1", lease_ms=-1_000)
    await queue.take("w:high.0.1")
    assert (await queue.lease(condemned=1))[:2] == (1, 1)
    return plan.answer


async def test_a_client_s_dead_letters_do_not_push_out_another_s(queue: Queue) -> None:
    first = await condemn(queue, "a")
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None))
    own = await condemn(queue, "default")
    # Whatever becomes of the others.
    await queue.redis.xtrim(KEYS.dead, maxlen=0, approximate=False)
    await condemn(queue, "b")
    await queue.redis.xtrim(KEYS.dead_of("b"), maxlen=0, approximate=False)
    (letter,) = [one async for one in letters.all()]
    assert (letter.client, json.loads(letter.job)["id"]) == ("a", first)
    assert letter.entry.startswith("a:")
    assert own not in letter.job
    assert await letters.requeue(letter) == "ok"
    assert await letters.requeue(letter) == "gone"
    (waiting,) = (await queue.take("w:high.0.2")).values()
    assert json.loads(waiting[0])["id"] == first


async def test_letters_are_dropped_by_name(queue: Queue) -> None:
    await condemn(queue, "a")
    await condemn(queue, "default")
    letters = DeadLetters(queue.redis, KEYS, Settings(_env_file=None))
    default, other = [one async for one in letters.all()]
    await letters.drop(other)
    assert [one async for one in letters.all()] == [default]
    await letters.drop(default)
    assert [one async for one in letters.all()] == []


async def test_a_letter_is_kept_where_somebody_wrote_over_its_client_s_stream(
    queue: Queue,
) -> None:
    await queue.redis.set(KEYS.dead_of("a"), "x")
    await condemn(queue, "a")
    assert len(await queue.dead()) == 1
