"""Leases: who holds turns, when it loses them, and what becomes of jobs that kill their worker."""

import asyncio
import logging

import pytest

from common.accounting.usage import Outcome, Usage
from common.config.settings import Settings
from common.model.channels import PARTITIONS, Lane
from common.telemetry.outage import Outage
from tests.support.stores.job_queue import GLOBAL_KEYS, KEYS, Queue, notification, request
from worker import leases
from worker.leases import RETURNS_UNTIL_DEAD, Holders

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


def worker(queue: Queue, usage: Usage | None = None) -> Holders:
    """The leases of a worker process."""
    return Holders(
        queue.redis, KEYS, Settings(_env_file=None), usage or Usage(queue.redis, GLOBAL_KEYS)
    )


async def test_every_life_has_a_name_of_its_own_and_a_lease_before_its_first_turn(
    queue: Queue,
) -> None:
    one, other = worker(queue), worker(queue)
    names = [await who.begin_life(Lane.HIGH, 0) for who in (one, one, other)]
    assert len(set(names)) == 3
    assert set(await queue.redis.zrange(KEYS.workers, 0, -1)) == {name.encode() for name in names}


async def test_the_turns_of_an_ended_life_go_back_at_the_next_renewal(queue: Queue) -> None:
    one = worker(queue)
    ended, alive = [await one.begin_life(Lane.HIGH, number) for number in (0, 1)]
    await queue.accept(request(("high", 1, b"a")), request(("high", 2, b"b")))
    for holder in (ended, alive):
        await queue.take(holder, turns=1)
    one.end_life(ended)
    assert await queue.ready() == []
    await one.renew()
    assert await queue.ready() == [b"1"]
    assert await queue.held(alive) == [b"2"]


async def test_a_worker_that_stops_keeps_no_turn(queue: Queue) -> None:
    one = worker(queue)
    await queue.accept(*(request(("high", p, b"x")) for p in range(10)))
    for number in range(3):
        await queue.take(await one.begin_life(Lane.HIGH, number), turns=3)
    await one.close()
    assert len(await queue.ready()) == 10


async def test_a_client_is_charged_for_its_condemned_job(queue: Queue) -> None:
    charged: list[tuple[str, Outcome]] = []

    class Listening(Usage):
        def add(self, client: str, outcome: Outcome, count: int = 1) -> None:
            charged.append((client, outcome))

    one = worker(queue, Listening(queue.redis, GLOBAL_KEYS))
    poison = notification()._replace(client="shop")
    (lane, partition, text) = poison.jobs[0]
    text = text.replace(b'"id"', b'"client":"shop","id"')
    await queue.accept(poison._replace(jobs=[(lane, partition, text)]))
    for _ in range(RETURNS_UNTIL_DEAD):
        await stopped(queue)
        await one.renew()
    assert charged == [("shop", Outcome.FAILED)]


async def test_a_worker_that_renews_too_late_says_so(
    queue: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After an outage, as another test may have had one, it would be no news.
    monkeypatch.setattr(leases, "redis_outage", Outage("redis"))
    caplog.set_level(logging.WARNING)
    one = worker(queue)
    holder = await one.begin_life(Lane.HIGH, 0)
    await one.renew()
    assert not caplog.records
    await queue.redis.zadd(KEYS.workers, {holder: 1})
    await worker(queue).renew()
    await one.renew()
    assert [record.message for record in caplog.records] == [
        "leases ran out before they were renewed: this process or redis stalled"
    ]
