"""Acceptances, and what the acceptance script makes of them on a real Valkey."""

import asyncio

import pytest
from redis.exceptions import ResponseError

from common.jobs.acceptance import Acceptance
from tests.support.stores.job_queue import KEYS, Queue, request

ONE = ("high", 3, b"one")
TWO = ("high", 3, b"two")


async def test_an_accepted_job_waits_and_its_partition_has_one_turn(queue: Queue) -> None:
    assert await queue.accept(request(ONE), request(TWO)) == [[b"ok"], [b"ok"]]
    assert await queue.waiting(3) == [b"one", b"two"]
    assert await queue.ready() == [b"3"]
    assert await queue.active() == {b"3"}
    assert await queue.waiting_count() == 2


async def test_a_turn_that_is_held_is_not_made_a_second_time(queue: Queue) -> None:
    await queue.accept(request(ONE))
    await queue.take("w:high.0.1")
    await queue.accept(request(TWO))
    assert await queue.ready() == []
    assert await queue.held("w:high.0.1") == [b"3"]


async def test_turns_are_made_in_the_order_of_acceptance(queue: Queue) -> None:
    await queue.accept(*(request(("high", p, b"x")) for p in (5, 1, 9)))
    assert list(await queue.take("w:high.0.1", turns=3)) == [b"5", b"1", b"9"]


async def test_a_request_that_does_not_fit_is_refused_whole_and_others_go_on(queue: Queue) -> None:
    verdicts = await queue.accept(
        request(ONE, ONE), request(("low", 1, b"l"), TWO, TWO), request(TWO), request(TWO),
        lane_max=3,
    )  # fmt: skip
    assert verdicts == [[b"ok"], [b"full", b"high"], [b"ok"], [b"full", b"high"]]
    assert await queue.waiting(3) == [b"one", b"one", b"two"]
    assert await queue.waiting_count() == 3
    assert await queue.waiting_count("low") == 0
    assert not await queue.redis.exists(KEYS.jobs("low", 1))


async def test_a_refused_key_is_not_remembered(queue: Queue) -> None:
    assert await queue.accept(request(ONE, key="k"), lane_max=0) == [[b"full", b"high"]]
    assert await queue.accept(request(ONE, key="k")) == [[b"ok"]]


async def test_the_same_key_and_body_is_answered_again_and_queues_nothing(queue: Queue) -> None:
    one = request(ONE, key="k", answer="id 1,id 2")
    assert await queue.accept(one, one) == [[b"ok"], [b"replay", b"id 1,id 2"]]
    assert await queue.accept(request(ONE, key="k", answer="other")) == [[b"replay", b"id 1,id 2"]]
    assert await queue.waiting(3) == [b"one"]
    assert await queue.waiting_count() == 1


async def test_the_same_key_with_another_body_is_a_conflict(queue: Queue) -> None:
    await queue.accept(request(ONE, key="k"))
    assert await queue.accept(request(TWO, key="k", fingerprint="g")) == [[b"conflict"]]
    # Not even one that begins alike.
    assert await queue.accept(request(TWO, key="k", fingerprint="")) == [[b"conflict"]]
    assert await queue.accept(request(TWO, key="k", fingerprint="ff")) == [[b"conflict"]]
    assert await queue.waiting(3) == [b"one"]


async def test_a_full_lane_answers_a_repeat_nevertheless(queue: Queue) -> None:
    one = request(ONE, key="k", answer="id")
    await queue.accept(one, lane_max=1)
    assert await queue.accept(one, lane_max=1) == [[b"replay", b"id"]]


async def test_a_key_is_forgotten_in_time_and_a_repeat_does_not_put_it_off(queue: Queue) -> None:
    one = request(ONE, key="k")
    await queue.accept(one, remember_s=50)
    await queue.accept(one, remember_s=500)
    assert 0 < await queue.redis.ttl(f"{KEYS.accepted_prefix}k") <= 50


async def test_of_many_with_one_key_at_once_one_is_queued(queue: Queue) -> None:
    verdicts = await asyncio.gather(
        *(queue.accept(request(ONE, key="k", answer=str(n))) for n in range(20))
    )
    flat = [verdict for (verdict,) in verdicts]
    assert flat.count([b"ok"]) == 1
    answers = {verdict[1] for verdict in flat if verdict != [b"ok"]}
    assert len(answers) == 1
    assert await queue.waiting_count() == 1


async def test_of_two_with_one_key_in_one_call_one_is_queued(queue: Queue) -> None:
    verdicts = await queue.accept(
        request(ONE, key="k"), request(ONE, key="k"), request(ONE, key="k", fingerprint="other")
    )
    assert verdicts == [[b"ok"], [b"replay", b"a"], [b"conflict"]]
    assert await queue.waiting_count() == 1


@pytest.mark.parametrize("broken", [KEYS.jobs("high", 3), KEYS.waiting])
async def test_a_key_of_the_wrong_type_fails_before_anything_is_written(
    queue: Queue, broken: str
) -> None:
    await queue.redis.set(broken, "x")
    before = await queue.snapshot()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await queue.accept(request(("high", 2, b"x"), ONE, key="k"))
    assert await queue.snapshot() == before


@pytest.mark.parametrize("broken", [KEYS.active("high"), KEYS.ready("high")])
async def test_so_does_a_set_or_list_of_turns(queue: Queue, broken: str) -> None:
    await queue.redis.set(broken, "x")
    before = await queue.snapshot()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await queue.accept(request(ONE, key="k"))
    assert await queue.snapshot() == before


async def test_a_request_that_came_too_late_only_asks_whether_it_is_a_repeat(queue: Queue) -> None:
    late = Acceptance("k", "f", "new id", [])
    assert await queue.accept(late) == [[b"late"]]
    # Neither that nor its key is remembered.
    assert await queue.accept(request(ONE, key="k", answer="id")) == [[b"ok"]]
    assert await queue.accept(late) == [[b"replay", b"id"]]
    assert await queue.accept(late._replace(fingerprint="g")) == [[b"conflict"]]
    assert await queue.waiting_count() == 1


async def test_each_request_of_a_call_is_read_to_its_own_end(queue: Queue) -> None:
    several = [
        Acceptance("", "", "", [ONE, TWO], weights=[1, 2], client="a", lane_max=5),
        Acceptance("k", "f", "id", []),
        Acceptance("k", "f", "id", [("low", 0, b"")], client="b"),
        Acceptance("", "", "", [("critical", 63, b"line\nbreak\0")]),
    ]
    assert await queue.accept(*several) == [[b"ok"], [b"late"], [b"ok"], [b"ok"]]
    assert await queue.waiting(3) == [b"one", b"two"]
    assert await queue.redis.lrange(KEYS.jobs("critical", 63), 0, -1) == [b"line\nbreak\0"]
    counted = await queue.redis.hgetall(KEYS.backlog)
    assert counted == {b"bytes": b"3", b"high/a": b"2", b"low/b": b"1", b"critical/default": b"1"}


def test_the_size_is_that_of_all_jobs_in_bytes() -> None:
    assert request(("high", 1, "é".encode()), ("low", 2, b"xyz")).size == 5
    assert request().size == 0
