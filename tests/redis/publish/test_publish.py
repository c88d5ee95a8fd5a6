import json
import time

import pytest
from redis.exceptions import ResponseError

from common.model.publication import Position
from tests.support.stores.job_queue import KEYS, Queue, notification, request

HOLDER = "w:high.0.1"
ROOM = "default/room:1"


async def test_what_was_accepted_is_published_logged_told_and_gone(queue: Queue) -> None:
    one = notification(email="a@b.c")
    async with queue.redis.pubsub() as listener:
        await listener.subscribe(KEYS.pub(ROOM))
        await queue.send(one, candidate="ab")
        for _ in range(2):
            message = await listener.get_message(timeout=5)
    assert message
    (published,) = await queue.log(ROOM)
    assert message["data"].endswith(published.text)
    frame = json.loads(published.text)
    assert (frame["id"], frame["epoch"], frame["offset"]) == (one.answer, "ab", 1)
    assert (published.epoch, published.offset) == ("ab", 1)
    (event,) = await queue.events()
    assert event == {
        b"k": b"published", b"c": ROOM.encode(), b"w": b"w", b"p": published.text,
        b"x": b'{"email":"a@b.c"}',
    }  # fmt: skip
    assert await queue.waiting_count() == 0
    assert await queue.active() == set()
    assert (await queue.held(HOLDER), await queue.ready()) == ([], [])


async def test_offsets_are_contiguous_and_in_the_order_of_acceptance(queue: Queue) -> None:
    plans = [notification(n % 3) for n in range(30)]
    for first in range(0, 30, 7):
        await queue.send(*plans[first : first + 7])
    for room in range(3):
        log = await queue.log(f"default/room:{room}")
        assert [entry.offset for entry in log] == list(range(1, 11))
        assert [json.loads(entry.text)["id"] for entry in log] == [
            plan.answer for plan in plans[room::3]
        ]
    assert len(await queue.events()) == 30


async def test_a_turn_that_was_lost_publishes_nothing_and_changes_nothing(queue: Queue) -> None:
    await queue.send(notification())
    await queue.accept(notification())
    taken = await queue.take(HOLDER)
    await queue.lease(given_up=[HOLDER])
    before = await queue.snapshot()
    assert await queue.publish(HOLDER, taken) == [0, 1]
    assert await queue.snapshot() == before
    # Whoever has it now publishes it, once.
    assert await queue.publish("v:high.0.1", await queue.take("v:high.0.1")) == [1, 0]
    assert [entry.offset for entry in await queue.log(ROOM)] == [1, 2]


async def test_the_same_call_again_publishes_nothing_more(queue: Queue) -> None:
    await queue.accept(notification())
    taken = await queue.take(HOLDER)
    assert await queue.publish(HOLDER, taken) == [1, 0]
    assert await queue.publish(HOLDER, taken) == [0, 1]
    assert len(await queue.events()) == 1


async def test_of_two_turns_the_one_that_is_left_is_published(queue: Queue) -> None:
    await queue.accept(notification(1), notification(2))
    taken = await queue.take(HOLDER)
    lost = next(iter(taken))
    await queue.redis.lrem(KEYS.held(HOLDER), 1, lost.decode())
    assert await queue.publish(HOLDER, taken) == [1, 1]


async def test_jobs_that_came_meanwhile_stay_and_their_turn_is_ready_again(queue: Queue) -> None:
    await queue.accept(notification())
    taken = await queue.take(HOLDER)
    late = notification()
    await queue.accept(late)
    await queue.publish(HOLDER, taken)
    (partition,) = taken
    assert await queue.waiting(partition) == [late.jobs[0][2]]
    assert await queue.ready() == [partition]
    assert await queue.active() == {partition}
    assert await queue.waiting_count() == 1


async def test_an_expired_job_is_an_event_and_takes_no_offset(queue: Queue) -> None:
    old = notification(expiresAt="2001-01-01T00:00:00Z")
    await queue.send(old, notification(), now_ms=10**15)
    assert [entry.offset for entry in await queue.log(ROOM)] == [1]
    kinds = [event[b"k"] for event in await queue.events()]
    assert kinds == [b"expired", b"published"]


async def test_what_is_no_job_is_a_dead_letter_and_the_next_is_published(queue: Queue) -> None:
    partition = notification().jobs[0][1]
    await queue.send(request(("high", partition, b"\xff{")), notification())
    (letter,) = await queue.dead()
    assert letter[b"job"] == b"\xff{"
    assert letter[b"lane"] == b"high"
    assert letter[b"reason"].startswith(b"not a job")
    assert len(await queue.log(ROOM)) == 1
    assert await queue.waiting_count() == 0


