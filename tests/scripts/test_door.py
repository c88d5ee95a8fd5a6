import asyncio

from common.jobs import Acceptance
from tests.scripts.queue import KEYS, LANE, Queue, notification, request
from worker.dead_letters import DeadLetter, plan_again

TEXTS = [b"t%d" % n for n in range(5)]


def good(n: int, **how: str) -> tuple[bytes, str, Acceptance | None]:
    return TEXTS[n], "", request((LANE, 1, b"job %d" % n), **how)


async def pushed(queue: Queue, *texts: bytes) -> None:
    for text in texts:
        await queue.redis.lpush(KEYS.door(LANE), text)


async def left(queue: Queue) -> list[bytes]:
    return list(await queue.redis.lrange(KEYS.door(LANE), 0, -1))[::-1]


async def test_what_was_validated_is_taken_in_order(queue: Queue) -> None:
    await pushed(queue, *TEXTS)
    assert await queue.admit(good(0), good(1), good(2)) == [[b"ok"]] * 3
    assert await left(queue) == TEXTS[3:]
    assert await queue.waiting(1) == [b"job 0", b"job 1", b"job 2"]


async def test_of_two_workers_that_looked_at_the_same_texts_each_text_is_taken_once(
    queue: Queue,
) -> None:
    await pushed(queue, *TEXTS)
    items = [good(n) for n in range(5)]
    verdicts = await asyncio.gather(*(queue.admit(*items) for _ in range(4)))
    assert sorted(map(len, verdicts)) == [0, 0, 0, 5]
    assert await queue.waiting(1) == [b"job %d" % n for n in range(5)]
    assert await left(queue) == []


async def test_who_was_slower_stops_at_the_first_text_that_is_gone(queue: Queue) -> None:
    await pushed(queue, *TEXTS)
    await queue.admit(good(0), good(1))
    assert await queue.admit(good(1), good(2)) == []
    assert await queue.admit(good(2), good(4)) == [[b"ok"]]


async def test_what_is_no_notification_goes_to_the_dead_letters_with_its_reason(
    queue: Queue,
) -> None:
    await pushed(queue, b"\xff", TEXTS[1])
    assert await queue.admit((b"\xff", "é: not JSON", None), good(1)) == [[b"dead"], [b"ok"]]
    (letter,) = await queue.dead()
    assert letter == {b"reason": "é: not JSON".encode(), b"lane": b"high", b"job": b"\xff"}


async def test_a_full_lane_leaves_the_text_at_the_door(queue: Queue) -> None:
    await pushed(queue, *TEXTS)
    assert await queue.admit(good(0), good(1), good(2), lane_max=1) == [[b"ok"], [b"full", b"high"]]
    assert await left(queue) == TEXTS[1:]


async def test_a_text_whose_id_was_accepted_is_dropped(queue: Queue) -> None:
    await pushed(queue, TEXTS[0], TEXTS[1], TEXTS[2])
    verdicts = await queue.admit(
        good(0, key="k"), good(1, key="k"), good(2, key="k", fingerprint="other")
    )
    assert [verdict[0] for verdict in verdicts] == [b"ok", b"replay", b"conflict"]
    assert await queue.waiting(1) == [b"job 0"]
    assert await left(queue) == []


async def dead_letter(queue: Queue, job: bytes) -> bytes:
    return bytes(await queue.redis.xadd(KEYS.dead, {"reason": "r", "lane": "high", "job": job}))


async def test_a_dead_letter_is_put_back_once(queue: Queue) -> None:
    job = notification().jobs[0][2]
    entry = await dead_letter(queue, job)
    plan = plan_again(DeadLetter(entry.decode(), "r", "high", job.decode()))
    verdicts = await asyncio.gather(*(queue.requeue(entry, plan) for _ in range(5)))
    assert sorted(v[0] for v in verdicts) == [b"gone"] * 4 + [b"ok"]
    assert await queue.dead() == []
    await queue.publish("w:high.0.1", await queue.take("w:high.0.1"))
    assert len(await queue.log("default/room:1")) == 1


async def test_a_dead_letter_that_finds_its_lane_full_stays(queue: Queue) -> None:
    job = notification().jobs[0][2]
    entry = await dead_letter(queue, job)
    plan = plan_again(DeadLetter(entry.decode(), "r", "high", job.decode()))
    assert (await queue.requeue(entry, plan, lane_max=0))[0] == b"full"
    assert len(await queue.dead()) == 1
