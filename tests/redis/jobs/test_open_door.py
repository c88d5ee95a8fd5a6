import asyncio

from common.jobs.acceptance import Acceptance
from common.jobs.planning import plan_one
from tests.support.stores.job_queue import KEYS, LANE, Queue, notification, request
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


def body(room: int, n: int = 0) -> bytes:
    return b'{"type":"room","userId":1,"target":%d,"message":"%d"}' % (room, n)


def of_room(room: int, n: int = 0) -> tuple[bytes, str, Acceptance | None]:
    return body(room, n), "", plan_one(body(room, n))


async def test_what_nothing_waits_ahead_of_is_published_at_once(queue: Queue) -> None:
    await pushed(queue, body(1), body(2), body(1, 1))
    verdicts = await queue.admit(of_room(1), of_room(2), of_room(1, 1), at_once=True)
    assert verdicts == [[b"published"]] * 3
    assert [entry.offset for entry in await queue.log("default/room:1")] == [1, 2]
    assert len(await queue.events()) == 3
    assert await queue.waiting_count() == 0
    assert await queue.active() == set()
    assert await left(queue) == []


async def test_what_others_wait_ahead_of_is_queued_behind_them(queue: Queue) -> None:
    await queue.accept(notification(1, message="first"))
    await pushed(queue, body(1), body(1, 1))
    assert await queue.admit(of_room(1), of_room(1, 1), at_once=True) == [[b"ok"]] * 2
    taken = await queue.take("w:high.0.1")
    # Its turn is held now: there may be nothing in its list, and it is still not idle.
    await pushed(queue, body(1, 2))
    assert await queue.admit(of_room(1, 2), at_once=True) == [[b"ok"]]
    await queue.publish("w:high.0.1", taken)
    await queue.publish("w:high.0.1", await queue.take("w:high.0.1"))
    texts = [entry.text for entry in await queue.log("default/room:1")]
    assert [text.split(b'"message":"')[1].split(b'"')[0] for text in texts] == [
        b"first", b"0", b"1", b"2",
    ]  # fmt: skip
    await pushed(queue, body(1, 3))
    assert await queue.admit(of_room(1, 3), at_once=True) == [[b"published"]]


async def test_what_was_published_at_once_is_not_published_again(queue: Queue) -> None:
    keyed = plan_one(body(1), key="k")
    await pushed(queue, body(1), body(1))
    verdicts = await queue.admit((body(1), "", keyed), (body(1), "", keyed), at_once=True)
    assert [verdict[0] for verdict in verdicts] == [b"published", b"replay"]
    assert len(await queue.log("default/room:1")) == 1


async def test_an_item_that_cannot_be_taken_leaves_those_before_it_published(queue: Queue) -> None:
    keyed = plan_one(body(2), key="k")
    await queue.redis.lpush(f"{KEYS.accepted_prefix}k", "somebody wrote here")
    await pushed(queue, body(1), body(2))
    verdicts = await queue.admit(of_room(1), (body(2), "", keyed), at_once=True)
    assert [verdict[0] for verdict in verdicts] == [b"published", b"failed"]
    assert b"WRONGTYPE" in verdicts[1][1]
    assert await left(queue) == [body(2)]
    assert (await queue.redis.hget(f"{KEYS.channel_prefix}default/room:1", "o")) == b"1"