async def test_a_log_is_bounded_and_forgets_the_oldest(queue: Queue) -> None:
    for _ in range(4):
        await queue.send(*(notification() for _ in range(5)), log_max=7)
    log = await queue.log(ROOM)
    assert [entry.offset for entry in log] == list(range(14, 21))


async def test_a_log_and_a_position_outlive_the_last_publication(queue: Queue) -> None:
    log, channel = KEYS.log_prefix + ROOM, KEYS.channel_prefix + ROOM
    await queue.send(notification())
    for _ in range(2):
        assert 100 <= await queue.redis.ttl(log) <= 110
        assert 1000 <= await queue.redis.ttl(channel) <= 1010
        # As if it were some time later.
        await queue.redis.expire(log, 50)
        await queue.redis.expire(channel, 50)
        await queue.redis.hset(channel, "t", int(time.time()))
        await queue.send(notification())
    # One that begins again has its time at once.
    await queue.redis.delete(log)
    await queue.send(notification())
    assert 100 <= await queue.redis.ttl(log) <= 110


async def test_a_log_that_somebody_wrote_over_begins_again(queue: Queue) -> None:
    await queue.send(notification(), notification())
    await queue.redis.set(KEYS.log_prefix + ROOM, "x")
    await queue.send(notification())
    await queue.send(notification())
    log = await queue.log(ROOM)
    assert [entry.offset for entry in log] == [3, 4]
    for missed, exact in ((1, False), (2, True)):
        reply = await queue.replay(ROOM, Position(log[0].epoch, missed))
        assert reply[1] is exact


async def test_more_publications_than_a_log_holds_in_one_batch(queue: Queue) -> None:
    await queue.send(*(notification() for _ in range(50)), log_max=7)
    assert [entry.offset for entry in await queue.log(ROOM)] == list(range(44, 51))
    assert await queue.positions(ROOM) == [Position((await queue.log(ROOM))[0].epoch, 50)]


async def test_a_new_run_of_the_server_begins_a_new_epoch_that_says_where_the_old_one_ended(
    queue: Queue,
) -> None:
    await queue.send(notification(), notification(), candidate="aa")
    await queue.new_run()
    await queue.send(notification(), notification(), candidate="bb")
    log = await queue.log(ROOM)
    assert [(entry.epoch, entry.offset) for entry in log] == [
        ("aa", 1), ("aa", 2), ("bb", 3), ("bb", 4),
    ]  # fmt: skip
    assert [entry.base for entry in log][1:] == [None, Position("aa", 2), None]
    hash_ = await queue.redis.hgetall(KEYS.channel_prefix + ROOM)
    assert (hash_[b"p"], hash_[b"q"]) == (b"aa", b"2")


async def test_within_a_run_the_epoch_stays(queue: Queue) -> None:
    for candidate in ("aa", "bb", "cc"):
        await queue.send(notification(), notification(2), candidate=candidate)
    for room in (1, 2):
        assert {entry.epoch for entry in await queue.log(f"default/room:{room}")} == {"aa"}


async def test_a_channel_that_was_forgotten_does_not_begin_again_in_its_old_epoch(
    queue: Queue,
) -> None:
    await queue.send(notification(), candidate="aa", channel_s=10)
    await queue.redis.delete(KEYS.channel_prefix + ROOM, KEYS.log_prefix + ROOM)
    # It was forgotten because it was silent for longer than positions are kept.
    await queue.redis.hincrby(KEYS.epoch, "t", -11)
    await queue.send(notification(), candidate="bb", channel_s=10)
    assert [(entry.epoch, entry.offset) for entry in await queue.log(ROOM)] == [("bb", 1)]


@pytest.mark.parametrize(
    "broken",
    [KEYS.events, KEYS.dead, KEYS.returns, KEYS.active("high"), KEYS.ready("high"), KEYS.waiting],
)  # fmt: skip
async def test_a_key_of_the_wrong_type_fails_before_anything_is_written(
    queue: Queue, broken: str
) -> None:
    await queue.accept(notification(2), notification(1), notification(3))
    taken = await queue.take(HOLDER)
    # One of them goes to the dead letters, and the partition of another has more by then.
    taken[next(iter(taken))] = [b"no job"]
    await queue.accept(notification(1))
    await queue.redis.delete(broken)
    await queue.redis.set(broken, "x")
    before = await queue.snapshot()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await queue.publish(HOLDER, taken)
    after = await queue.snapshot()
    # (A new epoch may be noted.)
    epoch = KEYS.epoch.encode()
    assert {key: after[key] for key in after if not key.startswith(epoch)} == before
